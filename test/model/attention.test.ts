import { describe, expect, test } from 'vitest'
import { randomStream } from '../../src/core/random.ts'
import { attentionDecodeGraph, attentionPrefillGraph } from './attentionGraphs.ts'
import type { ModelSpec } from '../../src/model/spec.ts'
import { attentionWeights, sliceUnits } from '../../src/model/graphs/weights.ts'
import {
  gpt2Like,
  groupedLike,
  llamaLike,
  maxDifference,
  range,
  referenceAttention,
  runGraph,
  normalFill,
} from './support.ts'
import type { Feeds } from './support.ts'

const TOKENS = 9
const CAPACITY = 16

/** Weights much wider than a trained model's start, so that attention is far from uniform. */
function setUp(model: ModelSpec) {
  const fill = normalFill(randomStream(7, `attention ${model.id}`))
  const weights = attentionWeights(model, model.kvHeads, (size, mean, spread) =>
    fill(size, mean, 10 * spread),
  )
  const x = fill(TOKENS * model.width, 0, 1)
  const feeds: Feeds = {
    x: { dims: [TOKENS, model.width], data: x },
    positions: { dims: [TOKENS], data: range(0, TOKENS) },
  }
  return { weights, x, feeds }
}

/** Copies keys or values [units, tokens, headDim] of the first `tokens` into a padded cache; the padding is garbage. */
function padded(model: ModelSpec, units: number, source: Float32Array, tokens: number): Float32Array {
  const cache = new Float32Array(units * CAPACITY * model.headDim).fill(1e3)
  for (let unit = 0; unit < units; unit++) {
    const from = unit * TOKENS * model.headDim
    cache.set(source.subarray(from, from + tokens * model.headDim), unit * CAPACITY * model.headDim)
  }
  return cache
}

function decodeFeeds(
  model: ModelSpec,
  units: number,
  x: Float32Array,
  keys: Float32Array,
  values: Float32Array,
): Feeds {
  const last = TOKENS - 1
  const dims = [units, CAPACITY, model.headDim]
  return {
    x: { dims: [1, model.width], data: x.slice(last * model.width) },
    position: { dims: [1], data: range(last, TOKENS) },
    keys: { dims, data: padded(model, units, keys, last) },
    values: { dims, data: padded(model, units, values, last) },
    mask: {
      dims: [1, CAPACITY],
      data: Float32Array.from({ length: CAPACITY }, (_, i) => (i < last ? 0 : -Infinity)),
    },
  }
}

describe.each([gpt2Like, llamaLike, groupedLike])('attention of $id', (model) => {
  const { weights, x, feeds } = setUp(model)

  test('agrees with attention written out from the papers', async () => {
    const { y } = await runGraph(attentionPrefillGraph(model, weights, { residual: true }), feeds)
    expect(maxDifference(y, referenceAttention(model, weights, x, TOKENS))).toBeLessThan(2e-5)
  })

  test('subsets of units add up to the whole block, whichever side has the residual', async () => {
    const whole = await runGraph(attentionPrefillGraph(model, weights, { residual: true }), feeds)
    const subsets = [[0, 2], model.kvHeads === 3 ? [1] : [5, 1, 3, 4]]
    for (const owner of [0, 1]) {
      const parts = await Promise.all(
        subsets.map((units, i) =>
          runGraph(
            attentionPrefillGraph(model, sliceUnits(model, weights, units), { residual: i === owner }),
            feeds,
          ),
        ),
      )
      expect(
        maxDifference(
          parts[0].y.map((value, i) => value + parts[1].y[i]),
          whole.y,
        ),
      ).toBeLessThan(1e-5)
      const keysOfUnit = TOKENS * model.headDim
      expect(
        maxDifference(
          parts[0].newKeys.subarray(keysOfUnit),
          whole.newKeys.subarray(2 * keysOfUnit, 3 * keysOfUnit),
        ),
      ).toBeLessThan(1e-5)
    }
  })

  test('no units on the side of the residual, all on the other', async () => {
    const whole = await runGraph(attentionPrefillGraph(model, weights, { residual: true }), feeds)
    const rest = await runGraph(
      attentionPrefillGraph(model, sliceUnits(model, weights, []), { residual: true }),
      feeds,
    )
    const all = await runGraph(attentionPrefillGraph(model, weights, { residual: false }), feeds)
    expect(
      maxDifference(
        all.y.map((value, i) => value + rest.y[i]),
        whole.y,
      ),
    ).toBeLessThan(1e-5)
  })

  test('decoding against a padded cache gives the last position of the prefill', async () => {
    const whole = await runGraph(attentionPrefillGraph(model, weights, { residual: true }), feeds)
    const step = await runGraph(
      attentionDecodeGraph(model, weights, { residual: true }),
      decodeFeeds(model, model.kvHeads, x, whole.newKeys, whole.newValues),
    )
    expect(maxDifference(step.y, whole.y.subarray((TOKENS - 1) * model.width))).toBeLessThan(1e-5)
    for (let unit = 0; unit < model.kvHeads; unit++) {
      const last = (unit * TOKENS + TOKENS - 1) * model.headDim
      const mine = step.newKeys.subarray(unit * model.headDim, (unit + 1) * model.headDim)
      expect(maxDifference(mine, whole.newKeys.subarray(last, last + model.headDim))).toBeLessThan(1e-5)
    }
  })

  test('decoding subsets of units adds up too', async () => {
    const whole = await runGraph(attentionPrefillGraph(model, weights, { residual: true }), feeds)
    const parts = await Promise.all(
      [[0], Array.from({ length: model.kvHeads - 1 }, (_, i) => i + 1)].map(async (units, i) => {
        const mine = sliceUnits(model, weights, units)
        const cache = await runGraph(attentionPrefillGraph(model, mine, { residual: false }), feeds)
        const step = decodeFeeds(model, units.length, x, cache.newKeys, cache.newValues)
        return runGraph(attentionDecodeGraph(model, mine, { residual: i === 1 }), step)
      }),
    )
    const sum = parts[0].y.map((value, i) => value + parts[1].y[i])
    expect(maxDifference(sum, whole.y.subarray((TOKENS - 1) * model.width))).toBeLessThan(1e-5)
  })
})
