import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LengthPredictor } from '../../../src/policy/controller/lengths.ts'

const prior = { mean: 100, sd: 10, weight: 2 }

describe('a length predictor', () => {
  test('knows its prior first, and shrinks what it has seen towards it', () => {
    const lengths = new LengthPredictor(prior)
    expect(lengths.predict(50, 1000)).toEqual({ mean: 100, sd: 10 })
    lengths.add(50, 40)
    lengths.add(60, 60)
    // Two requests of mean 50 beside a prior worth two.
    const { mean, sd } = lengths.predict(64, 1000)
    expect(mean).toBeCloseTo((40 + 60 + 200) / 4, 12)
    expect(sd).toBeCloseTo(Math.sqrt((1600 + 3600 + 2 * (100 + 10_000)) / 4 - 75 * 75), 12)
    // 65 tokens are in the next bucket.
    expect(lengths.predict(65, 1000)).toEqual({ mean: 100, sd: 10 })
  })

  test('comes to what is there', () => {
    const lengths = new LengthPredictor(prior)
    for (let i = 0; i < 10_000; i++) lengths.add(8, i % 2 === 0 ? 20 : 30)
    const { mean, sd } = lengths.predict(8, 1000)
    expect(mean).toBeCloseTo(25, 1)
    expect(sd).toBeCloseTo(5, 0)
  })

  test('stays within the cap, finite, whatever it hears', () => {
    const any = fc.oneof(fc.double(), fc.constantFrom(NaN, Infinity, -1, 0), fc.integer())
    fc.assert(
      fc.property(
        fc.array(fc.tuple(any, any), { maxLength: 30 }),
        any,
        fc.integer({ min: 1, max: 4096 }),
        (seen, prompt, cap) => {
          const lengths = new LengthPredictor(prior)
          for (const [promptTokens, outputTokens] of seen)
            lengths.add(promptTokens, Math.min(outputTokens, 1e6))
          const { mean, sd } = lengths.predict(prompt, cap)
          expect(mean).toBeGreaterThanOrEqual(1)
          expect(mean).toBeLessThanOrEqual(cap)
          expect(sd).toBeGreaterThanOrEqual(0)
          expect(sd).toBeLessThan(Infinity)
        },
      ),
    )
  })
})
