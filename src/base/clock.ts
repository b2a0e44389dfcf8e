/** Time comes in as an argument: nothing in the core reads a clock of its own. */
export interface Clock {
  /** Monotonic seconds from an arbitrary origin. */
  nowSeconds(): number
  /** Wall-clock time as an ISO 8601 string, for provenance only. */
  wallTime(): string
}

export const systemClock: Clock = {
  nowSeconds: () => performance.now() / 1000,
  wallTime: () => new Date().toISOString(),
}
