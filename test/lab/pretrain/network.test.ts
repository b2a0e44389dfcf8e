import { afterAll, describe, expect, test } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import { openEngine } from '../../../src/core/engine/open.ts'
import type { ModelSpec } from '../../../src/model/spec.ts'
import { GraphBuilder } from '../../../src/core/onnx/builder.ts'
import { gradients } from '../../../src/core/onnx/gradients.ts'
import { parameterViews } from '../../../src/core/onnx/parameters.ts'
import { tensor } from '../../../src/core/onnx/tensor.ts'
import { initialParameters, networkLayout, networkLogits } from '../../../src/lab/pretrain/network.ts'
import type { Network } from '../../../src/lab/pretrain/network.ts'
import { lossesOf } from '../../../src/lab/pretrain/trainGraph.ts'
import { parametersOf, sourceOf } from '../../../src/lab/pretrain/weights.ts'
import { maxDifference, referenceLogits, referenceResidual } from '../../model/support.ts'

const engine = await openEngine('native')
afterAll(() => engine.close())

const model: ModelSpec = {
  id: 'small',
  family: 'llama',
  layers: 3,
  width: 12,
  heads: 4,
  kvHeads: 2,
  headDim: 4,
  ffnWidth: 20,
  vocabulary: 11,
  contextTokens: 16,
  tiedHead: true,
  normEpsilon: 1e-3,
  ropeBase: 500,
}
const network: Network = { model, exitLayers: [1, 2] }
const layout = networkLayout(network)
const [batch, window] = [2, 5]
const stream = randomStream(4, 'network test')
/** Away from the start, where norms are exactly 1 and much is nearly linear. */
const parameters = initialParameters(network, stream).map((value) => 1.5 * value + 0.1 * stream.normal())
const rows = Array.from({ length: batch }, () =>
  Array.from({ length: window + 1 }, () => stream.integer(model.vocabulary)),
)
const ids = (from: number) =>
  tensor('int32', [batch, window], Int32Array.from(rows.flatMap((row) => row.slice(from, from + window))))
const flat = tensor('float32', [layout.size], parameters)

/** Logits of one head at the last of `tokens`, by the implementation in double precision that shares no code with the graphs. */
function reference(of: Float32Array, layer: number, tokens: readonly number[]): Float64Array {
  const source = sourceOf(network, of)
  const head = layer === model.layers ? source.head() : source.exitHead(layer)
  return referenceLogits(model, head, referenceResidual(source, tokens, layer))
}

describe('the network', () => {
  test('computes what the papers say, at every exit and the end', async () => {
    const g = new GraphBuilder('logits')
    const views = parameterViews(g, g.input('parameters', 'float32', [layout.size]), layout)
    g.output(networkLogits(g, network, views, g.input('ids', 'int32', [batch, window])), 'logits')
    const session = await engine.create(g.serialize())
    const { logits } = await session.run({ parameters: flat, ids: ids(0) })
    expect(logits.dims).toEqual([3 * batch * window, model.vocabulary])
    for (const [h, layer] of [1, 2, 3].entries()) {
      for (const [b, row] of rows.entries()) {
        for (let t = 0; t < window; t++) {
          const at = ((h * batch + b) * window + t) * model.vocabulary
          const found = (logits.data as Float32Array).subarray(at, at + model.vocabulary)
          expect(maxDifference(found, reference(parameters, layer, row.slice(0, t + 1)))).toBeLessThan(1e-4)
        }
      }
    }
  })

  test('has the gradient that finite differences of the second implementation give, parameter by parameter', async () => {
    const g = new GraphBuilder('gradient')
    const input = g.input('parameters', 'float32', [layout.size])
    const losses = lossesOf(g, network, input, { batch, window })
    const weights = [0.3, 0.3, 1]
    g.output(gradients(g, g.reduceSum(g.mul(losses, g.constant(weights))), [input])[0], 'gradient')
    const session = await engine.create(g.serialize())
    const found = await session.run({ parameters: flat, ids: ids(0), targets: ids(1) })
    const gradient = found.gradient.data as Float32Array

    const loss = (of: Float32Array): number => {
      let sum = 0
      for (const [h, weight] of weights.entries()) {
        for (const row of rows) {
          for (let t = 0; t < window; t++)
            sum -= weight * logProbability(reference(of, h + 1, row.slice(0, t + 1)), row[t + 1])
        }
      }
      return sum / (batch * window)
    }
    for (const { name, offset, size } of layout.entries) {
      const [low, high] = [parameters.slice(), parameters.slice()]
      let expected = 0
      for (let i = offset; i < offset + size; i++) {
        const step = 1e-4 * stream.normal()
        low[i] -= step
        high[i] += step
        expected += gradient[i] * (high[i] - low[i])
      }
      const seen = loss(high) - loss(low)
      expect(Math.abs(seen - expected), name).toBeLessThan(1e-3 * Math.abs(expected) + 1e-7)
    }
  })

  test('survives the way through named weights and back', () => {
    expect(parametersOf(sourceOf(network, parameters))).toEqual(parameters)
    expect(() => sourceOf(network, parameters).exitHead(3)).toThrow(RangeError)
  })
})

function logProbability(logits: Float64Array, target: number): number {
  const top = Math.max(...logits)
  const total = logits.reduce((sum, value) => sum + Math.exp(value - top), 0)
  return logits[target] - top - Math.log(total)
}
