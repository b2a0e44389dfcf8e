import type { Normaliser } from '../../policy/actor/actor.ts'

/** Running mean and variance of vectors in float64 (Chan et al. 1979, the parallel update). */
export class RunningMoments {
  readonly mean: Float64Array
  /** Sums of squared deviations from the mean. */
  readonly squares: Float64Array
  count = 0

  constructor(size: number) {
    this.mean = new Float64Array(size)
    this.squares = new Float64Array(size)
  }

  /** Adds `rows` vectors, row-major. */
  update(values: Float32Array, rows: number): void {
    const size = this.mean.length
    const total = this.count + rows
    for (let column = 0; column < size; column++) {
      let sum = 0
      for (let row = 0; row < rows; row++) sum += values[row * size + column]
      const mean = sum / rows
      let squares = 0
      for (let row = 0; row < rows; row++) squares += (values[row * size + column] - mean) ** 2
      const delta = mean - this.mean[column]
      this.mean[column] += (delta * rows) / total
      this.squares[column] += squares + (delta * delta * this.count * rows) / total
    }
    this.count = total
  }

  /** The float32 normaliser from the moments so far; the identity before the first update. */
  normaliser(): Normaliser {
    const mean = Float32Array.from(this.mean)
    // An element that never changed has no known scale: only its mean is subtracted.
    const scale = Float32Array.from(this.squares, (squares) =>
      this.count === 0 || squares === 0 ? 1 : 1 / Math.sqrt(squares / this.count + 1e-8),
    )
    return { mean, scale }
  }
}

/**
 * Scale of one critic's targets: exponentially weighted mean and standard deviation of the returns. The critic predicts
 * (return - mean) / deviation. When these change, its last layer is rescaled so that the predicted returns stay the
 * same (PopArt, van Hasselt et al. 2016, equations 3 to 7).
 */
export class ReturnScale {
  mean = 0
  deviation = 1
  private first = 0
  private second = 0
  private updates = 0

  /** Adds returns, and rescales the critic's output weights and bias in place. */
  update(returns: Float64Array, rate: number, weight: Float32Array, bias: Float32Array): void {
    let sum = 0
    let squares = 0
    for (const value of returns) {
      sum += value
      squares += value * value
    }
    // A plain average over the first updates, exponential weights afterwards.
    const step = Math.max(rate, 1 / ++this.updates)
    this.first += step * (sum / returns.length - this.first)
    this.second += step * (squares / returns.length - this.second)
    const mean = this.first
    const variance = Math.max(0, this.second - mean * mean)
    // If all returns are 0 (a critic without rewards), there is nothing to scale.
    const deviation = Math.max(Math.sqrt(variance), 1e-4 * Math.abs(mean)) || 1
    const ratio = this.deviation / deviation
    for (let i = 0; i < weight.length; i++) weight[i] *= ratio
    bias[0] = (this.deviation * bias[0] + this.mean - mean) / deviation
    this.mean = mean
    this.deviation = deviation
  }

  state(): number[] {
    return [this.mean, this.deviation, this.first, this.second, this.updates]
  }

  restore(state: readonly number[]): void {
    ;[this.mean, this.deviation, this.first, this.second, this.updates] = state
  }
}

/** Population variance. */
export function variance(values: Float64Array): number {
  let sum = 0
  let squares = 0
  for (const value of values) {
    sum += value
    squares += value * value
  }
  return Math.max(0, squares / values.length - (sum / values.length) ** 2)
}
