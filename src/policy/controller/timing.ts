import type { Clock } from '../../core/clock.ts'
import { InputError } from '../../core/errors.ts'
import type { Plan } from '../../plan/plan.ts'
import type { Situation } from '../../plan/price/situation.ts'

/** A decision and how long it takes, over repeats. */
export interface TimedDecision {
  readonly plan: Plan
  readonly medianSeconds: number
  readonly p99Seconds: number
  readonly repeats: number
}

/**
 * Decides `warmUp` times unmeasured, then `repeats` times by the clock. Quantiles are nearest-rank: the
 * p99 of 100 repeats is the 99th smallest. Deciding at once and by promise are timed alike, each in full.
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
    // A decision taken at once is over here: awaiting it would time the event loop too.
    plan = answer instanceof Promise ? await answer : answer
    seconds[i] = clock.nowSeconds() - began
  }
  seconds.sort()
  const rank = (share: number): number => seconds[Math.max(0, Math.ceil(share * repeats) - 1)]
  return { plan: plan!, medianSeconds: rank(0.5), p99Seconds: rank(0.99), repeats }
}
