import { InputError } from '../errors.ts'
import type { OrtModule, OrtTensor } from './convert.ts'
import type { ResidentDims } from './resident.ts'

/**
 * A resident in the memory of the thread that runs the graphs: float32 [rows, capacity, columns]. The runtime reads the
 * array at each run, so one OrtTensor over it is reused until the array grows. Both engines on onnxruntime-node hold theirs
 * in these: `native` in the caller's thread, `worker` in its own.
 */
export class ResidentArray {
  tensor: OrtTensor
  private readonly ort: OrtModule
  private readonly rows: number
  private readonly columns: number
  private capacity: number
  private data: Float32Array

  constructor(ort: OrtModule, [rows, capacity, columns]: ResidentDims) {
    this.ort = ort
    this.rows = rows
    this.columns = columns
    this.capacity = capacity
    this.data = new Float32Array(rows * capacity * columns)
    this.tensor = new ort.Tensor('float32', this.data, [rows, capacity, columns])
  }

  grow(capacity: number): void {
    const { rows, columns, data } = this
    const span = this.capacity * columns
    const larger = new Float32Array(rows * capacity * columns)
    for (let row = 0; row < rows; row++) {
      larger.set(data.subarray(row * span, (row + 1) * span), row * capacity * columns)
    }
    this.capacity = capacity
    this.data = larger
    this.tensor = new this.ort.Tensor('float32', larger, [rows, capacity, columns])
  }

  /** A copy of positions [from, to). */
  read(from: number, to: number): Float32Array<ArrayBuffer> {
    const { rows, columns, data } = this
    const span = (to - from) * columns
    const out = new Float32Array(rows * span)
    for (let row = 0; row < rows; row++) {
      const start = (row * this.capacity + from) * columns
      out.set(data.subarray(start, start + span), row * span)
    }
    return out
  }

  /** Gives the memory back; nothing may be run with this resident any more. */
  free(): void {
    this.data = new Float32Array(0)
    this.tensor = new this.ort.Tensor('float32', this.data, [0])
  }

  /**
   * Checks that the value of `output` fits at position `at`, and returns its number of positions. Throws InputError.
   */
  checkInsert(output: string, { type, dims }: OrtTensor, at: number): number {
    const { rows, capacity, columns } = this
    const fits = type === 'float32' && dims.length === 3 && dims[0] === rows && dims[2] === columns
    if (fits && at + dims[1] <= capacity) return dims[1]
    throw new InputError({
      where: `insert of ${output} at ${at}`,
      expected: `float32 [${rows}, n, ${columns}], n <= ${capacity - at}`,
      found: `${type} [${dims.join(', ')}]`,
    })
  }

  /** Writes [rows, n, columns] to positions [at, at + n). */
  insert(value: Float32Array, n: number, at: number): void {
    const { rows, columns, data } = this
    const span = n * columns
    const stride = this.capacity * columns
    for (let row = 0, to = at * columns, from = 0; row < rows; row++, to += stride, from += span) {
      // For a short row, a loop is faster than creating a typed-array view for `set`.
      if (span <= shortRow) for (let i = 0; i < span; i++) data[to + i] = value[from + i]
      else data.set(value.subarray(from, from + span), to)
    }
  }
}

const shortRow = 128
