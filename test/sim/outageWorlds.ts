import type { RandomStream } from '../../src/core/random.ts'
import { randomStream } from '../../src/core/random.ts'
import type { Program } from '../../src/plan/price/program.ts'
import type { Simulation, SimulationFactory, EpisodeInputs } from '../../src/sim/types.ts'
import { createLink } from '../../src/trace/link.ts'
import type { Link } from '../../src/trace/types.ts'
import { recorder, type Episode, type Moment } from './episode.ts'
import { gridCase, randomCase, type Case } from './worlds.ts'

/** A case whose link breaks often. */
export interface OutageCase extends Case {
  /** New programs, to be drawn from; null: keep. */
  readonly others: readonly (Program | null)[]
}

/** At most this many re-plans a request: an outage may come back faster than a prefill can be done again. */
const MOST_REPLANS = 5

/** Mean bins of `binSeconds`, a third of them silent in one direction or both; the first may be. */
function brokenLink(random: RandomStream, bins: number, edgeSeconds: () => number, rate: () => number): Link {
  const timeSeconds = new Float64Array(bins + 1)
  for (let i = 0; i < bins; i++) timeSeconds[i + 1] = timeSeconds[i] + edgeSeconds()
  const rates = () => new Float64Array(bins).map(() => (random.uniform() < 0.33 ? 0 : rate()))
  const [upBitsPerSecond, downBitsPerSecond] = [rates(), rates()]
  // Some bin carries data both ways.
  const good = random.integer(bins)
  upBitsPerSecond[good] = downBitsPerSecond[good] = rate()
  const rttSeconds = new Float64Array(bins).map(() => random.integer(3) / 8)
  return createLink({ timeSeconds, upBitsPerSecond, downBitsPerSecond, rttSeconds, label: 'broken' })
}

/** Any case of worlds.ts, with outages and programs to change to. */
export function outageCase(seed: number): OutageCase {
  const random = randomStream(seed, 'outages')
  const given = randomCase(seed)
  const meanSeconds = 0.05 * 40 ** random.uniform()
  const edgeSeconds = () => 0.01 + random.exponential(meanSeconds)
  const rate = () => 2e5 * 250 ** random.uniform()
  const link = brokenLink(random, 2 + random.integer(10), edgeSeconds, rate)
  return withOutages(given, link, meanSeconds * (0.2 + random.uniform()), randomCase(seed + 1).programs)
}

/** The same where everything happens at multiples of 1/16 s, so that outages begin, end and are detected with other events. */
export function outageGridCase(seed: number): OutageCase {
  const random = randomStream(seed, 'grid outages')
  const given = gridCase(seed)
  const link = brokenLink(
    random,
    2 + random.integer(6),
    () => (1 + random.integer(4)) / 2,
    () => 8000 * (1 + random.integer(2)),
  )
  return withOutages(given, link, (1 + random.integer(6)) / 4, gridCase(seed + 1).programs)
}

function withOutages(
  given: Case,
  link: Link,
  outageSeconds: number,
  programs: readonly Program[],
): OutageCase {
  const world: EpisodeInputs = { ...given.world, link, outageSeconds }
  const others = [...programs, ...given.programs, null, null].map((one, i) =>
    one === null ? null : { ...one, accuracyLoss: 0.01 * (1 + (i % 5)) },
  )
  return { world, programs: given.programs, others, label: given.label }
}

/** A decision that was due, and what the simulation showed. */
export interface ReplanMoment extends Moment {
  readonly kind: string
  readonly deliveredTokens: number
}

/** One re-plan that was carried out. */
interface Replan {
  readonly request: number
  readonly atSeconds: number
  readonly deliveredTokens: number
  readonly program: Program
}

export interface OutageEpisode extends Episode {
  readonly moments: readonly ReplanMoment[]
  readonly replans: readonly Replan[]
  readonly offers: number
}

/** Drives a simulation to its end; answers to offers are drawn by number of offer, alike for every simulator. */
export function driveOutages(simulation: Simulation, given: OutageCase) {
  const random = randomStream(0, given.label)
  const moments: ReplanMoment[] = []
  const replans: Replan[] = []
  const changed = given.world.arrivals.map(() => 0)
  let offers = 0
  for (;;) {
    const decision = simulation.advance()
    moments.push(momentOf(simulation, decision))
    if (decision < 0) return { moments, replans, offers }
    if (simulation.decision === 'dispatch') {
      simulation.dispatch(given.programs[decision])
      continue
    }
    offers++
    const program = given.others[random.integer(given.others.length)]
    if (program === null || changed[decision]++ >= MOST_REPLANS) {
      simulation.keep()
      continue
    }
    const deliveredTokens = simulation.deliveredTokens()
    replans.push({ request: decision, atSeconds: simulation.now, deliveredTokens, program })
    simulation.dispatch(program)
  }
}

function momentOf(simulation: Simulation, decision: number): ReplanMoment {
  return {
    decision,
    kind: decision < 0 ? 'end' : simulation.decision,
    deliveredTokens: decision < 0 ? 0 : simulation.deliveredTokens(),
    now: simulation.now,
    totals: { ...simulation.totals },
    waiting: simulation.waiting(),
    inFlight: simulation.inFlight(),
    uplinkQueuedBytes: simulation.uplinkQueuedBytes(),
    cloudQueuedSeconds: simulation.cloudQueuedSeconds(),
  }
}

export function playOutages(factory: SimulationFactory, given: OutageCase): OutageEpisode {
  const { listener, ...heard } = recorder()
  const simulation = factory(given.world, listener)
  const driven = driveOutages(simulation, given)
  return { ...driven, outcomes: simulation.outcomes.map((outcome) => ({ ...outcome })), ...heard }
}
