import type { Clock } from '../../src/base/clock.ts'
import type { Timers } from '../../src/base/timers.ts'

/** A clock and timers that a test moves by hand. */
export interface HandTime {
  readonly clock: Clock
  readonly timers: Timers
  readonly pending: number
  pass(seconds: number): void
}

export function handTimers(): HandTime {
  let now = 0
  let due: { at: number; run: () => void }[] = []
  return {
    clock: { nowSeconds: () => now, wallTime: () => '2026-01-01T00:00:00.000Z' },
    timers: {
      after(seconds, run) {
        const entry = { at: now + seconds, run }
        due.push(entry)
        return () => {
          due = due.filter((other) => other !== entry)
        }
      },
    },
    get pending() {
      return due.length
    },
    pass(seconds) {
      const end = now + seconds
      for (;;) {
        const next = due.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
        if (next === undefined) break
        due = due.filter((entry) => entry !== next)
        now = next.at
        next.run()
      }
      now = end
    },
  }
}
