/** Largest or smallest value over any index range in O(1), after O(n log n) preparation (a sparse table). */
export class RangeExtremum {
  /** level[k][i] covers values i .. i + 2^k - 1. */
  private readonly levels: Float64Array[]
  readonly better: (a: number, b: number) => number

  constructor(values: Float64Array, kind: 'max' | 'min') {
    this.better = kind === 'max' ? Math.max : Math.min
    this.levels = [values]
    for (let width = 1; 2 * width <= values.length; width *= 2) {
      const below = this.levels[this.levels.length - 1]
      const level = new Float64Array(values.length - 2 * width + 1)
      for (let i = 0; i < level.length; i++) level[i] = this.better(below[i], below[i + width])
      this.levels.push(level)
    }
  }

  /** The extremum over indices first..last, both included. */
  over(first: number, last: number): number {
    const k = 31 - Math.clz32(last - first + 1)
    const level = this.levels[k]
    return this.better(level[first], level[last + 1 - (1 << k)])
  }
}
