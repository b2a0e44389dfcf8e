import { describe, expect, test } from 'vitest'
import { confidence, sampleToken } from '../../../src/run/executor/sampling.ts'
import { GREEDY } from '../../../src/run/executor/types.ts'

const logits = Float32Array.of(0, 3, 1, 2.9995, -5)
const hot = { temperature: 1, topK: 0, topP: 1, seed: 7 }

/** Shares of tokens over many positions. */
function shares(sampling: typeof hot): number[] {
  const counts = new Array<number>(logits.length).fill(0)
  for (let position = 0; position < 20_000; position++) counts[sampleToken(logits, sampling, position).id]++
  return counts.map((count) => count / 20_000)
}

describe('sampling', () => {
  test('greedy takes the largest, the first of equals, and tells a near-tie', () => {
    expect(sampleToken(logits, GREEDY, 0)).toEqual({ id: 1, nearTie: true })
    expect(sampleToken(Float32Array.of(1, 2, 2), GREEDY, 0)).toEqual({ id: 1, nearTie: true })
    expect(sampleToken(Float32Array.of(1, 2, 2.01), GREEDY, 0)).toEqual({ id: 2, nearTie: false })
  })

  test('depends on seed and position alone', () => {
    const draw = (seed: number) =>
      Array.from({ length: 50 }, (_, position) => sampleToken(logits, { ...hot, seed }, position).id)
    expect(draw(7)).toEqual(draw(7))
    expect(draw(7)).not.toEqual(draw(8))
  })

  test('follows the softmax at its temperature', () => {
    for (const temperature of [0.5, 1, 2]) {
      const weights = Array.from(logits, (value) => Math.exp(value / temperature))
      const sum = weights.reduce((a, b) => a + b)
      const seen = shares({ ...hot, temperature })
      for (const [id, weight] of weights.entries())
        expect(Math.abs(seen[id] - weight / sum)).toBeLessThan(0.015)
    }
  })

  test('top k and top p leave the unlikely out', () => {
    expect(shares({ ...hot, topK: 2 }).map((share) => share > 0)).toEqual([false, true, false, true, false])
    expect(shares({ ...hot, topP: 0.5 }).map((share) => share > 0)).toEqual([false, true, false, true, false])
    expect(shares({ ...hot, topP: 1e-9 })).toEqual([0, 1, 0, 0, 0])
  })

  test('confidence is the largest probability', () => {
    const weights = Array.from(logits, Math.exp)
    expect(confidence(logits)).toBeCloseTo(Math.exp(3) / weights.reduce((a, b) => a + b), 6)
  })
})
