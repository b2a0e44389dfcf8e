import type { Loss } from './types.ts'

/** -log softmax(logits)[target] for each row of logits [rows, vocabulary], nats. */
export function rowNats(logits: Float32Array, vocabulary: number, targets: readonly number[]): Float64Array {
  return Float64Array.from(targets, (target, row) => {
    const from = row * vocabulary
    return logOfSum(logits, from, from + vocabulary) - logits[from + target]
  })
}

/** Kullback-Leibler divergence of the predictions `other` from `exact`, for each row, in nats. */
export function rowDivergences(exact: Float32Array, other: Float32Array, vocabulary: number): Float64Array {
  return Float64Array.from({ length: exact.length / vocabulary }, (_, row) => {
    const from = row * vocabulary
    const to = from + vocabulary
    const exactSum = logOfSum(exact, from, to)
    const otherSum = logOfSum(other, from, to)
    let sum = 0
    for (let i = from; i < to; i++) {
      const log = exact[i] - exactSum
      sum += Math.exp(log) * (log - (other[i] - otherSum))
    }
    return Math.max(0, sum)
  })
}

/** log(sum of exp) of values [from, to). */
function logOfSum(values: Float32Array, from: number, to: number): number {
  let largest = -Infinity
  for (let i = from; i < to; i++) largest = Math.max(largest, values[i])
  let sum = 0
  for (let i = from; i < to; i++) sum += Math.exp(values[i] - largest)
  return largest + Math.log(sum)
}

/** Means of values added token by token, and the standard error of the added log-perplexity. */
export class LossAccumulator {
  private count = 0
  private mean = 0
  private squares = 0
  private divergence = 0

  /** Welford's update: sums of squares of small differences would lose precision. */
  add(nats: number, divergence: number): void {
    this.count++
    const before = nats - this.mean
    this.mean += before / this.count
    this.squares += before * (nats - this.mean)
    this.divergence += (divergence - this.divergence) / this.count
  }

  loss(): Loss {
    const { count, mean, squares, divergence } = this
    const standardError = count < 2 ? 0 : Math.sqrt(squares / (count - 1) / count)
    return { nats: mean, standardError, divergence }
  }
}
