import type { Clock } from '../../core/clock.ts'
import type { PlanDecision, Timed } from './types.ts'

/** A choice with the time that it took; null where there was none. */
export function timed<T extends PlanDecision | null>(
  clock: Clock,
  choose: () => T,
): Timed<NonNullable<T>> | (T & null) {
  const began = clock.nowSeconds()
  const choice = choose()
  const decideSeconds = clock.nowSeconds() - began
  return (choice === null ? null : { ...choice, decideSeconds }) as Timed<NonNullable<T>> | (T & null)
}
