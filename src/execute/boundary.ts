import { floatOfHalf, halfOfFloat } from '../base/float16.ts'
import { InputError } from '../base/errors.ts'
import type { BoundaryBits } from '../plan/plan.ts'

/** Payload bytes of a boundary tensor: what boundaryBytes (src/plan/boundary.ts) charges, less the frame. */
export function payloadBytes(rows: number, columns: number, bits: BoundaryBits): number {
  return Math.ceil((rows * columns * bits) / 8) + (bits < 16 ? 4 * rows : 0)
}

/**
 * A boundary tensor float32 [rows, columns] as bytes. 32: as it is. 16: IEEE half. 8 and 4: a float32 scale a row
 * (the largest magnitude over 127 or 7), all of them first, then two's-complement bytes or nibbles, low one first.
 */
export function encodeBoundary(values: Float32Array, rows: number, bits: BoundaryBits): Uint8Array {
  const columns = values.length / rows
  const out = new Uint8Array(payloadBytes(rows, columns, bits))
  const view = new DataView(out.buffer)
  if (bits === 32) for (let i = 0; i < values.length; i++) view.setFloat32(4 * i, values[i], true)
  else if (bits === 16)
    for (let i = 0; i < values.length; i++) view.setUint16(2 * i, halfOfFloat(values[i]), true)
  else encodeScaled(values, rows, columns, bits, view)
  return out
}

function encodeScaled(
  values: Float32Array,
  rows: number,
  columns: number,
  bits: 8 | 4,
  view: DataView,
): void {
  const top = bits === 8 ? 127 : 7
  const start = 4 * rows
  for (let row = 0; row < rows; row++) {
    const from = row * columns
    let largest = 0
    for (let i = from; i < from + columns; i++) largest = Math.max(largest, Math.abs(values[i]))
    const scale = Math.fround(largest / top)
    view.setFloat32(4 * row, scale, true)
    const inverse = scale > 0 ? 1 / scale : 0
    for (let i = from; i < from + columns; i++) {
      const level = Math.max(-top, Math.min(top, Math.round(values[i] * inverse)))
      if (bits === 8) view.setInt8(start + i, level)
      else {
        const at = start + (i >> 1)
        view.setUint8(at, view.getUint8(at) | ((level & 15) << (4 * (i & 1))))
      }
    }
  }
}

/** The tensor back; [rows, columns]. Throws InputError when the bytes are not of this shape. */
export function decodeBoundary(
  payload: Uint8Array,
  rows: number,
  columns: number,
  bits: BoundaryBits,
): Float32Array {
  const expected = payloadBytes(rows, columns, bits)
  if (payload.byteLength !== expected) {
    throw new InputError({
      where: `boundary tensor [${rows}, ${columns}] of ${bits} bits`,
      expected: `${expected} bytes`,
      found: `${payload.byteLength}`,
    })
  }
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength)
  const out = new Float32Array(rows * columns)
  if (bits === 32) for (let i = 0; i < out.length; i++) out[i] = view.getFloat32(4 * i, true)
  else if (bits === 16) for (let i = 0; i < out.length; i++) out[i] = floatOfHalf(view.getUint16(2 * i, true))
  else decodeScaled(view, rows, columns, bits, out)
  return out
}

function decodeScaled(view: DataView, rows: number, columns: number, bits: 8 | 4, out: Float32Array): void {
  const start = 4 * rows
  for (let row = 0; row < rows; row++) {
    const scale = view.getFloat32(4 * row, true)
    for (let i = row * columns; i < (row + 1) * columns; i++) {
      const level =
        bits === 8
          ? view.getInt8(start + i)
          : ((view.getUint8(start + (i >> 1)) >> (4 * (i & 1))) << 28) >> 28
      out[i] = scale * level
    }
  }
}
