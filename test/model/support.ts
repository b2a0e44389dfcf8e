import * as ort from 'onnxruntime-node'
import { randomStream } from '../../src/core/random.ts'
import type { RandomStream } from '../../src/core/random.ts'
import type { WeightSource } from '../../src/model/graphs/source.ts'
import type { ModelSpec } from '../../src/model/spec.ts'
import type { GraphRecorder } from '../../src/core/onnx/graph.ts'
import type { AttentionWeights, FfnWeights, WeightFill } from '../../src/model/graphs/weights.ts'
import {
  attentionWeights,
  embeddingWeights,
  ffnWeights,
  lmHeadWeights,
} from '../../src/model/graphs/weights.ts'

export const gpt2Like: ModelSpec = {
  id: 'small-gpt2',
  family: 'gpt2',
  layers: 2,
  width: 48,
  heads: 6,
  kvHeads: 6,
  headDim: 8,
  ffnWidth: 96,
  vocabulary: 61,
  contextTokens: 40,
  tiedHead: true,
}

export const llamaLike: ModelSpec = { ...gpt2Like, id: 'small-llama', family: 'llama', tiedHead: false }

/** Grouped queries: two query heads share a key and value head. */
export const groupedLike: ModelSpec = { ...llamaLike, id: 'small-grouped', kvHeads: 3 }

export type Feeds = Record<string, { dims: readonly number[]; data: Float32Array | BigInt64Array }>

/** Runs a graph once in ONNX Runtime with one thread. */
export async function runGraph(graph: GraphRecorder, feeds: Feeds): Promise<Record<string, Float32Array>> {
  const session = await ort.InferenceSession.create(graph.serialize(), {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
  })
  const inputs = Object.entries(feeds)
    .filter(([name]) => session.inputNames.includes(name))
    .map(([name, { dims, data }]) => [
      name,
      new ort.Tensor(data instanceof Float32Array ? 'float32' : 'int64', data, dims),
    ])
  const results = await session.run(Object.fromEntries(inputs))
  await session.release()
  return Object.fromEntries(
    Object.entries(results).map(([name, value]) => [name, value.data as Float32Array]),
  )
}

export function range(from: number, to: number): BigInt64Array {
  return BigInt64Array.from({ length: to - from }, (_, i) => BigInt(from + i))
}

export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity
  let most = 0
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i] - b[i]))
  return most
}

/** Attention written out from the papers in double precision: no shared code with the graphs. */
export function referenceAttention(
  model: ModelSpec,
  w: AttentionWeights,
  x: Float32Array | Float64Array,
  tokens: number,
): Float64Array {
  const { width, heads, kvHeads, headDim } = model
  const out = Float64Array.from(x)
  const rows = Array.from({ length: tokens }, (_, t) =>
    normRow(x.subarray(t * width, (t + 1) * width), w, model.normEpsilon),
  )
  const q = rows.map((row) => times(row, w.query, heads * headDim, w.queryBias))
  const k = rows.map((row) => times(row, w.key, kvHeads * headDim, w.keyBias))
  const v = rows.map((row) => times(row, w.value, kvHeads * headDim, w.valueBias))
  for (let t = 0; t < tokens; t++) {
    const mixed = new Float64Array(heads * headDim)
    for (let h = 0; h < heads; h++) {
      const u = Math.floor(h / (heads / kvHeads))
      const query = turn(model, q[t].slice(h * headDim, (h + 1) * headDim), t)
      const scores = Array.from({ length: t + 1 }, (_, s) => {
        const key = turn(model, k[s].slice(u * headDim, (u + 1) * headDim), s)
        return query.reduce((sum, value, i) => sum + value * key[i], 0) / Math.sqrt(headDim)
      })
      const top = Math.max(...scores)
      const total = scores.reduce((sum, score) => sum + Math.exp(score - top), 0)
      for (const [s, score] of scores.entries()) {
        for (let i = 0; i < headDim; i++)
          mixed[h * headDim + i] += (Math.exp(score - top) / total) * v[s][u * headDim + i]
      }
    }
    const sum = times(mixed, w.output, width, w.outputBias)
    for (let i = 0; i < width; i++) out[t * width + i] += sum[i]
  }
  return out
}

export function normRow(
  row: ArrayLike<number>,
  w: { normScale: Float32Array; normBias: Float32Array | null },
  normEpsilon?: number,
): Float64Array {
  const { normBias } = w
  const epsilon = normEpsilon ?? (normBias === null ? 1e-6 : 1e-5)
  const n = row.length
  const values = Float64Array.from(row)
  const mean = normBias === null ? 0 : values.reduce((sum, value) => sum + value, 0) / n
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / n
  const deviation = Math.sqrt(variance + epsilon)
  return Float64Array.from(
    row,
    (value, i) => ((value - mean) / deviation) * w.normScale[i] + (normBias?.[i] ?? 0),
  )
}

export function times(
  row: ArrayLike<number>,
  matrix: Float32Array,
  out: number,
  bias: Float32Array | null,
): Float64Array {
  const sum = Float64Array.from({ length: out }, (_, j) => bias?.[j] ?? 0)
  for (let i = 0; i < row.length; i++) for (let j = 0; j < out; j++) sum[j] += row[i] * matrix[i * out + j]
  return sum
}

function turn(model: ModelSpec, vector: Float64Array, position: number): Float64Array {
  if (model.family === 'gpt2') return vector
  const half = vector.length / 2
  return vector.map((_, i) => {
    const angle = position / (model.ropeBase ?? 10_000) ** ((i % half) / half)
    const partner = i < half ? -vector[i + half] : vector[i - half]
    return vector[i] * Math.cos(angle) + partner * Math.sin(angle)
  })
}

/** x plus the FFN of every row. */
export function referenceFfn(model: ModelSpec, w: FfnWeights, x: Float64Array): Float64Array {
  const { width, ffnWidth } = model
  const out = Float64Array.from(x)
  for (let at = 0; at < x.length; at += width) {
    const normed = normRow(x.subarray(at, at + width), w, model.normEpsilon)
    const up = times(normed, w.first, ffnWidth, w.firstBias)
    const gate = w.gate === null ? null : times(normed, w.gate, ffnWidth, null)
    const inner = up.map((value, i) =>
      gate === null ? gelu(value) : (value * gate[i]) / (1 + Math.exp(-gate[i])),
    )
    const sum = times(inner, w.second, width, w.secondBias)
    for (let i = 0; i < width; i++) out[at + i] += sum[i]
  }
  return out
}

/** The residual after the embedding and the first `layers` layers: [ids.length, width]. */
export function referenceResidual(
  source: WeightSource,
  ids: readonly number[],
  layers = source.model.layers,
): Float64Array {
  const { model } = source
  const { tokens, positions } = source.embedding()
  let x = new Float64Array(ids.length * model.width)
  for (const [t, id] of ids.entries()) {
    for (let i = 0; i < model.width; i++)
      x[t * model.width + i] = tokens[id * model.width + i] + (positions?.[t * model.width + i] ?? 0)
  }
  for (let l = 0; l < layers; l++) {
    x = referenceAttention(model, source.attention(l), x, ids.length) as typeof x
    x = referenceFfn(model, source.ffn(l), x) as typeof x
  }
  return x
}

/** Logits of the last row of x. */
export function referenceLogits(
  model: ModelSpec,
  head: { normScale: Float32Array; normBias: Float32Array | null; matrix: Float32Array },
  x: Float64Array,
): Float64Array {
  const normed = normRow(x.subarray(x.length - model.width), head, model.normEpsilon)
  return Float64Array.from({ length: model.vocabulary }, (_, v) =>
    normed.reduce((sum, value, i) => sum + value * head.matrix[v * model.width + i], 0),
  )
}

/** Independent normal draws. */
export function normalFill(stream: RandomStream): WeightFill {
  return (size, mean, spread) => Float32Array.from({ length: size }, () => mean + spread * stream.normal())
}

/** Random weights, wider than a trained model's start, so that attention is far from uniform; an exit after layer 1. */
export function randomSource(model: ModelSpec, seed = 5, widen = 10): WeightSource {
  const fill = normalFill(randomStream(seed, `source ${model.id}`))
  const wide = (size: number, mean: number, spread: number) => fill(size, mean, widen * spread)
  const layers = Array.from({ length: model.layers }, () => ({
    attention: attentionWeights(model, model.kvHeads, wide),
    ffn: ffnWeights(model, wide),
  }))
  const embedding = embeddingWeights(model, wide)
  const own = lmHeadWeights(model, wide)
  const head = model.tiedHead ? { ...own, matrix: embedding.tokens } : own
  const exit = lmHeadWeights(model, wide)
  return {
    model,
    embedding: () => embedding,
    attention: (layer) => layers[layer].attention,
    ffn: (layer) => layers[layer].ffn,
    head: () => head,
    exitLayers: [1],
    exitHead: () => exit,
  }
}

export function gelu(x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
}
