import type { Clock } from '../../core/clock.ts'
import type { Choice, Decided } from './types.ts'

/** A choice with the time that it took; null where there was none. */
export function timed<T extends Choice | null>(
  clock: Clock,
  choose: () => T,
): Decided<NonNullable<T>> | (T & null) {
  const began = clock.nowSeconds()
  const choice = choose()
  const decideSeconds = clock.nowSeconds() - began
  return (choice === null ? null : { ...choice, decideSeconds }) as Decided<NonNullable<T>> | (T & null)
}
