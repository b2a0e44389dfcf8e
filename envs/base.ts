import { InputError, show } from '../src/core/errors.ts'
import { randomStream } from '../src/core/random.ts'
import type { RandomStream } from '../src/core/random.ts'
import { loadArray, packArchive, unpackArchive } from '../src/core/archive.ts'
import type { ActionSpec, VectorEnv } from '../src/policy/action/vectorEnv.ts'

/**
 * Bookkeeping of a vector environment whose state is `stateSize` numbers and one random stream for each environment. A
 * subclass defines the first state, a step and the observation.
 */
export abstract class VectorBase implements VectorEnv {
  readonly id: string
  readonly count: number
  readonly observationSize: number
  readonly action: ActionSpec
  readonly observations: Float32Array
  readonly finalObservations: Float32Array
  readonly performance: Float64Array
  readonly stability: Float64Array
  readonly tauSeconds: Float64Array
  readonly terminated: Uint8Array
  readonly truncated: Uint8Array
  /** [N, stateSize] */
  protected readonly state: Float64Array
  /** [N, R]: rows chosen so far for the current action. */
  protected readonly choices: Int32Array
  protected readonly stateSize: number
  protected streams: RandomStream[] = []

  constructor(id: string, count: number, observationSize: number, stateSize: number, action: ActionSpec) {
    this.id = id
    this.count = count
    this.observationSize = observationSize
    this.stateSize = stateSize
    this.action = action
    this.observations = new Float32Array(count * observationSize)
    this.finalObservations = new Float32Array(count * observationSize)
    this.performance = new Float64Array(count)
    this.stability = new Float64Array(count)
    this.tauSeconds = new Float64Array(count).fill(1)
    this.terminated = new Uint8Array(count)
    this.truncated = new Uint8Array(count)
    this.state = new Float64Array(count * stateSize)
    this.choices = new Int32Array(count * action.headOf.length)
  }

  /** Draws the first state of environment `env`. */
  protected abstract start(env: number): void
  /** Applies the choices of environment `env`: updates its state, and sets rewards, tau, terminated and truncated. */
  protected abstract advance(env: number): void
  /** Writes the observation of environment `env` to out[offset ...]. */
  protected abstract observe(env: number, out: Float32Array, offset: number): void

  reset(seed: number): void {
    this.streams = Array.from({ length: this.count }, (_, env) => randomStream(seed, `${this.id}/${env}`))
    for (let env = 0; env < this.count; env++) {
      this.start(env)
      this.observe(env, this.observations, env * this.observationSize)
      this.terminated[env] = this.truncated[env] = 0
    }
  }

  beginAction(_env: number): void {
    if (this.streams.length === 0)
      throw new InputError({ where: this.id, expected: 'reset() before the first action', found: 'none' })
  }

  rowInput(_env: number, row: number, featuresOut: Float32Array, maskOut: Uint8Array): number {
    const { choices } = this.action.heads[this.action.headOf[row]]
    featuresOut.fill(0, 0, this.action.rowFeatureSize)
    maskOut.fill(1, 0, choices)
    return choices
  }

  choose(env: number, row: number, choice: number): void {
    this.choices[env * this.action.headOf.length + row] = choice
  }

  step(env: number): void {
    if (this.streams.length === 0)
      throw new InputError({ where: this.id, expected: 'reset() before the first step', found: 'none' })
    const offset = env * this.observationSize
    this.advance(env)
    if (this.terminated[env] === 1 || this.truncated[env] === 1) {
      this.observe(env, this.finalObservations, offset)
      this.start(env)
    }
    this.observe(env, this.observations, offset)
  }

  save(): Uint8Array {
    const { id, count } = this
    const json = { id, count, streams: this.streams.map((stream) => stream.state()) }
    return packArchive({ json, arrays: this.buffers() })
  }

  restore(bytes: Uint8Array): void {
    const where = `state of ${this.id}`
    const archive = unpackArchive(bytes, where)
    const json = archive.json as {
      id?: unknown
      count?: unknown
      streams?: [number, number, number, number][]
    }
    if (json.id !== this.id || json.count !== this.count || json.streams === undefined) {
      throw new InputError({
        where,
        expected: `${this.count} environments`,
        found: `${show(json.count)} of ${show(json.id)}`,
      })
    }
    for (const [name, target] of Object.entries(this.buffers())) loadArray(archive, name, target, where)
    this.streams = json.streams.map((words, env) => {
      const stream = randomStream(0, `${this.id}/${env}`)
      stream.restore(words)
      return stream
    })
  }

  /** All arrays of the environments, by name. */
  private buffers() {
    const { state, choices, observations, finalObservations } = this
    const { performance, stability, tauSeconds, terminated, truncated } = this
    return {
      state,
      choices,
      observations,
      finalObservations,
      performance,
      stability,
      tauSeconds,
      terminated,
      truncated,
    }
  }
}
