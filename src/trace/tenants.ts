import { InputError } from '../core/errors.ts'
import type { RandomStream } from '../core/random.ts'
import { longRun, pick } from './markov.ts'
import type { StepSeries } from './types.ts'

/**
 * A continuous-time Markov process over levels, for example the number of other tenants' sequences in a cloud's batch.
 */
export interface TenantProcess {
  /** The value of each state. */
  readonly levels: readonly number[]
  /** Mean exponential sojourn in each state, seconds. */
  readonly meanSojournSeconds: readonly number[]
  /** next[i][j]: probability of going from state i to j when i is left; default: uniform over the other states. */
  readonly next?: readonly (readonly number[])[]
}

/**
 * Draws one path of the process over [0, seconds), started in its long-run distribution.
 * @throws InputError if levels, sojourns and transitions do not match
 */
export function sampleTenants(process: TenantProcess, seconds: number, random: RandomStream): StepSeries {
  const next = checkProcess(process)
  const times: number[] = []
  const values: number[] = []
  // Time share of each state: how often it is entered times how long it lasts.
  const entered = longRun(next)
  let state = pick(
    entered.map((share, i) => share * process.meanSojournSeconds[i]),
    random,
  )
  for (let at = 0; at < seconds || times.length === 0;) {
    if (times.length === 0 || at > times[times.length - 1]) {
      times.push(at)
      values.push(process.levels[state])
    }
    at += random.exponential(process.meanSojournSeconds[state])
    state = pick(next[state], random)
  }
  return { timeSeconds: Float64Array.from(times), value: Float64Array.from(values) }
}

function checkProcess({ levels, meanSojournSeconds, next }: TenantProcess): readonly (readonly number[])[] {
  const n = levels.length
  const fits =
    n >= 1 &&
    meanSojournSeconds.length === n &&
    levels.every((level) => level >= 0 && level < Infinity) &&
    meanSojournSeconds.every((mean) => mean > 0 && mean < Infinity) &&
    (next === undefined ||
      (next.length === n && next.every((row) => row.length === n && isDistribution(row))))
  if (!fits) {
    throw new InputError({
      where: 'tenants',
      expected: 'levels >= 0, as many mean sojourns above 0 s, rows of `next` that sum to 1',
      found: JSON.stringify({ levels, meanSojournSeconds, next }),
    })
  }
  if (next !== undefined) return next
  return levels.map((_, i) => levels.map((__, j) => (n === 1 ? 1 : i === j ? 0 : 1 / (n - 1))))
}

const isDistribution = (row: readonly number[]) =>
  row.every((p) => p >= 0) && Math.abs(row.reduce((sum, p) => sum + p, 0) - 1) < 1e-6
