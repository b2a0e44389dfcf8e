import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { randomStream } from '../../src/core/random.ts'
import { openEngine } from '../../src/core/engine/open.ts'
import { linear, RUNTIME_OPSETS } from '../../src/model/graphs/layers.ts'
import { ffnSecondBlock } from '../../src/model/graphs/blocks.ts'
import { INT8_ZERO, quantizeInt4, quantizeInt8, transposed } from '../../src/model/graphs/quantize.ts'
import { Scope } from '../../src/model/graphs/scope.ts'
import { buildSubgraph } from '../../src/model/graphs/subgraph.ts'
import type { RuntimePrecision } from '../../src/model/precision.ts'
import type { WeightSource } from '../../src/model/graphs/source.ts'
import { ffnWeights } from '../../src/model/graphs/weights.ts'
import { GraphRecorder } from '../../src/core/onnx/graph.ts'
import { advance, Caches, data, idsOf, wholeModel } from './subgraphRun.ts'
import { gpt2Like, groupedLike, llamaLike, randomSource, runGraph, times, normalFill } from './support.ts'

const engine = await openEngine('native')
afterAll(() => engine.close())

/** What the quantised matrix stands for, [K, N], from the layouts that quantize.ts documents. */
function dequantized(precision: 'int8' | 'int4', w: Float32Array, k: number, n: number): Float32Array {
  if (precision === 'int8') {
    const { values, scales } = quantizeInt8(w, k, n)
    return Float32Array.from(values, (value, i) => (value - INT8_ZERO) * scales[i % n])
  }
  const { values, scales } = quantizeInt4(w, k, n)
  const blocks = Math.ceil(k / 32)
  return Float32Array.from({ length: k * n }, (_, i) => {
    const [row, column] = [Math.floor(i / n), i % n]
    const at = column * blocks + (row >> 5)
    const byte = values[at * 16 + ((row % 32) >> 1)]
    return ((row % 2 === 0 ? byte & 15 : byte >> 4) - 8) * scales[at]
  })
}

/** Root of the mean square of a - b over that of b. */
function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [off, all] = [0, 0]
  for (let i = 0; i < b.length; i++) {
    off += (a[i] - b[i]) ** 2
    all += b[i] ** 2
  }
  return Math.sqrt(off / all)
}

describe.each(['int8', 'int4'] as const)('%s', (precision) => {
  test('a product is that of the dequantised matrix, but for 8-bit activations, whatever its size', async () => {
    const sizes = fc.record({
      k: fc.integer({ min: 1, max: 150 }),
      n: fc.integer({ min: 1, max: 40 }),
      rows: fc.integer({ min: 1, max: 5 }),
      seed: fc.nat(1000),
    })
    const property = fc.asyncProperty(sizes, async ({ k, n, rows, seed }) => {
      const fill = normalFill(randomStream(seed, 'product'))
      const model = { ...llamaLike, ffnWidth: k, width: n }
      const weights = ffnWeights(model, fill)
      const graph = new GraphRecorder('product', RUNTIME_OPSETS)
      const scope = new Scope(
        graph,
        model,
        ffnSecondBlock('ffn', model, precision, () => weights),
      )
      graph.output(linear(scope, 'second', graph.input('x', 'float32', ['n', k]), null), 'y')
      const x = fill(rows * k, 0, 1)
      const { y } = await runGraph(graph, { x: { dims: [rows, k], data: x } })
      const matrix = dequantized(precision, weights.second, k, n)
      // Half a step of 255 over the range of all rows, in each of K terms.
      const range = Math.max(0, ...x) - Math.min(0, ...x)
      for (let row = 0; row < rows; row++) {
        const expected = times(x.subarray(row * k, (row + 1) * k), matrix, n, null)
        for (let column = 0; column < n; column++) {
          let sum = 0
          for (let i = 0; i < k; i++) sum += Math.abs(matrix[i * n + column])
          expect(Math.abs(y[row * n + column] - expected[column])).toBeLessThan((range / 255) * sum + 1e-6)
        }
      }
    })
    await fc.assert(property, { numRuns: 40 })
  })

  test.each([gpt2Like, groupedLike])('the model $id is that of its dequantised weights', async (base) => {
    // K of 50 and 70: no multiple of a block.
    const model = { ...base, width: 50, ffnWidth: 70 }
    const source = randomSource(model, 5, 4)
    const whole = wholeModel(model)
    const ids = [3, 60, 0, 17, 17, 42, 8, 25, 1]
    const logits = async (weights: WeightSource, chosen: RuntimePrecision) => {
      const session = await engine.create(buildSubgraph(weights, whole, { precision: chosen }).serialize())
      const caches = new Caches(model, whole, 16)
      return data((await advance(session, caches, ids.length, { ids: idsOf(ids) })).logits)
    }
    const mine = await logits(source, precision)
    const exact = await logits(source, 'fp32')
    const standsFor = await logits(dequantizedSource(source, precision), 'fp32')
    const fromActivations = relativeError(mine, standsFor)
    const fromWeights = relativeError(standsFor, exact)
    expect(fromWeights).toBeGreaterThan(precision === 'int8' ? 1e-3 : 2e-2)
    expect(fromWeights).toBeLessThan(precision === 'int8' ? 3e-2 : 0.3)
    expect(fromActivations).toBeLessThan(0.04)
  })
})

/** A source whose matrices are what the quantised ones stand for: a head has 8 bits whatever the others have. */
function dequantizedSource(source: WeightSource, precision: 'int8' | 'int4'): WeightSource {
  const { model } = source
  const { width, ffnWidth, vocabulary } = model
  const round = (w: Float32Array, k: number) => dequantized(precision, w, k, w.length / k)
  const head = source.head()
  const matrix = dequantized('int8', transposed(head.matrix, vocabulary, width), width, vocabulary)
  return {
    ...source,
    // The embedding keeps its own table.
    model: { ...model, tiedHead: false },
    attention: (layer) => {
      const w = source.attention(layer)
      const [query, key, value] = [w.query, w.key, w.value].map((it) => round(it, width))
      return { ...w, query, key, value, output: round(w.output, w.output.length / width) }
    },
    ffn: (layer) => {
      const w = source.ffn(layer)
      const gate = w.gate === null ? null : round(w.gate, width)
      return { ...w, gate, first: round(w.first, width), second: round(w.second, ffnWidth) }
    },
    head: () => ({ ...head, matrix: transposed(matrix, width, vocabulary) }),
  }
}
