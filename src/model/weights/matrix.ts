/** Side of the square blocks of a transpose, so that source and target stay in the processor's cache. */
const BLOCK = 32

/** Transposes [rows, columns] to [columns, rows], row-major. */
export function transpose(matrix: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(matrix.length)
  for (let top = 0; top < rows; top += BLOCK) {
    const bottom = Math.min(top + BLOCK, rows)
    for (let left = 0; left < columns; left += BLOCK) {
      const right = Math.min(left + BLOCK, columns)
      for (let r = top; r < bottom; r++) {
        for (let c = left; c < right; c++) out[c * rows + r] = matrix[r * columns + c]
      }
    }
  }
  return out
}

/** The `which`-th of `blocks` equal column blocks of a row-major matrix with `rows` rows. */
export function columnBlock(matrix: Float32Array, rows: number, blocks: number, which: number): Float32Array {
  const columns = matrix.length / rows
  const width = columns / blocks
  const out = new Float32Array(rows * width)
  for (let row = 0; row < rows; row++) {
    const from = row * columns + which * width
    out.set(matrix.subarray(from, from + width), row * width)
  }
  return out
}
