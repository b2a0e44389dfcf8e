/** Weight quantisation for ONNX Runtime's operators. Matrices are float32, row-major. */

/** The level of `Int8Matrix` that stands for 0. */
export const INT8_ZERO = 128

/** A matrix as levels in 1..255 with one scale for each column: w[k, n] is about (values[k, n] - 128) * scales[n]. */
interface Int8Matrix {
  readonly values: Uint8Array // [K, N]
  readonly scales: Float32Array // [N]
}

/** Elements along K that share a scale in `quantizeInt4`. */
export const INT4_BLOCK = 32

/**
 * The input of com.microsoft MatMulNBits (bits 4, no zero points: 8 stands for 0). K is cut into blocks of 32; the last
 * one is padded with zeros.
 */
interface Int4Matrix {
  readonly values: Uint8Array // [N, ceil(K / 32), 16]: two numbers per byte, the earlier one in the low half
  readonly scales: Float32Array // [N, ceil(K / 32)]
}

/**
 * Symmetric quantisation with one scale for each column of w [K, N]: the largest magnitude becomes 127 levels from
 * `INT8_ZERO`. The levels are unsigned because ONNX Runtime multiplies them by unsigned activations: with signed levels,
 * x86 processors without VNNI add two products in 16 bits and clip larger sums, so that the same graph gives another
 * answer there (19 % off for a model of 70 columns); unsigned levels are added in 32 bits on every processor.
 */
export function quantizeInt8(w: Float32Array, k: number, n: number): Int8Matrix {
  const scales = int8Scales(w, k, n)
  const values = new Uint8Array(k * n).fill(INT8_ZERO)
  for (let i = 0; i < k; i++) {
    const row = i * n
    for (let j = 0; j < n; j++) if (scales[j] !== 0) values[row + j] += Math.round(w[row + j] / scales[j])
  }
  return { values, scales }
}

/** The scales of `quantizeInt8`, [N]. */
export function int8Scales(w: Float32Array, k: number, n: number): Float32Array {
  const scales = new Float32Array(n)
  for (let i = 0; i < k; i++) {
    const row = i * n
    for (let j = 0; j < n; j++) scales[j] = Math.max(scales[j], Math.abs(w[row + j]))
  }
  for (let j = 0; j < n; j++) scales[j] /= 127
  return scales
}

/**
 * Quantises blocks of 32 along K of w [K, N]. The element of largest magnitude becomes -8, so that all sixteen levels
 * are used (llama.cpp's Q4_0).
 */
export function quantizeInt4(w: Float32Array, k: number, n: number): Int4Matrix {
  const blocks = Math.ceil(k / INT4_BLOCK)
  const scales = int4Scales(w, k, n)
  const values = new Uint8Array((n * blocks * INT4_BLOCK) / 2).fill(0x88)
  for (let i = 0; i < k; i++) {
    const block = Math.floor(i / INT4_BLOCK)
    const inBlock = i % INT4_BLOCK
    for (let j = 0; j < n; j++) {
      const scale = scales[j * blocks + block]
      const level = scale === 0 ? 8 : Math.min(15, Math.round(w[i * n + j] / scale) + 8)
      const at = ((j * blocks + block) * INT4_BLOCK + inBlock) >> 1
      values[at] = inBlock % 2 === 1 ? (values[at] & 0x0f) | (level << 4) : (values[at] & 0xf0) | level
    }
  }
  return { values, scales }
}

/** The scales of `quantizeInt4`, [N, ceil(K / 32)]. */
export function int4Scales(w: Float32Array, k: number, n: number): Float32Array {
  const blocks = Math.ceil(k / INT4_BLOCK)
  const most = new Float32Array(n * blocks)
  for (let i = 0; i < k; i++) {
    const block = Math.floor(i / INT4_BLOCK)
    for (let j = 0; j < n; j++) {
      const value = w[i * n + j]
      if (Math.abs(value) > Math.abs(most[j * blocks + block])) most[j * blocks + block] = value
    }
  }
  for (let at = 0; at < most.length; at++) most[at] /= -8
  return most
}

/** [rows, columns] -> [columns, rows]. */
export function transposed(matrix: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(matrix.length)
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = matrix[r * columns + c]
  return out
}
