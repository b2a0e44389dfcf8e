import type { Loss } from './types.ts'

/** -log softmax(logits)[target] for each row of logits [rows, vocabulary], nats. */
export function rowNats(
  logits: Float32Array,
  vocabulary: number,
  targets: readonly number[],
  rows: number,
): Float64Array {
  const out = new Float64Array(rows)
  for (let row = 0; row < rows; row++) {
    const from = row * vocabulary
    let largest = -Infinity
    for (let i = from; i < from + vocabulary; i++) largest = Math.max(largest, logits[i])
    let sum = 0
    for (let i = from; i < from + vocabulary; i++) sum += Math.exp(logits[i] - largest)
    out[row] = largest + Math.log(sum) - logits[from + targets[row]]
  }
  return out
}

/** Mean and standard error of what is added token by token. */
export class Tally {
  private count = 0
  private mean = 0
  private squares = 0

  /** Welford's update: sums of squares of small differences would cancel. */
  add(value: number): void {
    this.count++
    const before = value - this.mean
    this.mean += before / this.count
    this.squares += before * (value - this.mean)
  }

  addDifferences(values: Float64Array, base: Float64Array): void {
    for (let i = 0; i < values.length; i++) this.add(values[i] - base[i])
  }

  loss(): Loss {
    const { count, mean, squares } = this
    return { nats: mean, standardError: count < 2 ? 0 : Math.sqrt(squares / (count - 1) / count) }
  }
}
