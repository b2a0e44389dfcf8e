import { EdgewiseError } from '../../core/errors.ts'
import { randomStream } from '../../core/random.ts'
import type { Engine, Session } from '../../core/engine/types.ts'
import { tensor } from '../../core/onnx/tensor.ts'
import { packState, unpackState } from './checkpoint.ts'
import type { TrainingState } from './checkpoint.ts'
import { learningRateAt, stageAt } from './config.ts'
import type { PretrainConfig, Stage } from './config.ts'
import { initialParameters, networkLayout } from './network.ts'
import type { Network } from './network.ts'
import { splitStream, trainingWindow } from './text.ts'
import { trainStepModel } from './trainGraph.ts'

/** Metrics of one step. Deterministic. */
export interface StepReport {
  /** Number of steps done, including this one. */
  readonly step: number
  /** Nats per token of the step's batch: each exit, then the last layer. */
  readonly losses: readonly number[]
  readonly gradientNorm: number
  readonly learningRate: number
  readonly tokens: number
}

/** Trains a network on the tales of the training split. Equal settings and engine give equal bytes. */
export class Pretrainer {
  readonly network: Network
  readonly config: PretrainConfig
  private readonly engine: Engine
  private readonly size: number
  private state: TrainingState
  /** The session of the current stage. */
  private current: { readonly stage: Stage; readonly session: Session } | null = null

  constructor(network: Network, config: PretrainConfig, engine: Engine) {
    this.network = network
    this.config = config
    this.engine = engine
    this.size = networkLayout(network).size
    this.state = {
      step: 0,
      powers: [1, 1],
      parameters: initialParameters(network, randomStream(config.seed, 'pretrain/parameters')),
      firstMoment: new Float32Array(this.size),
      secondMoment: new Float32Array(this.size),
    }
  }

  /** Number of steps done. */
  get step(): number {
    return this.state.step
  }

  get finished(): boolean {
    return this.state.step >= this.config.steps
  }

  /** The current parameters (networkLayout), not a copy. */
  get parameters(): Float32Array {
    return this.state.parameters
  }

  /** Performs one optimiser step. Throws EdgewiseError E_DIVERGED if the loss is not finite. */
  async advance(): Promise<StepReport> {
    const { config, state, size } = this
    const stage = stageAt(config, state.step)
    const session = await this.sessionOf(stage)
    const learningRate = learningRateAt(config, state.step)
    const vector = (data: Float32Array) => tensor('float32', [size], data)
    const next = await session.run({
      ...this.batch(stage),
      parameters: vector(state.parameters),
      firstMoment: vector(state.firstMoment),
      secondMoment: vector(state.secondMoment),
      beta1Power: tensor('float64', [], Float64Array.of(state.powers[0])),
      beta2Power: tensor('float64', [], Float64Array.of(state.powers[1])),
      learningRate: tensor('float32', [], Float32Array.of(learningRate)),
    })
    const losses = Array.from(next.losses.data as Float32Array)
    if (!losses.every(Number.isFinite)) {
      throw new EdgewiseError(
        'E_DIVERGED',
        `pretraining diverged in step ${state.step + 1}: losses ${losses.join(', ')}`,
      )
    }
    this.state = {
      step: state.step + 1,
      powers: [Number(next['next.beta1Power'].data[0]), Number(next['next.beta2Power'].data[0])],
      parameters: next['next.parameters'].data as Float32Array,
      firstMoment: next['next.firstMoment'].data as Float32Array,
      secondMoment: next['next.secondMoment'].data as Float32Array,
    }
    const gradientNorm = Number(next.gradientNorm.data[0])
    return { step: this.state.step, losses, gradientNorm, learningRate, tokens: stage.batch * stage.window }
  }

  checkpoint(): Uint8Array {
    return packState(this.identity(), this.state)
  }

  /** Continues exactly from a checkpoint of the same training. Throws as unpackState does. */
  restore(bytes: Uint8Array, where: string): void {
    this.state = unpackState(bytes, this.identity(), this.size, where)
  }

  async close(): Promise<void> {
    await this.current?.session.dispose()
    this.current = null
  }

  private identity() {
    return { network: this.network, config: this.config, engine: this.engine.info }
  }

  /** Only the current stage holds a session, because its activations take most of the memory. */
  private async sessionOf(stage: Stage): Promise<Session> {
    if (this.current?.stage === stage) return this.current.session
    await this.close()
    const session = await this.engine.create(trainStepModel(this.network, { ...this.config, ...stage }))
    this.current = { stage, session }
    return session
  }

  /** Draws a batch; each window has a random stream of its own, named by step and row. */
  private batch({ batch, window, noteShare }: Stage) {
    const ids = new Int32Array(batch * window)
    const targets = new Int32Array(batch * window)
    for (let row = 0; row < batch; row++) {
      const stream = splitStream('train', this.config.seed, `${this.state.step}/${row}`)
      const tokens = trainingWindow(stream, window, noteShare)
      for (let i = 0; i < window; i++) {
        ids[row * window + i] = tokens[i]
        targets[row * window + i] = tokens[i + 1]
      }
    }
    return { ids: tensor('int32', [batch, window], ids), targets: tensor('int32', [batch, window], targets) }
  }
}
