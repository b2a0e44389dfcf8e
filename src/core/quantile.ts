/** Order statistic floor(q n) of ascending values, without interpolation: always one of the values. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]
}
