/**
 * Links and workloads as the simulators see them. Time is in seconds from the start of an episode; rates are bit/s; bin
 * i covers [time[i], time[i + 1]).
 */
export type Direction = 'up' | 'down'

/** A link with piecewise-constant rate and RTT. A zero rate is a real outage. */
export interface LinkSeries {
  /** Bin edges, ascending, length n + 1, first 0. */
  readonly timeSeconds: Float64Array
  /** Length n each. */
  readonly upBitsPerSecond: Float64Array
  readonly downBitsPerSecond: Float64Array
  readonly rttSeconds: Float64Array
  /** Source of each part: recorded, paired, constant or synthetic, and from where. */
  readonly label: string
}

/** Replays a LinkSeries, in an endless loop (like mahimahi). */
export interface Link {
  /**
   * When the last of `bytes` leaves the sender if the first starts at `startSeconds`: the T with integral of rate over
   * [start, T] = 8 bytes. Infinity if the link never carries anything.
   */
  sentSeconds(direction: Direction, startSeconds: number, bytes: number): number
  rttSeconds(atSeconds: number): number
  bitsPerSecond(direction: Direction, atSeconds: number): number
  /** The highest rate anywhere in [from, to]. */
  bestBitsPerSecond(direction: Direction, fromSeconds: number, toSeconds: number): number
  /** The lowest RTT anywhere in [from, to]. */
  bestRttSeconds(fromSeconds: number, toSeconds: number): number
  /** Next time after `atSeconds` at which rate or RTT may change; Infinity for a constant link. */
  nextChangeSeconds(atSeconds: number): number
}

/** A right-continuous step function: value[i] from time[i] on; value[0] before. */
export interface StepSeries {
  readonly timeSeconds: Float64Array
  readonly value: Float64Array
}

/** One arriving request. Policies are never given the output length. */
export interface RequestArrival {
  readonly arrivalSeconds: number
  readonly promptTokens: number
  readonly outputTokens: number
  /** A length predictor's mean and standard deviation of outputTokens. */
  readonly predictedOutputTokens: number
  readonly predictedOutputSd: number
}
