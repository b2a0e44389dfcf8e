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

/** The timers of the event loop. */
export const systemTimers: Timers = {
  after(seconds, run, background = false) {
    const timer = setTimeout(run, 1000 * seconds)
    if (background) timer.unref()
    return () => {
      clearTimeout(timer)
    }
  },
}
