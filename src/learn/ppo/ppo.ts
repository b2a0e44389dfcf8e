import type { VectorEnv } from '../../policy/action/vectorEnv.ts'
import type { Clock } from '../../core/clock.ts'
import { EdgewiseError, InputError } from '../../core/errors.ts'
import { canonicalJson } from '../../core/files.ts'
import { randomStream } from '../../core/random.ts'
import type { RandomStream } from '../../core/random.ts'
import { check } from '../../core/schema.ts'
import type { Engine, Session } from '../../core/engine/types.ts'
import { parameterOf } from '../../core/onnx/parameters.ts'
import { tensor } from '../../core/onnx/tensor.ts'
import { actorLayout, actorSpec, initialParameters } from '../../policy/actor/actor.ts'
import type { ActorLayout, ActorSpec, Normaliser } from '../../policy/actor/actor.ts'
import { criticModel } from '../../policy/actor/graph.ts'
import { metricNames, trainStepModel } from '../../policy/actor/train.ts'
import { ActorKernel } from '../../policy/actor/kernel.ts'
import { packCheckpoint, unpackCheckpoint } from './checkpoint.ts'
import type { TrainerIdentity, TrainerState } from './checkpoint.ts'
import { checkEntropyHeads, entropySchedule, ppoConfigSchema, scheduled } from './config.ts'
import type { PpoConfig, PpoSettings } from './config.ts'
import { EpisodeLog } from './episodes.ts'
import { generalisedAdvantages, standardise } from './gae.ts'
import { Minibatch, shuffle } from './minibatch.ts'
import { ReturnScale, RunningMoments, variance } from './normalise.ts'
import { RolloutBuffer } from './rolloutBuffer.ts'

/** A complete policy: its shape, its parameters (including the critics) and its normaliser. */
export interface PolicySnapshot {
  readonly spec: ActorSpec
  readonly parameters: Float32Array
  readonly normaliser: Normaliser
}

/** Metrics of one update. Deterministic: equal trainings give equal metrics. Null: not measured. */
export type Metrics = Readonly<Record<string, number | null>>

/** Wall-clock seconds of the last update, if a clock was given. */
interface UpdateTimings {
  readonly rolloutSeconds: number
  readonly learnSeconds: number
}

/** What a trainer needs. */
export interface TrainerOptions {
  readonly clock?: Clock
  /** Called with the combined advantages [T x N] before they are standardised, for fault injection in tests. */
  readonly onAdvantages?: (advantages: Float64Array) => void
}

/** Compiles the graphs for `config` and `env` and starts a training; resets `env` with config.seed. */
export async function createTrainer(
  settings: PpoSettings,
  env: VectorEnv,
  engine: Engine,
  options: TrainerOptions = {},
): Promise<Trainer> {
  const config = check(ppoConfigSchema, settings, 'training settings')
  const decisions = config.stepsPerUpdate * env.count
  if (decisions % config.minibatch !== 0) {
    throw new InputError({
      where: 'training settings: minibatch',
      expected: `a divisor of stepsPerUpdate x environments = ${decisions}`,
      found: String(config.minibatch),
    })
  }
  const spec = actorSpec(env.observationSize, env.action, {
    encoder: config.encoder,
    rowHidden: config.rowHidden,
    critics: config.dualCritics ? ['performance', 'stability'] : ['combined'],
    criticHidden: config.criticHidden,
    observationClip: config.observationClip,
  })
  checkEntropyHeads(
    config,
    env.action.heads.map((head) => head.name),
  )
  const step = await engine.create(trainStepModel(spec, { ...config, batch: config.minibatch }))
  const critics = await engine.create(criticModel(spec))
  return new Trainer(config, env, spec, { step, critics, engine }, options)
}

interface Graphs {
  readonly step: Session
  readonly critics: Session
  readonly engine: Engine
}

/** Proximal policy optimisation (Schulman et al. 2017) with two critics over semi-Markov decisions. */
export class Trainer {
  readonly config: PpoConfig
  readonly spec: ActorSpec
  /** Number of updates done. */
  updates = 0
  timings: UpdateTimings | null = null
  private readonly env: VectorEnv
  private readonly graphs: Graphs
  private readonly options: TrainerOptions
  private readonly layout: ActorLayout
  private readonly kernel: ActorKernel
  private readonly rollout: RolloutBuffer
  private readonly minibatch: Minibatch
  private readonly moments: RunningMoments
  private readonly scales: ReturnScale[]
  private readonly episodes: EpisodeLog
  private readonly actionStreams: RandomStream[]
  private readonly shuffleStream: RandomStream
  private normaliser: Normaliser
  private parameters: Float32Array
  private firstMoment: Float32Array
  private secondMoment: Float32Array
  /** beta1^t and beta2^t. */
  private powers: [number, number] = [1, 1]

  constructor(config: PpoConfig, env: VectorEnv, spec: ActorSpec, graphs: Graphs, options: TrainerOptions) {
    const { seed } = config
    this.config = config
    this.env = env
    this.spec = spec
    this.graphs = graphs
    this.options = options
    this.layout = actorLayout(spec)
    this.kernel = new ActorKernel(spec)
    this.rollout = new RolloutBuffer(env, config.stepsPerUpdate)
    this.minibatch = new Minibatch(spec, config.minibatch, config.valueClip !== null)
    this.moments = new RunningMoments(spec.observationSize)
    this.normaliser = this.moments.normaliser()
    this.scales = spec.critics.map(() => new ReturnScale())
    this.episodes = new EpisodeLog(env.count)
    this.actionStreams = Array.from({ length: env.count }, (_, n) => randomStream(seed, `learn/action/${n}`))
    this.shuffleStream = randomStream(seed, 'learn/shuffle')
    this.parameters = initialParameters(spec, env.action, seed)
    this.firstMoment = new Float32Array(this.layout.size)
    this.secondMoment = new Float32Array(this.layout.size)
    env.reset(seed)
  }

  /** Performs one update: a rollout of T decisions in every environment, then epochs of gradient steps over it. */
  async update(): Promise<Metrics> {
    const { config, rollout, env } = this
    const started = this.now()
    if (this.updates === 0 && config.normaliseObservations) this.warmUp()
    this.kernel.load(this.parameters, this.normaliser)
    rollout.collect(env, this.kernel, this.actionStreams)
    this.episodes.take(rollout)
    const collected = this.now()

    const advantages = new Float64Array(rollout.steps * rollout.envs)
    const { targets, values, explained } = await this.evaluate(advantages)
    this.options.onAdvantages?.(advantages)
    standardise(advantages)
    const losses = await this.learn({ rollout, advantages, targets, values })

    if (config.normaliseObservations) this.updateNormaliser()
    this.updates++
    this.timings = { rolloutSeconds: collected - started, learnSeconds: this.now() - collected }
    return {
      update: this.updates,
      steps: this.updates * advantages.length,
      ...this.episodes.report(),
      ...losses,
      ...explained,
    }
  }

  /** A copy of the current policy. */
  get policy(): PolicySnapshot {
    const { mean, scale } = this.normaliser
    return {
      spec: this.spec,
      parameters: this.parameters.slice(),
      normaliser: { mean: mean.slice(), scale: scale.slice() },
    }
  }

  async close(): Promise<void> {
    await this.graphs.step.dispose()
    await this.graphs.critics.dispose()
  }

  /** One rollout of the untrained policy, used only to learn the scale of the observations. */
  private warmUp(): void {
    this.kernel.load(this.parameters, this.normaliser)
    this.rollout.collect(this.env, this.kernel, this.actionStreams)
    this.episodes.take(this.rollout)
    this.updateNormaliser()
  }

  private updateNormaliser(): void {
    this.moments.update(this.rollout.observations, this.rollout.steps * this.rollout.envs)
    this.normaliser = this.moments.normaliser()
  }

  /**
   * Computes values, advantages and value targets. Each critic's advantages are in units of reward and added to `mixed`
   * with their weights. Targets and old values [M, K] are in the critics' normalised units.
   */
  private async evaluate(mixed: Float64Array) {
    const { rollout, config, spec } = this
    const decisions = mixed.length
    const count = spec.critics.length
    const outputs = await this.criticOutputs(rollout.normalised)
    const finals =
      rollout.truncatedAt.length === 0 ? null : await this.criticOutputs(Float32Array.from(rollout.finals))
    const targets = new Float32Array(decisions * count)
    const oldValues = new Float32Array(decisions * count)
    const explained: Record<string, number> = {}
    spec.critics.forEach((name, k) => {
      const scale = this.scales[k]
      const toReward = (output: number): number => scale.mean + scale.deviation * output
      const values = Float64Array.from({ length: decisions + rollout.envs }, (_, i) =>
        toReward(outputs[i * count + k]),
      )
      const finalValues = new Float64Array(decisions)
      rollout.truncatedAt.forEach((i, f) => (finalValues[i] = toReward(finals![f * count + k])))
      const rates = name === 'stability' ? 'stability' : 'performance'
      const advantages = new Float64Array(decisions)
      const { steps, envs, tauSeconds, terminated, truncated } = rollout
      const discountRate = config.discountRate[rates]
      const lambda = config.lambda[rates]
      const rewards = this.rewardsOf(name)
      generalisedAdvantages(
        {
          steps,
          envs,
          rewards,
          values,
          finalValues,
          tauSeconds,
          terminated,
          truncated,
          discountRate,
          lambda,
        },
        advantages,
      )
      const returns = advantages.map((advantage, i) => advantage + values[i])
      explained[`explainedVariance.${name}`] = 1 - variance(advantages) / (variance(returns) + 1e-12)
      if (config.normaliseReturns) {
        const last = `critic.${name}.${spec.criticHidden.length}`
        const weight = parameterOf(this.layout, this.parameters, `${last}.weight`)
        scale.update(
          returns,
          config.returnRate,
          weight,
          parameterOf(this.layout, this.parameters, `${last}.bias`),
        )
      }
      const share = name === 'stability' ? config.stabilityWeight : 1
      for (let i = 0; i < decisions; i++) {
        mixed[i] += share * advantages[i]
        targets[i * count + k] = (returns[i] - scale.mean) / scale.deviation
        oldValues[i * count + k] = (values[i] - scale.mean) / scale.deviation
      }
    })
    return { targets, values: oldValues, explained }
  }

  private rewardsOf(critic: string): Float64Array {
    const { performance, stability } = this.rollout
    if (critic === 'performance') return performance
    if (critic === 'stability') return stability
    return performance.map((reward, i) => reward + this.config.stabilityWeight * stability[i])
  }

  /** Critic outputs [rows, K] for normalised observations [rows, D]. */
  private async criticOutputs(normalised: Float32Array): Promise<Float32Array> {
    const size = this.spec.observationSize
    const { values } = await this.graphs.critics.run({
      parameters: tensor('float32', [this.layout.size], this.parameters),
      normalised: tensor('float32', [normalised.length / size, size], normalised),
    })
    return values.data as Float32Array
  }

  /** Runs the epochs of minibatch steps and returns the means of their metrics. */
  private async learn(source: Parameters<Minibatch['fill']>[0]): Promise<Record<string, number>> {
    const { config, minibatch, spec, updates } = this
    const decisions = source.advantages.length
    const learningRate = scheduled(config.learningRate, updates, config.totalUpdates)
    minibatch.setVector('learningRate', [learningRate], [])
    minibatch.setVector('clipRange', [config.clipRange], [])
    minibatch.setVector(
      'entropyCoefficients',
      spec.heads.map(({ name }) => scheduled(entropySchedule(config, name), updates, config.totalUpdates)),
    )
    const names = metricNames(spec)
    const sums = new Float64Array(names.length)
    const kl = names.indexOf('approxKl')
    const order = Int32Array.from({ length: decisions }, (_, i) => i)
    const batches = decisions / config.minibatch
    let epoch = 0
    let epochKl = 0
    while (epoch < config.epochs && (config.targetKl === null || epochKl <= config.targetKl)) {
      shuffle(order, this.shuffleStream)
      epochKl = 0
      for (let b = 0; b < batches; b++) {
        minibatch.fill(source, order, b * config.minibatch)
        const metrics = await this.gradientStep()
        for (let i = 0; i < sums.length; i++) sums[i] += metrics[i]
        epochKl += metrics[kl] / batches
      }
      epoch++
    }
    const means = Object.fromEntries(names.map((name, i) => [name, sums[i] / (epoch * batches)]))
    if (Object.values(means).some((mean) => !Number.isFinite(mean))) {
      throw new EdgewiseError(
        'E_DIVERGED',
        `training diverged in update ${updates + 1}: ${canonicalJson(means)}`,
      )
    }
    return { ...means, epochs: epoch, learningRate }
  }

  private async gradientStep(): Promise<Float32Array> {
    const { layout, powers } = this
    const vector = (data: Float32Array) => tensor('float32', [layout.size], data)
    const next = await this.graphs.step.run({
      ...this.minibatch.feeds,
      parameters: vector(this.parameters),
      firstMoment: vector(this.firstMoment),
      secondMoment: vector(this.secondMoment),
      beta1Power: tensor('float64', [], Float64Array.of(powers[0])),
      beta2Power: tensor('float64', [], Float64Array.of(powers[1])),
    })
    this.parameters = next['next.parameters'].data as Float32Array
    this.firstMoment = next['next.firstMoment'].data as Float32Array
    this.secondMoment = next['next.secondMoment'].data as Float32Array
    this.powers = [Number(next['next.beta1Power'].data[0]), Number(next['next.beta2Power'].data[0])]
    return next.metrics.data as Float32Array
  }

  /** The complete state of the training: equal trainings give equal bytes. */
  checkpoint(): Uint8Array {
    const { powers, updates, moments } = this
    const state: TrainerState = {
      updates,
      powers,
      momentCount: moments.count,
      scales: this.scales.map((scale) => scale.state()),
      episodes: this.episodes.state(),
      actionStreams: this.actionStreams.map((stream) => stream.state()),
      shuffleStream: this.shuffleStream.state(),
    }
    return packCheckpoint(this.identity(), state, this.arrays(), this.env.save())
  }

  /**
   * Continues from a checkpoint with the same settings, environment and engine. Throws InputError if they differ and
   * IntegrityError for damaged bytes; the trainer then keeps its state, unless the environment itself refuses its part.
   */
  restore(bytes: Uint8Array, where = 'checkpoint'): void {
    const { state, environment, load } = unpackCheckpoint(bytes, this.identity(), this.arrays(), where)
    this.env.restore(environment)
    load()
    this.updates = state.updates
    this.powers = [...state.powers]
    this.moments.count = state.momentCount
    this.normaliser = this.moments.normaliser()
    this.scales.forEach((scale, k) => scale.restore(state.scales[k]))
    this.episodes.restore(state.episodes)
    this.actionStreams.forEach((stream, n) => stream.restore(state.actionStreams[n]))
    this.shuffleStream.restore(state.shuffleStream)
  }

  private identity(): TrainerIdentity {
    const { config, spec, env, graphs } = this
    return { environment: env.id, config, spec, engine: graphs.engine.info }
  }

  private arrays() {
    const { parameters, firstMoment, secondMoment, moments } = this
    return { parameters, firstMoment, secondMoment, momentMean: moments.mean, momentSquares: moments.squares }
  }

  private now(): number {
    return this.options.clock?.nowSeconds() ?? 0
  }
}
