import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '../../../src/core/clock.ts'
import type { PreciseTimerFactory } from '../../../src/trace/replay/preciseTimer.ts'

/** A clock that stands still until moved, and an timer that rings when it is moved past its time. */
export class ManualTime {
  seconds = 100
  private due = Infinity
  private ring: () => void = () => {}

  readonly clock: Clock = { nowSeconds: () => this.seconds, wallTime: () => '' }
  readonly timer: PreciseTimerFactory = async (_clock, ring) => {
    this.ring = ring
    return { set: (due) => void (this.due = due), close: async () => {} }
  }

  /** Moves on, ringing at every time that is set on the way. */
  moveTo(seconds: number): void {
    while (this.due <= seconds) {
      this.seconds = Math.max(this.seconds, this.due)
      this.due = Infinity
      this.ring()
    }
    this.seconds = seconds
  }
}

/** Waits for something the sockets do; fails by the test's own time limit if they never do. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(1)
}
