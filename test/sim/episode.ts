import type { Direction } from '../../src/trace/types.ts'
import type {
  SimulationListener,
  RequestOutcome,
  Simulation,
  SimulationFactory,
  Totals,
} from '../../src/sim/types.ts'
import type { Case } from './worlds.ts'

/** All that a simulation lets be seen, at every decision and at the end. */
export interface Moment {
  readonly decision: number
  readonly now: number
  readonly totals: Totals
  readonly waiting: number
  readonly inFlight: number
  readonly uplinkQueuedBytes: number
  readonly cloudQueuedSeconds: number
}

interface Transfer {
  readonly direction: Direction
  readonly bytes: number
  readonly startSeconds: number
  readonly sentSeconds: number
  readonly arrivedSeconds: number
}

export interface Episode {
  readonly moments: readonly Moment[]
  readonly outcomes: readonly RequestOutcome[]
  readonly transfers: readonly Transfer[]
  readonly finished: readonly { request: number; atSeconds: number }[]
  /** Per side: profiled and actual seconds heard of, over all calls. */
  readonly compute: readonly { profiledSeconds: number; actualSeconds: number }[]
}

/** A listener that writes everything down, and what it wrote. */
export function recorder(): { listener: SimulationListener } & Pick<
  Episode,
  'transfers' | 'finished' | 'compute'
> {
  const transfers: Transfer[] = []
  const finished: { request: number; atSeconds: number }[] = []
  const compute = [0, 1].map(() => ({ profiledSeconds: 0, actualSeconds: 0 }))
  const listener: SimulationListener = {
    transfer: (direction, bytes, startSeconds, sentSeconds, arrivedSeconds) =>
      transfers.push({ direction, bytes, startSeconds, sentSeconds, arrivedSeconds }),
    finished: (request, atSeconds) => finished.push({ request, atSeconds }),
    compute: (side, profiledSeconds, actualSeconds) => {
      compute[side].profiledSeconds += profiledSeconds
      compute[side].actualSeconds += actualSeconds
    },
  }
  return { listener, transfers, finished, compute }
}

function momentOf(simulation: Simulation, decision: number): Moment {
  return {
    decision,
    now: simulation.now,
    totals: { ...simulation.totals },
    waiting: simulation.waiting(),
    inFlight: simulation.inFlight(),
    uplinkQueuedBytes: simulation.uplinkQueuedBytes(),
    cloudQueuedSeconds: simulation.cloudQueuedSeconds(),
  }
}

/** Drives a simulation to its end, each request with its own program. */
export function drive(simulation: Simulation, { programs }: Case): Moment[] {
  const moments: Moment[] = []
  for (;;) {
    const request = simulation.advance()
    moments.push(momentOf(simulation, request))
    if (request < 0) return moments
    simulation.dispatch(programs[request])
  }
}

export function play(factory: SimulationFactory, given: Case): Episode {
  const { listener, ...heard } = recorder()
  const simulation = factory(given.world, listener)
  const moments = drive(simulation, given)
  return { moments, outcomes: simulation.outcomes.map((outcome) => ({ ...outcome })), ...heard }
}

/** Where two values first differ by more than 1e-9 (relative, or absolute below 1), or null. */
export function firstDifference(a: unknown, b: unknown, path = ''): string | null {
  if (typeof a === 'number' && typeof b === 'number') {
    const same = Object.is(a, b) || Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(a), Math.abs(b))
    return same ? null : `${path}: ${a} against ${b}`
  }
  if (typeof a !== 'object' || a === null || typeof b !== 'object' || b === null) {
    return a === b ? null : `${path}: ${String(a)} against ${String(b)}`
  }
  const left = a as Record<string, unknown>
  const right = b as Record<string, unknown>
  const keys = Object.keys(left)
  if (keys.length !== Object.keys(right).length)
    return `${path}: ${keys.length} against ${Object.keys(right).length}`
  for (const key of keys) {
    const difference = firstDifference(left[key], right[key], `${path}.${key}`)
    if (difference !== null) return difference
  }
  return null
}
