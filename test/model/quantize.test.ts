import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { randomStream } from '../../src/core/random.ts'
import { INT8_ZERO, quantizeInt4, quantizeInt8, transposed } from '../../src/model/graphs/quantize.ts'
import { normalFill } from './support.ts'

const shapes = fc.record({
  k: fc.integer({ min: 1, max: 100 }),
  n: fc.integer({ min: 1, max: 9 }),
  seed: fc.nat(1000),
})

const draw = ({ k, n, seed }: { k: number; n: number; seed: number }) =>
  normalFill(randomStream(seed, 'quantize'))(k * n, 0, 0.3)

describe('quantised weights', () => {
  test('int8: every weight is within half a step of its column', () => {
    fc.assert(
      fc.property(shapes, (shape) => {
        const w = draw(shape)
        const { values, scales } = quantizeInt8(w, shape.k, shape.n)
        for (const [i, value] of w.entries()) {
          const step = scales[i % shape.n]
          expect(Math.abs(value - (values[i] - INT8_ZERO) * step)).toBeLessThanOrEqual(0.5001 * step)
        }
      }),
    )
  })

  test('int4: every weight is within half a step of its block, or one where 8 would be needed', () => {
    fc.assert(
      fc.property(shapes, (shape) => {
        const { k, n } = shape
        const w = draw(shape)
        const { values, scales } = quantizeInt4(w, k, n)
        const blocks = Math.ceil(k / 32)
        expect(values).toHaveLength(n * blocks * 16)
        for (let column = 0; column < n; column++) {
          for (let i = 0; i < blocks * 32; i++) {
            const at = column * blocks + (i >> 5)
            const byte = values[(at * 32 + (i % 32)) >> 1]
            const level = (i % 2 === 0 ? byte & 15 : byte >> 4) - 8
            const value = i < k ? w[i * n + column] : 0
            const step = Math.abs(scales[at])
            const slack = level === 7 ? 1.0001 : 0.5001
            expect(Math.abs(value - level * scales[at])).toBeLessThanOrEqual(slack * step)
          }
        }
      }),
    )
  })

  test('zeros stay zeros', () => {
    expect(quantizeInt8(new Float32Array(6), 3, 2).values).toEqual(new Uint8Array(6).fill(INT8_ZERO))
    const { values, scales } = quantizeInt4(new Float32Array(6), 3, 2)
    expect(values).toEqual(new Uint8Array(32).fill(0x88))
    expect(scales.every((scale) => scale === 0)).toBe(true)
  })

  test('a transpose of a transpose is the matrix', () => {
    const w = draw({ k: 5, n: 3, seed: 1 })
    expect(transposed(transposed(w, 5, 3), 3, 5)).toEqual(w)
    expect(transposed(w, 5, 3)[1]).toBe(w[3])
  })
})
