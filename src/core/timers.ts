/** Waiting comes in as an argument, as the clock does: tests let time pass by hand. */
export interface Timers {
  /**
   * Calls `run` once after `seconds`, unless the returned function was called before. `background`: a process
   * that has nothing else to do need not wait for it.
   */
  after(seconds: number, run: () => void, background?: boolean): () => void
}

export const systemTimers: Timers = {
  after(seconds, run, background = false) {
    const timer = setTimeout(run, 1000 * seconds)
    if (background) timer.unref()
    return () => {
      clearTimeout(timer)
    }
  },
}
