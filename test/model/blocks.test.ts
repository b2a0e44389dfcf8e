import { describe, expect, test } from 'vitest'
import { randomStream } from '../../src/core/random.ts'
import { embeddingWeights, ffnWeights, lmHeadWeights, sharedFill } from '../../src/model/graphs/weights.ts'
import { embeddingGraph, ffnGraph, lmHeadGraph } from './blockGraphs.ts'
import {
  gelu,
  gpt2Like,
  llamaLike,
  maxDifference,
  normRow,
  range,
  runGraph,
  times,
  normalFill,
} from './support.ts'

const TOKENS = 5

describe.each([gpt2Like, llamaLike])('blocks of $id', (model) => {
  const fill = normalFill(randomStream(11, `blocks ${model.id}`))
  const wide = (size: number, mean: number, spread: number) => fill(size, mean, 10 * spread)
  const x = fill(TOKENS * model.width, 0, 1)
  const input = { dims: [TOKENS, model.width], data: x }

  test('the FFN agrees with its formula, and its halves make up the whole', async () => {
    const weights = ffnWeights(model, wide)
    const whole = await runGraph(ffnGraph(model, 'whole', weights), { x: input })
    const { hidden } = await runGraph(ffnGraph(model, 'first', weights), { x: input })
    const second = await runGraph(ffnGraph(model, 'second', weights), {
      x: input,
      hidden: { dims: [TOKENS, model.ffnWidth], data: hidden },
    })
    expect(maxDifference(second.y, whole.y)).toBeLessThan(1e-5)
    for (let t = 0; t < TOKENS; t++) {
      const row = x.subarray(t * model.width, (t + 1) * model.width)
      const normed = normRow(row, weights)
      const up = times(normed, weights.first, model.ffnWidth, weights.firstBias)
      const gate = weights.gate === null ? null : times(normed, weights.gate, model.ffnWidth, null)
      const inner = up.map((value, i) =>
        gate === null ? gelu(value) : (value * gate[i]) / (1 + Math.exp(-gate[i])),
      )
      const expected = times(inner, weights.second, model.width, weights.secondBias).map(
        (value, i) => value + row[i],
      )
      expect(maxDifference(whole.y.subarray(t * model.width, (t + 1) * model.width), expected)).toBeLessThan(
        2e-5,
      )
    }
  })

  test('embedding and head look up and project', async () => {
    const embedding = embeddingWeights(model, wide)
    const ids = BigInt64Array.of(3n, 60n, 0n)
    const { x: rows } = await runGraph(embeddingGraph(model, embedding), {
      ids: { dims: [3], data: ids },
      positions: { dims: [3], data: range(4, 7) },
    })
    for (const [t, id] of ids.entries()) {
      const at = (i: number) =>
        embedding.tokens[Number(id) * model.width + i] +
        (embedding.positions?.[(4 + t) * model.width + i] ?? 0)
      expect(
        maxDifference(
          rows.subarray(t * model.width, (t + 1) * model.width),
          Float64Array.from({ length: model.width }, (_, i) => at(i)),
        ),
      ).toBeLessThan(1e-6)
    }
    const head = lmHeadWeights(model, wide)
    const row = x.slice(0, model.width)
    const { logits } = await runGraph(lmHeadGraph(model, head), { x: { dims: [1, model.width], data: row } })
    const normed = normRow(row, head)
    for (let v = 0; v < model.vocabulary; v++) {
      const expected = normed.reduce((sum, value, i) => sum + value * head.matrix[v * model.width + i], 0)
      expect(Math.abs(logits[v] - expected)).toBeLessThan(1e-5)
    }
  })
})

test('a shared fill repeats its tile, has the spread asked for and takes memory once', () => {
  const fill = sharedFill(randomStream(1, 'tile'), 100)
  const values = fill(1234, 0, 0.02)
  expect(values).toHaveLength(1234)
  for (let i = 100; i < 1234; i++) expect(values[i]).toBe(values[i - 100])
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / 1234)
  expect(deviation).toBeGreaterThan(0.015)
  expect(deviation).toBeLessThan(0.025)
  expect(fill(10, 0, 0.02).buffer).toBe(values.buffer)
  // A runtime would merge equal weights and time half the work.
  const drawn = Array.from({ length: 50 }, () => fill(20, 0, 0.02).join())
  expect(new Set(drawn).size).toBe(50)
  const scales = fill(150, 1, 0.02)
  expect(Math.abs(scales.reduce((sum, value) => sum + value, 0) / 150 - 1)).toBeLessThan(0.01)
})
