import { InputError } from '../src/core/errors.ts'
import { OBSERVATION_SIZE, encodeObservation } from '../src/policy/observation/observation.ts'
import { PlanDecoder, ROW_FEATURE_SIZE, stayBias } from '../src/policy/action/planDecoder.ts'
import { pairUnits } from '../src/plan/price/pair.ts'
import type { DecisionProblem } from '../src/plan/price/problem.ts'
import type { Situation } from '../src/plan/price/situation.ts'
import { createFast } from '../src/sim/fast.ts'
import { Episode, type EpisodeTerms } from '../src/sim/episode.ts'
import type { SimulationFactory, EpisodeInputs } from '../src/sim/types.ts'
import { SingleEnv } from './api.ts'
import { loadArray, packArchive, unpackArchive, type ArchiveArray } from '../src/core/archive.ts'
import { RewardMeter, type RewardTerms } from './rewards.ts'
import type { ActionSpec, VectorEnv } from '../src/policy/action/vectorEnv.ts'

/** What Partition-v0 is made from. */
export interface PartitionOptions {
  readonly problem: DecisionProblem
  readonly terms: EpisodeTerms
  readonly reward: RewardTerms
  readonly count: number
  /** Creates the inputs of the episode with this seed. */
  readonly world: (episodeSeed: number) => EpisodeInputs
  readonly createSimulation?: SimulationFactory
}

/** The running episode of one environment. */
interface Slot {
  episode: Episode
  /** The situation at the pending decision. */
  situation: Situation
  meter: RewardMeter
  decoder: PlanDecoder
  /** Which of the environment's episodes it is, from 0. */
  index: number
  /** Rows of every action so far in this episode; with the seed, they reproduce it. */
  history: number[]
  action: Int32Array
}

/** The seeds of environment e are base + e + N x episode; resets with different seeds must not overlap. */
const SEED_STRIDE = 1_000_003

/**
 * `edgewise/Partition-v0`: a semi-Markov decision process with one step for each dispatched request, and one for each
 * request that is in flight when an outage starts (with the option to keep its plan). The action is the whole plan: a
 * plan-wide row (boundary bits, ends, early exit), then one row for each layer (units in the cloud, FFN mode). An
 * episode ends when all its requests are served.
 */
export class VectorPartition implements VectorEnv {
  readonly id = 'edgewise/Partition-v0'
  readonly count: number
  readonly observationSize = OBSERVATION_SIZE
  readonly action: ActionSpec
  readonly observations: Float32Array
  readonly finalObservations: Float32Array
  readonly performance: Float64Array
  readonly stability: Float64Array
  readonly tauSeconds: Float64Array
  readonly terminated: Uint8Array
  readonly truncated: Uint8Array
  private readonly options: PartitionOptions
  private slots: Slot[] = []
  private seed = 0

  constructor(options: PartitionOptions) {
    const { count, problem } = options
    this.options = options
    this.count = count
    this.action = partitionAction(problem)
    this.observations = new Float32Array(count * OBSERVATION_SIZE)
    this.finalObservations = new Float32Array(count * OBSERVATION_SIZE)
    this.performance = new Float64Array(count)
    this.stability = new Float64Array(count)
    this.tauSeconds = new Float64Array(count)
    this.terminated = new Uint8Array(count)
    this.truncated = new Uint8Array(count)
  }

  reset(seed: number): void {
    this.seed = seed
    this.slots = Array.from({ length: this.count }, (_, env) =>
      this.start(env, 0, new PlanDecoder(this.options.problem)),
    )
    for (let env = 0; env < this.count; env++) this.observe(env)
    this.terminated.fill(0)
  }

  beginAction(env: number): void {
    const slot = this.slotOf(env)
    slot.decoder.begin(slot.situation)
  }

  rowInput(env: number, row: number, featuresOut: Float32Array, maskOut: Uint8Array): number {
    return this.slotOf(env).decoder.input(row, featuresOut, maskOut)
  }

  choose(env: number, row: number, choice: number): void {
    const slot = this.slotOf(env)
    slot.decoder.choose(row, choice)
    slot.action[row] = choice
  }

  step(env: number): void {
    const slot = this.slotOf(env)
    const ended = this.dispatch(slot)
    const reward = slot.meter.read(ended)
    this.performance[env] = reward.performance
    this.stability[env] = reward.stability
    this.tauSeconds[env] = reward.tauSeconds
    this.terminated[env] = ended ? 1 : 0
    if (ended) {
      // After the last request there is no observation: the critics' value there is 0.
      const from = env * OBSERVATION_SIZE
      this.finalObservations.set(this.observations.subarray(from, from + OBSERVATION_SIZE), from)
      this.slots[env] = this.start(env, slot.index + 1, slot.decoder)
    }
    this.observe(env)
  }

  save(): Uint8Array {
    const arrays: Record<string, ArchiveArray> = { ...this.buffers() }
    this.slots.forEach((slot, env) => {
      arrays[`history/${env}`] = Int32Array.from(slot.history)
    })
    const episodes = this.slots.map((slot) => slot.index)
    return packArchive({ json: { id: this.id, count: this.count, seed: this.seed, episodes }, arrays })
  }

  restore(bytes: Uint8Array): void {
    const where = `state of ${this.id}`
    const archive = unpackArchive(bytes, where)
    const json = archive.json as { id?: unknown; count?: unknown; seed?: number; episodes?: number[] }
    if (
      json.id !== this.id ||
      json.count !== this.count ||
      json.seed === undefined ||
      json.episodes === undefined
    ) {
      throw new InputError({
        where,
        expected: `${this.count} of ${this.id}`,
        found: `${String(json.count)} of ${String(json.id)}`,
      })
    }
    this.seed = json.seed
    this.slots = json.episodes.map((index, env) => {
      const slot = this.start(env, index, new PlanDecoder(this.options.problem))
      this.replay(slot, archive.arrays[`history/${env}`] as Int32Array)
      return slot
    })
    for (const [name, target] of Object.entries(this.buffers())) loadArray(archive, name, target, where)
  }

  /** The running episode of an environment. */
  episodeOf(env: number): Episode {
    return this.slotOf(env).episode
  }

  private buffers(): Record<string, Float32Array | Float64Array | Uint8Array> {
    const { observations, finalObservations, performance, stability, tauSeconds, terminated, truncated } =
      this
    return { observations, finalObservations, performance, stability, tauSeconds, terminated, truncated }
  }

  private slotOf(env: number): Slot {
    if (this.slots.length === 0)
      throw new InputError({ where: this.id, expected: 'reset() first', found: 'none' })
    return this.slots[env]
  }

  private start(env: number, index: number, decoder: PlanDecoder): Slot {
    const { problem, terms, reward, world, createSimulation } = this.options
    const episodeSeed = this.seed * SEED_STRIDE + env + this.count * index
    const episode = new Episode(problem, world(episodeSeed), terms, createSimulation ?? createFast)
    const meter = new RewardMeter(reward, episode, problem.objective, problem.pair.power)
    episode.onFinish = (request) => {
      meter.accrual.finished(
        episode.simulation.outcomes[request],
        episode.world.arrivals[request].arrivalSeconds,
      )
    }
    if (!episode.next()) throw new RangeError('world: expected at least one request')
    meter.read(false)
    return {
      episode,
      situation: episode.situation(),
      meter,
      decoder,
      index,
      history: [],
      action: new Int32Array(decoder.rows),
    }
  }

  /** Applies the slot's action and runs to the next decision; true if there is none. */
  private dispatch(slot: Slot): boolean {
    const { episode, meter, decoder } = slot
    const { outcomes } = episode.simulation
    const { request } = episode
    const before = outcomes[request].accuracyLoss
    slot.history.push(...slot.action)
    episode.dispatch(decoder.plan())
    if (episode.kind === 'dispatch') meter.accrual.dispatched(outcomes[request].accuracyLoss)
    else meter.accrual.replanned(before, outcomes[request].accuracyLoss)
    return !slot.episode.next()
  }

  private replay(slot: Slot, history: Int32Array): void {
    const { rows } = slot.decoder
    for (let from = 0; from + rows <= history.length; from += rows) {
      slot.decoder.begin(slot.situation)
      for (let row = 0; row < rows; row++) {
        slot.decoder.choose(row, history[from + row])
        slot.action[row] = history[from + row]
      }
      if (this.dispatch(slot))
        throw new InputError({ where: this.id, expected: 'an unfinished episode', found: 'a finished one' })
      slot.meter.read(false)
      slot.situation = slot.episode.situation()
    }
  }

  private observe(env: number): void {
    const from = env * OBSERVATION_SIZE
    const out = this.observations.subarray(from, from + OBSERVATION_SIZE)
    const slot = this.slots[env]
    slot.situation = slot.episode.situation()
    encodeObservation(this.options.problem, slot.situation, out)
  }
}

/** `edgewise/Partition-v0` as one environment with Gymnasium's semantics; its reward is performance + stability. */
export function partition(options: Omit<PartitionOptions, 'count'>): SingleEnv {
  return new SingleEnv(new VectorPartition({ ...options, count: 1 }))
}

/** The action space of a decision problem, from which an actor is built. */
export function partitionAction(problem: DecisionProblem): ActionSpec {
  const decoder = new PlanDecoder(problem)
  const units = pairUnits(problem.pair)
  return {
    heads: [
      { name: 'plan', choices: decoder.choices.length, usesRowFeatures: false, masked: true },
      {
        name: 'layer',
        choices: (units + 1) * 3,
        usesRowFeatures: true,
        masked: true,
        initialBias: stayBias(units, decoder.layers),
      },
    ],
    headOf: [0, ...new Array<number>(decoder.layers).fill(1)],
    rowFeatureSize: ROW_FEATURE_SIZE,
  }
}
