import type { RandomStream } from '../../core/random.ts'
import { normEpsilon, ropeTables } from '../../model/graphs/layers.ts'
import { headsPerUnit } from '../../model/spec.ts'
import type { ModelSpec } from '../../model/spec.ts'
import type { GraphBuilder, Handle } from '../../core/onnx/builder.ts'
import { layoutParameters } from '../../core/onnx/parameters.ts'
import type { ParameterLayout } from '../../core/onnx/parameters.ts'
import { tensor } from '../../core/onnx/tensor.ts'

/** A LLaMA-shaped network with early exits, for training: whole windows, no K/V cache. */
export interface Network {
  readonly model: ModelSpec
  /** Layers after which there is an exit head, ascending. */
  readonly exitLayers: readonly number[]
}

/** The parameters as values of a graph, by name. */
type ParameterHandles = Readonly<Record<string, Handle>>

/**
 * Parameters in one flat vector, matrices [in, out] first and norms last, so that weight decay applies to one slice.
 * Query, key and value columns share a matrix, unit-major; so do gate and first: fewer, larger products.
 */
export function networkLayout({ model, exitLayers }: Network): ParameterLayout {
  const { width, heads, kvHeads, headDim, ffnWidth, layers } = model
  const each = (parts: (layer: number) => { name: string; dims: number[] }[]) =>
    Array.from({ length: layers }, (_, layer) => parts(layer)).flat()
  return layoutParameters([
    { name: 'embedding', dims: [model.vocabulary, width] },
    ...each((l) => [
      { name: `${l}.queryKeyValue`, dims: [width, (heads + 2 * kvHeads) * headDim] },
      { name: `${l}.output`, dims: [heads * headDim, width] },
      { name: `${l}.gateFirst`, dims: [width, 2 * ffnWidth] },
      { name: `${l}.second`, dims: [ffnWidth, width] },
    ]),
    ...each((l) => [
      { name: `${l}.attentionNorm`, dims: [width] },
      { name: `${l}.ffnNorm`, dims: [width] },
    ]),
    ...[...exitLayers, layers].map((layer) => ({ name: `headNorm.${layer}`, dims: [width] })),
  ])
}

/** Length of the part of the flat vector that weight decay applies to: all matrices, at the front. */
export function decayedSize(layout: ParameterLayout): number {
  return layout.entries.find(({ dims }) => dims.length === 1)!.offset
}

/** Spread of the embedding, which is the lm_head too: logits start with a spread of about half a nat. */
const EMBEDDING_SPREAD = 0.05

/**
 * Normal draws with spread 1 / sqrt(in); for matrices that write into the residual divided by sqrt(2 layers), as in
 * GPT-2 (Radford et al. 2019, section 2.3). Norms are 1.
 */
export function initialParameters(network: Network, stream: RandomStream): Float32Array {
  const layout = networkLayout(network)
  const flat = new Float32Array(layout.size).fill(1)
  for (const { name, dims, offset, size } of layout.entries) {
    if (dims.length === 1) continue
    const residual = name.endsWith('.output') || name.endsWith('.second')
    const depth = residual ? Math.sqrt(2 * network.model.layers) : 1
    const spread = name === 'embedding' ? EMBEDDING_SPREAD : 1 / (Math.sqrt(dims[0]) * depth)
    for (let i = 0; i < size; i++) flat[offset + i] = spread * stream.normal()
  }
  return flat
}

/**
 * Logits of every exit and of the last layer: [(exits + 1) * batch * window, vocabulary], the lowest exit's rows first.
 * `ids` is int32 or int64 [batch, window]; positions count from 0 in each window.
 */
export function networkLogits(
  g: GraphBuilder,
  network: Network,
  parameters: ParameterHandles,
  ids: Handle,
): Handle {
  const { model, exitLayers } = network
  const [batch, window] = ids.dims as number[]
  const rope = rotation(g, model, window)
  const mask = causalMask(g, window)
  let x = g.reshape(g.gather(parameters.embedding, ids), [batch * window, model.width])
  const normed: Handle[] = []
  for (let l = 0; l < model.layers; l++) {
    x = g.add(
      x,
      attention(g, model, parameters, l, norm(g, model, x, parameters[`${l}.attentionNorm`]), {
        batch,
        window,
        rope,
        mask,
      }),
    )
    x = g.add(x, ffn(g, model, parameters, l, norm(g, model, x, parameters[`${l}.ffnNorm`])))
    if (exitLayers.includes(l + 1) || l + 1 === model.layers)
      normed.push(norm(g, model, x, parameters[`headNorm.${l + 1}`]))
  }
  return g.gemm(g.concat(normed, 0), parameters.embedding, null, { transB: true })
}

interface Window {
  readonly batch: number
  readonly window: number
  readonly rope: (x: Handle) => Handle
  readonly mask: Handle
}

/** The attention's share, from the normed x [batch * window, width]; same shape. */
function attention(
  g: GraphBuilder,
  model: ModelSpec,
  parameters: ParameterHandles,
  layer: number,
  x: Handle,
  { batch, window, rope, mask }: Window,
): Handle {
  const { heads, kvHeads, headDim } = model
  const all = heads + 2 * kvHeads
  const projected = g.reshape(g.matmul(x, parameters[`${layer}.queryKeyValue`]), [
    batch,
    window,
    all,
    headDim,
  ])
  const [turning, values] = g.split(g.transpose(projected, [0, 2, 1, 3]), [heads + kvHeads, kvHeads], 1)
  const [query, keys] = g.split(rope(turning), [heads, kvHeads], 1)
  // [batch, units, heads of a unit * window, headDim]: the query heads of a unit share its keys and values.
  const rows = g.reshape(g.mul(query, 1 / Math.sqrt(headDim)), [batch, kvHeads, -1, headDim])
  const scores = g.matmul(rows, g.transposeLast(keys))
  const byHead = g.reshape(scores, [batch, heads, window, window])
  const weights = g.softmax(g.add(byHead, mask))
  const mixed = g.matmul(g.reshape(weights, [batch, kvHeads, headsPerUnit(model) * window, window]), values)
  const byToken = g.transpose(g.reshape(mixed, [batch, heads, window, headDim]), [0, 2, 1, 3])
  return g.matmul(g.reshape(byToken, [batch * window, heads * headDim]), parameters[`${layer}.output`])
}

/** silu(x Wgate) * (x W1), times W2. */
function ffn(
  g: GraphBuilder,
  model: ModelSpec,
  parameters: ParameterHandles,
  layer: number,
  x: Handle,
): Handle {
  const { ffnWidth } = model
  const [gate, first] = g.split(g.matmul(x, parameters[`${layer}.gateFirst`]), [ffnWidth, ffnWidth], 1)
  return g.matmul(g.mul(g.silu(gate), first), parameters[`${layer}.second`])
}

/** RMS normalisation; the reciprocal stays one number per row, which keeps its gradient cheap. */
function norm(g: GraphBuilder, model: ModelSpec, x: Handle, scale: Handle): Handle {
  const mean = g.reduceMean(g.square(x), [1], true)
  return g.mul(g.mul(x, g.reciprocal(g.sqrt(g.add(mean, normEpsilon(model))))), scale)
}

/** Rotates pairs (i, i + headDim / 2) of [batch, heads, window, headDim] by their position's angle. */
function rotation(g: GraphBuilder, model: ModelSpec, window: number): (x: Handle) => Handle {
  const half = model.headDim / 2
  const tables = ropeTables({ ...model, contextTokens: window })
  const [cosine, sine] = [tables.cosine, tables.sine].map((table) =>
    g.constant(tensor('float32', [window, half], table)),
  )
  return (x) => {
    const [a, b] = g.split(x, [half, half], 3)
    return g.concat([g.sub(g.mul(a, cosine), g.mul(b, sine)), g.add(g.mul(b, cosine), g.mul(a, sine))], 3)
  }
}

/** [window, window]: 0 up to the diagonal, a large negative number after it (finite, so that no gradient is NaN). */
function causalMask(g: GraphBuilder, window: number): Handle {
  const mask = Float32Array.from({ length: window * window }, (_, i) =>
    i % window <= Math.floor(i / window) ? 0 : -1e9,
  )
  return g.constant(tensor('float32', [window, window], mask))
}
