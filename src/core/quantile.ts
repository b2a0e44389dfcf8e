/** Order statistic floor(q n) of ascending values; no interpolation, so it is always a value that occurred. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]
}
