import { floatsOfHalves, halvesOfFloats } from '../../core/float16.ts'
import { InputError } from '../../core/errors.ts'
import type { BoundaryBits } from '../../plan/plan.ts'
import { tensorBytes } from '../../plan/price/boundary.ts'

/**
 * Encodes a boundary tensor float32 [rows, columns]. 32 bits: unchanged. 16: IEEE half. 8 and 4: first a float32 scale
 * for each row (the largest magnitude divided by 127 or 7), then two's-complement bytes or nibbles, the low nibble
 * first.
 */
export function encodeBoundary(values: Float32Array, rows: number, bits: BoundaryBits): Uint8Array {
  checkByteOrder()
  if (bits === 32) return bytesOf(values.slice())
  if (bits === 16) return bytesOf(halvesOfFloats(values))
  const columns = values.length / rows
  const out = new Uint8Array(tensorBytes(rows, columns, bits))
  const scales = new Float32Array(out.buffer, 0, rows)
  const levels = new Int8Array(out.buffer, 4 * rows)
  const top = bits === 8 ? 127 : 7
  for (let row = 0; row < rows; row++) {
    const from = row * columns
    const largest = largestOf(values, from, from + columns)
    const scale = Math.fround(largest / top)
    scales[row] = scale
    // A row without a finite scale keeps levels of 0: it is decoded as zeros, or as NaN.
    if (!(scale > 0 && scale < Infinity)) continue
    const inverse = 1 / scale
    if (bits === 8) putBytes(values, from, from + columns, inverse, levels)
    else putNibbles(values, from, from + columns, inverse, levels)
  }
  return out
}

/** The largest magnitude; NaN if any value is NaN. */
function largestOf(values: Float32Array, from: number, to: number): number {
  let largest = 0
  for (let i = from; i < to; i++) largest = Math.max(largest, Math.abs(values[i]))
  return largest
}

/** Rounds by truncating a positive number; exceeds `top` only if the scale is subnormal. */
function levelOf(value: number, top: number): number {
  const level = (value + (top + 1.5)) | 0
  return (level < 1 ? 1 : level > 2 * top + 1 ? 2 * top + 1 : level) - (top + 1)
}

function putBytes(values: Float32Array, from: number, to: number, inverse: number, levels: Int8Array): void {
  for (let i = from; i < to; i++) levels[i] = levelOf(values[i] * inverse, 127)
}

/** A row of odd length ends within a byte. */
function putNibbles(
  values: Float32Array,
  from: number,
  to: number,
  inverse: number,
  levels: Int8Array,
): void {
  const nibble = (i: number): number => levelOf(values[i] * inverse, 7) & 15
  let i = from
  if ((i & 1) === 1 && i < to) levels[i >> 1] |= nibble(i++) << 4
  for (; i + 1 < to; i += 2) levels[i >> 1] = nibble(i) | (nibble(i + 1) << 4)
  if (i < to) levels[i >> 1] = nibble(i)
}

/** Decodes a tensor [rows, columns]. Throws InputError if the bytes do not have this shape. */
export function decodeBoundary(
  payload: Uint8Array,
  rows: number,
  columns: number,
  bits: BoundaryBits,
): Float32Array {
  const expected = tensorBytes(rows, columns, bits)
  if (payload.byteLength !== expected) {
    throw new InputError({
      where: `boundary tensor [${rows}, ${columns}] of ${bits} bits`,
      expected: `${expected} bytes`,
      found: `${payload.byteLength}`,
    })
  }
  checkByteOrder()
  // The payload may start at an unaligned offset of its buffer; a copy is aligned.
  if (bits === 32) return new Float32Array(payload.slice().buffer)
  if (bits === 16) return floatsOfHalves(new Uint16Array(payload.slice().buffer))
  const scales = new Float32Array(payload.slice(0, 4 * rows).buffer)
  const out = new Float32Array(rows * columns)
  const levels = new Int8Array(payload.buffer, payload.byteOffset + 4 * rows)
  for (let row = 0; row < rows; row++) {
    const scale = scales[row]
    const to = (row + 1) * columns
    if (bits === 8) for (let i = row * columns; i < to; i++) out[i] = scale * levels[i]
    else
      for (let i = row * columns; i < to; i++) {
        out[i] = scale * (((levels[i >> 1] >> (4 * (i & 1))) << 28) >> 28)
      }
  }
  return out
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array | Uint16Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1

/** The wire is little-endian, as is every host for which ONNX Runtime has a binary: arrays are sent unconverted. */
function checkByteOrder(): void {
  if (!LITTLE_ENDIAN)
    throw new Error('boundary tensors: expected a little-endian host, found a big-endian one')
}
