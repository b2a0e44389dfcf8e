/**
 * The time source, passed in as an argument so that tests and simulations control time; src/core never reads the system
 * clock directly.
 */
export interface Clock {
  /** Monotonic seconds from an arbitrary origin; all processes on one machine share the origin. */
  nowSeconds(): number
  /** Wall-clock time as an ISO 8601 string; used for provenance only, never to measure durations. */
  wallTime(): string
}

/** The clock of the operating system. */
export const systemClock: Clock = {
  nowSeconds() {
    const [seconds, nanoseconds] = process.hrtime()
    return seconds + nanoseconds * 1e-9
  },
  wallTime: () => new Date().toISOString(),
}
