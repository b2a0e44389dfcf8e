import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { floatOfHalf, halfOfFloat } from '../../../src/core/float16.ts'
import { decodeBoundary, encodeBoundary } from '../../../src/run/executor/boundary.ts'
import { boundaryBytes, tensorBytes } from '../../../src/plan/price/boundary.ts'
import { DEFAULT_NETWORK } from '../../../src/plan/price/network.ts'
import { BOUNDARY_BITS } from '../../../src/plan/plan.ts'

const shape = fc.record({ rows: fc.integer({ min: 1, max: 9 }), columns: fc.integer({ min: 1, max: 33 }) })
const tensors = shape.chain(({ rows, columns }) =>
  fc.record({
    rows: fc.constant(rows),
    columns: fc.constant(columns),
    values: fc
      .array(fc.float({ min: -1000, max: 1000, noNaN: true }), {
        minLength: rows * columns,
        maxLength: rows * columns,
      })
      .map((list) => Float32Array.from(list)),
  }),
)

describe('boundary tensors on the wire', () => {
  test('are as long as the cost model charges, framing included', () => {
    fc.assert(
      fc.property(shape, fc.constantFrom(...BOUNDARY_BITS), ({ rows, columns }, bits) => {
        const payload = encodeBoundary(new Float32Array(rows * columns), rows, bits)
        expect(payload.byteLength).toBe(tensorBytes(rows, columns, bits))
        expect(payload.byteLength + DEFAULT_NETWORK.frameBytes).toBe(
          boundaryBytes(DEFAULT_NETWORK, rows, columns, bits),
        )
      }),
    )
  })

  test('come back: exactly at 32 bits, else within half a step of their row', () => {
    fc.assert(
      fc.property(tensors, fc.constantFrom(...BOUNDARY_BITS), ({ rows, columns, values }, bits) => {
        const back = decodeBoundary(encodeBoundary(values, rows, bits), rows, columns, bits)
        if (bits === 32) {
          expect(back).toEqual(values)
          return
        }
        for (let row = 0; row < rows; row++) {
          const of = values.subarray(row * columns, (row + 1) * columns)
          const largest = of.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
          const top = bits === 8 ? 127 : 7
          // A scale below 2^-126 is a whole number of 2^-149.
          const tolerance =
            bits === 16 ? largest * 2 ** -11 + 2 ** -25 : (largest / top) * 0.500001 + top * 2 ** -149
          for (const [i, value] of of.entries()) {
            expect(Math.abs(back[row * columns + i] - value)).toBeLessThanOrEqual(tolerance)
          }
        }
      }),
    )
  })

  test('lie byte by byte as the format says, at any place of a buffer', () => {
    fc.assert(
      fc.property(tensors, fc.constantFrom(...BOUNDARY_BITS), ({ rows, columns, values }, bits) => {
        const payload = encodeBoundary(values, rows, bits)
        const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength)
        const scaleOf = (i: number): number => view.getFloat32(4 * Math.floor(i / columns), true)
        const byteOf = (at: number): number => view.getUint8(4 * rows + at)
        const read: Record<number, (i: number) => number> = {
          32: (i) => view.getFloat32(4 * i, true),
          16: (i) => floatOfHalf(view.getUint16(2 * i, true)),
          8: (i) => scaleOf(i) * signed(byteOf(i), 8),
          4: (i) => scaleOf(i) * signed((byteOf(i >> 1) >> (4 * (i & 1))) & 15, 4),
        }
        const expected = Float32Array.from(values, (_, i) => read[bits](i))
        const odd = new Uint8Array(payload.length + 1)
        odd.set(payload, 1)
        const back = decodeBoundary(odd.subarray(1), rows, columns, bits)
        for (const [i, value] of back.entries()) expect(value).toBeCloseTo(expected[i], 30)
      }),
    )
  })

  test('a row with a NaN comes back as NaN, one of zeros as zeros', () => {
    for (const bits of [8, 4] as const) {
      const back = decodeBoundary(encodeBoundary(Float32Array.of(1, NaN, 0, 0), 2, bits), 2, 2, bits)
      expect([...back]).toEqual([NaN, NaN, 0, 0])
    }
  })

  test('are refused at any other length', () => {
    const payload = encodeBoundary(new Float32Array(12), 3, 8)
    expect(() => decodeBoundary(payload.subarray(1), 3, 4, 8)).toThrow(/expected: 24 bytes\n {2}found: 23/)
    expect(() => decodeBoundary(payload, 3, 5, 8)).toThrow(/expected: 27 bytes/)
  })

  test('keep each row apart: a large row does not blur a small one', () => {
    const values = Float32Array.of(1000, -500, 0.001, 0.0005)
    const back = decodeBoundary(encodeBoundary(values, 2, 8), 2, 2, 8)
    expect(back[2]).toBeCloseTo(0.001, 8)
    expect(back[3]).toBeCloseTo(0.0005, 5)
  })
})

describe('half precision', () => {
  test('every half is its own nearest', () => {
    for (let half = 0; half < 65_536; half++) {
      const value = floatOfHalf(half)
      if (Number.isNaN(value)) expect(halfOfFloat(value) & 0x7c00).toBe(0x7c00)
      else expect(halfOfFloat(value)).toBe(half)
    }
  })

  test('rounds to the nearest, ties to even', () => {
    for (let half = 0; half < 0x7bff; half++) {
      const [low, high] = [floatOfHalf(half), floatOfHalf(half + 1)]
      const middle = (low + high) / 2
      expect(halfOfFloat(middle)).toBe(half % 2 === 0 ? half : half + 1)
    }
    expect(halfOfFloat(65_520)).toBe(0x7c00)
    expect(halfOfFloat(65_519)).toBe(0x7bff)
    expect(halfOfFloat(1e-9)).toBe(0)
  })
})

/** Two's complement of so many bits. */
function signed(value: number, bits: number): number {
  return value < 2 ** (bits - 1) ? value : value - 2 ** bits
}
