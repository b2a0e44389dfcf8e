import type { RandomStream } from '../src/core/random.ts'

/** Gymnasium's spaces (https://gymnasium.farama.org/api/spaces/): the values that are allowed. */
export interface Space<T> {
  /** Whether `value` is a member; never throws, for any argument. */
  contains(value: unknown): value is T
  /** Draws a member from `stream`. */
  sample(stream: RandomStream): T
  toString(): string
}

/** Real vectors with bounds for each element; bounds may be infinite. */
export class Box implements Space<Float32Array> {
  readonly low: Float32Array
  readonly high: Float32Array

  constructor(low: ArrayLike<number>, high: ArrayLike<number>) {
    if (low.length !== high.length)
      throw new RangeError(`high: expected ${low.length} bounds, found ${high.length}`)
    this.low = Float32Array.from(low)
    this.high = Float32Array.from(high)
    this.low.forEach((bound, i) => {
      if (!(bound <= this.high[i]))
        throw new RangeError(`low[${i}]: expected at most ${this.high[i]}, found ${bound}`)
    })
  }

  contains(value: unknown): value is Float32Array {
    if (!(value instanceof Float32Array) || value.length !== this.low.length) return false
    return value.every((x, i) => x >= this.low[i] && x <= this.high[i])
  }

  /** Uniform where both bounds are finite, shifted exponential where one is, normal where none is. */
  sample(stream: RandomStream): Float32Array {
    return this.low.map((low, i) => {
      const high = this.high[i]
      if (low > -Infinity && high < Infinity) return Math.min(high, low + (high - low) * stream.uniform())
      if (low > -Infinity) return low + stream.exponential(1)
      return high < Infinity ? high - stream.exponential(1) : stream.normal()
    })
  }

  toString(): string {
    return `Box(${this.low.length})`
  }
}

/** The integers start .. start + n - 1. */
export class Discrete implements Space<number> {
  readonly n: number
  readonly start: number

  constructor(n: number, start = 0) {
    if (!Number.isInteger(n) || n < 1) throw new RangeError(`n: expected a positive integer, found ${n}`)
    this.n = n
    this.start = start
  }

  contains(value: unknown): value is number {
    return (
      Number.isInteger(value) && (value as number) >= this.start && (value as number) < this.start + this.n
    )
  }

  sample(stream: RandomStream): number {
    return this.start + stream.integer(this.n)
  }

  toString(): string {
    return `Discrete(${this.n}${this.start === 0 ? '' : `, start=${this.start}`})`
  }
}

/** Vectors of integers, element i in 0 .. counts[i] - 1. */
export class MultiDiscrete implements Space<Int32Array> {
  readonly counts: readonly number[]

  constructor(counts: readonly number[]) {
    for (const count of counts) new Discrete(count)
    this.counts = [...counts]
  }

  contains(value: unknown): value is Int32Array {
    if (!(value instanceof Int32Array) || value.length !== this.counts.length) return false
    return value.every((x, i) => x >= 0 && x < this.counts[i])
  }

  sample(stream: RandomStream): Int32Array {
    return Int32Array.from(this.counts, (count) => stream.integer(count))
  }

  toString(): string {
    return `MultiDiscrete(${this.counts.join(', ')})`
  }
}
