import type { Clock } from './clock.ts'

/** Timers, passed in as an argument like the clock, so that tests control time. */
export interface Timers {
  /**
   * Calls `run` once after `seconds`, unless the returned function is called before. `background`: the timer does not
   * keep the process alive.
   */
  after(seconds: number, run: () => void, background?: boolean): () => void
}

/** A clock and its timers: the system's, or those of a test. */
export interface TimeSource {
  readonly clock: Clock
  readonly timers: Timers
}

/** The longest wait of one timer of the event loop: it runs a longer one (above 2^31 - 1 ms) at once. */
const MAX_WAIT_SECONDS = 2_000_000

/** The timers of the event loop. */
export const systemTimers: Timers = {
  after(seconds, run, background = false) {
    let timer: NodeJS.Timeout
    const wait = (left: number): void => {
      const rest = left - MAX_WAIT_SECONDS
      timer = rest > 0 ? setTimeout(() => wait(rest), 1000 * MAX_WAIT_SECONDS) : setTimeout(run, 1000 * left)
      if (background) timer.unref()
    }
    wait(seconds)
    return () => clearTimeout(timer)
  },
}
