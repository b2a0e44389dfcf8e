/** Time comes in as an argument: nothing in the core reads a clock of its own. */
export interface Clock {
  /** Monotonic seconds from an arbitrary origin, the same for all processes of one machine. */
  nowSeconds(): number
  /** Wall-clock time as an ISO 8601 string, for provenance only. */
  wallTime(): string
}

export const systemClock: Clock = {
  nowSeconds() {
    const [seconds, nanoseconds] = process.hrtime()
    return seconds + nanoseconds * 1e-9
  },
  wallTime: () => new Date().toISOString(),
}
