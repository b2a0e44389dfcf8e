import type { TimeSource } from './timers.ts'

/** When a request must be done: one moment and one timer. Whoever works for the request asks it what remains. */
export class Deadline {
  /** How long it allows from `sinceSeconds` on; Infinity: for ever. */
  readonly seconds: number
  /** Disarms the timer, when the request has ended. */
  readonly stop: () => void
  private readonly atSeconds: number
  private readonly time: TimeSource

  /**
   * `sinceSeconds` is a moment of `time.clock`. Calls `onPassed` once when it passes; not from within the constructor,
   * even where it has passed already.
   */
  constructor(seconds: number, sinceSeconds: number, time: TimeSource, onPassed: () => void) {
    this.seconds = seconds
    this.atSeconds = sinceSeconds + seconds
    this.time = time
    this.stop =
      seconds === Infinity ? () => {} : time.timers.after(Math.max(0, this.remainingSeconds), onPassed)
  }

  /** Seconds until it passes; 0 or less: it has passed. */
  get remainingSeconds(): number {
    return this.atSeconds - this.time.clock.nowSeconds()
  }
}
