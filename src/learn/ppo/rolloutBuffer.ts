import type { RandomStream } from '../../core/random.ts'
import { maxChoices, rowsOf } from '../../policy/action/vectorEnv.ts'
import type { VectorEnv } from '../../policy/action/vectorEnv.ts'
import type { ActorKernel } from '../../policy/actor/kernel.ts'

/** The rows of one head over a rollout of M = T x N decisions. */
export interface HeadRolloutBuffer {
  readonly rows: number
  /** [M, rows] */
  readonly choices: Int32Array
  /** [M, rows, S]; empty if the head has no features. */
  readonly features: Float32Array
  /** [M, rows, C], 1 = allowed; empty if the head is never masked. */
  readonly masks: Uint8Array
}

/** T decisions in each of N environments; index t * N + n. */
export class RolloutBuffer {
  readonly steps: number
  readonly envs: number
  /** [M, D], not normalised. */
  readonly observations: Float32Array
  /** [(T + 1) N, D] normalised; the last N rows are for the observations after the rollout. */
  readonly normalised: Float32Array
  readonly heads: readonly HeadRolloutBuffer[]
  /** [M] */
  readonly logProbability: Float32Array
  readonly performance: Float64Array
  readonly stability: Float64Array
  readonly tauSeconds: Float64Array
  readonly terminated: Uint8Array
  readonly truncated: Uint8Array
  /** Indices of decisions at which an episode was truncated, and the normalised final observations there, [F, D]. */
  truncatedAt: number[] = []
  finals: number[] = []

  private readonly features: Float32Array
  private readonly mask: Uint8Array
  /** Index of row r among the rows of its head. */
  private readonly place: readonly number[]

  constructor(env: VectorEnv, steps: number) {
    const { action, observationSize, count } = env
    const decisions = steps * count
    const rows = rowsOf(action)
    this.steps = steps
    this.envs = count
    this.observations = new Float32Array(decisions * observationSize)
    this.normalised = new Float32Array((decisions + count) * observationSize)
    this.heads = action.heads.map((head, i) => ({
      rows: rows[i].length,
      choices: new Int32Array(decisions * rows[i].length),
      features: new Float32Array(
        head.usesRowFeatures ? decisions * rows[i].length * action.rowFeatureSize : 0,
      ),
      masks: new Uint8Array(head.masked ? decisions * rows[i].length * head.choices : 0),
    }))
    this.logProbability = new Float32Array(decisions)
    this.performance = new Float64Array(decisions)
    this.stability = new Float64Array(decisions)
    this.tauSeconds = new Float64Array(decisions)
    this.terminated = new Uint8Array(decisions)
    this.truncated = new Uint8Array(decisions)
    this.features = new Float32Array(action.rowFeatureSize)
    this.mask = new Uint8Array(maxChoices(action))
    this.place = action.headOf.map((head, row) => rows[head].indexOf(row))
  }

  /** Fills the buffer from the environments' current states, with one stream of uniforms for each environment. */
  collect(env: VectorEnv, kernel: ActorKernel, streams: readonly RandomStream[]): void {
    this.truncatedAt = []
    this.finals = []
    for (let t = 0; t < this.steps; t++) {
      for (let n = 0; n < this.envs; n++) this.decide(env, kernel, streams[n], n, t * this.envs + n)
    }
    for (let n = 0; n < this.envs; n++) {
      kernel.normalise(env.observations, n * env.observationSize)
      this.normalised.set(kernel.normalised, (this.steps * this.envs + n) * env.observationSize)
    }
  }

  /** Performs one decision of environment n, row by row, and its step, and stores everything at index i. */
  private decide(env: VectorEnv, kernel: ActorKernel, stream: RandomStream, n: number, i: number): void {
    const { observationSize: size, action } = env
    const from = n * size
    for (let k = 0; k < size; k++) this.observations[i * size + k] = env.observations[from + k]
    kernel.encode(env.observations, from)
    for (let k = 0; k < size; k++) this.normalised[i * size + k] = kernel.normalised[k]
    env.beginAction(n)
    let logProbability = 0
    for (let row = 0; row < action.headOf.length; row++) {
      const head = action.headOf[row]
      const allowed = env.rowInput(n, row, this.features, this.mask)
      let choice = 0
      if (allowed === 1) while (this.mask[choice] === 0) choice++
      else {
        choice = kernel.sample(head, this.features, this.mask, stream.uniform())
        logProbability += kernel.logProbability
      }
      this.note(head, i, row, choice, action.rowFeatureSize)
      env.choose(n, row, choice)
    }
    this.logProbability[i] = logProbability
    env.step(n)
    this.performance[i] = env.performance[n]
    this.stability[i] = env.stability[n]
    this.tauSeconds[i] = env.tauSeconds[n]
    this.terminated[i] = env.terminated[n]
    this.truncated[i] = env.truncated[n]
    if (env.truncated[n] === 1 && env.terminated[n] === 0) {
      kernel.normalise(env.finalObservations, from)
      this.truncatedAt.push(i)
      this.finals.push(...kernel.normalised)
    }
  }

  private note(head: number, i: number, row: number, choice: number, size: number): void {
    const { rows, choices, features, masks } = this.heads[head]
    const at = i * rows + this.place[row]
    choices[at] = choice
    if (features.length > 0) for (let k = 0; k < size; k++) features[at * size + k] = this.features[k]
    if (masks.length > 0) {
      const width = masks.length / choices.length
      for (let k = 0; k < width; k++) masks[at * width + k] = this.mask[k]
    }
  }
}
