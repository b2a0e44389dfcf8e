/** Order statistic floor(q n) of ascending values, without interpolation: always one of the values. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]
}

/**
 * Linear between order statistics (Hyndman & Fan 1996, type 7), for few samples. `sorted` ascends and is not empty.
 */
export function interpolatedQuantile(sorted: ArrayLike<number>, q: number): number {
  const at = (sorted.length - 1) * q
  const low = Math.floor(at)
  const high = Math.min(low + 1, sorted.length - 1)
  return sorted[low] + (at - low) * (sorted[high] - sorted[low])
}

/** The middle of values in any order; the upper of the two in the middle where their number is even. */
export function median(values: Iterable<number>): number {
  return quantile(Float64Array.from(values).sort(), 0.5)
}

/** The middle of values in any order; between the two in the middle where their number is even. */
export function interpolatedMedian(values: readonly number[]): number {
  return interpolatedQuantile(Float64Array.from(values).sort(), 0.5)
}
