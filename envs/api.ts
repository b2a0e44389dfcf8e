import type { RandomStream } from '../src/core/random.ts'
import { InputError, show } from '../src/core/errors.ts'
import { sha256 } from '../src/core/files.ts'
import { Box, Discrete, MultiDiscrete } from './spaces.ts'
import type { Space } from './spaces.ts'
import { maxChoices } from '../src/policy/action/vectorEnv.ts'
import type { VectorEnv } from '../src/policy/action/vectorEnv.ts'

/** Additional information from reset and step, as in Gymnasium. */
export type Info = Readonly<Record<string, unknown>>
/** What `reset` returns. */
export type ResetResult<O> = [observation: O, info: Info]
/** What `step` returns. */
export type StepResult<O> = [
  observation: O,
  reward: number,
  terminated: boolean,
  truncated: boolean,
  info: Info,
]

/**
 * One environment with Gymnasium's semantics (https://gymnasium.farama.org/api/env/). `terminated`: the task itself
 * ended, so the remaining value is 0; `truncated`: a limit outside the task ended the episode. After either, and before
 * the first step, `reset` must be called, otherwise `step` throws.
 */
export interface Env<O, A> {
  readonly observationSpace: Space<O>
  readonly actionSpace: Space<A>
  /** With a seed the random stream restarts; without, it continues (from seed 0 if there never was a seed). */
  reset(options?: { seed?: number }): ResetResult<O>
  step(action: A): StepResult<O>
  /** Draws a random action that is allowed now; if absent, every action of actionSpace is allowed. */
  sampleAction?(stream: RandomStream): A
  close(): void
}

/** Adapts a vector environment with one environment to Env; an action with one row is a number. */
export class SingleEnv implements Env<Float32Array, number | Int32Array> {
  readonly observationSpace: Space<Float32Array>
  readonly actionSpace: Space<number | Int32Array>
  private readonly vector: VectorEnv
  private readonly features: Float32Array
  private readonly mask: Uint8Array
  private seeded = false
  private running = false

  constructor(vector: VectorEnv, observationSpace?: Space<Float32Array>) {
    if (vector.count !== 1) throw new RangeError(`vector.count: expected 1, found ${vector.count}`)
    const { heads, headOf, rowFeatureSize } = vector.action
    const counts = headOf.map((head) => heads[head].choices)
    const unbounded = new Float32Array(vector.observationSize).fill(Infinity)
    this.vector = vector
    this.observationSpace =
      observationSpace ??
      new Box(
        unbounded.map((x) => -x),
        unbounded,
      )
    this.actionSpace = counts.length === 1 ? new Discrete(counts[0]) : new MultiDiscrete(counts)
    this.features = new Float32Array(rowFeatureSize)
    this.mask = new Uint8Array(maxChoices(vector.action))
  }

  reset(options: { seed?: number } = {}): ResetResult<Float32Array> {
    // At the end of an episode a vector environment starts the next one by itself.
    if (options.seed !== undefined || !this.seeded) this.vector.reset(options.seed ?? 0)
    else if (this.running) this.vector.reset(nextSeed(this.vector))
    this.seeded = true
    this.running = true
    return [this.vector.observations.slice(), {}]
  }

  step(action: number | Int32Array): StepResult<Float32Array> {
    if (!this.running)
      throw new InputError({
        where: 'step',
        expected: 'a running episode',
        found: 'none',
        remedy: 'call reset() first',
      })
    if (!this.actionSpace.contains(action)) {
      throw new InputError({
        where: 'step: action',
        expected: `a member of ${this.actionSpace.toString()}`,
        found: show(action),
      })
    }
    this.choose(action)
    const { vector } = this
    vector.step(0)
    const terminated = vector.terminated[0] === 1
    const truncated = vector.truncated[0] === 1
    this.running = !terminated && !truncated
    const observation = this.running ? vector.observations.slice() : vector.finalObservations.slice()
    const info = {
      performance: vector.performance[0],
      stability: vector.stability[0],
      tauSeconds: vector.tauSeconds[0],
    }
    return [observation, info.performance + info.stability, terminated, truncated, info]
  }

  sampleAction(stream: RandomStream): number | Int32Array {
    const choices = new Int32Array(this.vector.action.headOf.length)
    this.vector.beginAction(0)
    for (let row = 0; row < choices.length; row++) {
      const allowed = this.vector.rowInput(0, row, this.features, this.mask)
      let skip = stream.integer(allowed)
      let choice = 0
      while (this.mask[choice] === 0 || skip-- > 0) choice++
      choices[row] = choice
      this.vector.choose(0, row, choice)
    }
    return choices.length === 1 ? choices[0] : choices
  }

  close(): void {
    this.running = false
  }

  private choose(action: number | Int32Array): void {
    this.vector.beginAction(0)
    for (let row = 0; row < this.vector.action.headOf.length; row++) {
      const choice = typeof action === 'number' ? action : action[row]
      this.vector.rowInput(0, row, this.features, this.mask)
      if (this.mask[choice] === 0) {
        throw new InputError({
          where: `step: action row ${row}`,
          expected: 'a choice its mask allows',
          found: String(choice),
        })
      }
      this.vector.choose(0, row, choice)
    }
  }
}

/** A seed derived from the current state, so that a reset in mid-episode continues the stream. */
function nextSeed(vector: VectorEnv): number {
  return Number.parseInt(sha256(vector.save()).slice(0, 8), 16)
}
