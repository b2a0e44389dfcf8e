import type { Clock } from '../../core/clock.ts'
import { InputError } from '../../core/errors.ts'
import type { Plan } from '../../plan/plan.ts'
import type { Situation } from '../../plan/price/situation.ts'

/** A decision and its duration over repetitions. */
export interface TimedDecision {
  readonly plan: Plan
  readonly medianSeconds: number
  readonly p99Seconds: number
  readonly repeats: number
}

/**
 * Decides `warmUp` times unmeasured, then `repeats` times with measured duration. Quantiles are nearest-rank: the p99
 * of 100 repetitions is the 99th smallest. Synchronous and asynchronous decisions are both timed in full.
 */
export async function decideTimed(
  bundle: { decide(situation: Situation): Plan | Promise<Plan> },
  situation: Situation,
  clock: Pick<Clock, 'nowSeconds'>,
  { repeats = 200, warmUp = 20 }: { repeats?: number; warmUp?: number } = {},
): Promise<TimedDecision> {
  if (!Number.isInteger(repeats) || repeats < 1) {
    throw new InputError({ where: 'repeats', expected: 'an integer of at least 1', found: String(repeats) })
  }
  let plan: Plan | undefined
  for (let i = 0; i < warmUp; i++) plan = await bundle.decide(situation)
  const seconds = new Float64Array(repeats)
  for (let i = 0; i < repeats; i++) {
    const began = clock.nowSeconds()
    const answer = bundle.decide(situation)
    // A synchronous decision is complete here: awaiting it would add the event loop's time.
    plan = answer instanceof Promise ? await answer : answer
    seconds[i] = clock.nowSeconds() - began
  }
  seconds.sort()
  const rank = (share: number): number => seconds[Math.max(0, Math.ceil(share * repeats) - 1)]
  return { plan: plan!, medianSeconds: rank(0.5), p99Seconds: rank(0.99), repeats }
}
