/** Waiting comes in as an argument, as the clock does: tests let time pass by hand. */
export interface Timers {
  /** Calls `run` once after `seconds`, unless the returned function was called before. */
  after(seconds: number, run: () => void): () => void
}

export const systemTimers: Timers = {
  after(seconds, run) {
    const timer = setTimeout(run, 1000 * seconds)
    return () => {
      clearTimeout(timer)
    }
  },
}
