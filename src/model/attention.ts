import { GraphRecorder } from '../onnx/graph.ts'
import type { Handle } from '../onnx/graph.ts'
import { headsPerUnit } from './spec.ts'
import type { ModelSpec } from './spec.ts'
import { integers, linear, norm, op, reshape, ropeTables, rotate, scalar, weight } from './layers.ts'
import type { AttentionWeights } from './weights.ts'

export interface AttentionOptions {
  /**
   * Whether this part adds the residual and the output bias. Exactly one side of a split layer does, the
   * one that has the residual; the sum of both outputs is then the layer's.
   */
  readonly residual: boolean
}

/**
 * Norm and attention of `weights.units` units over a whole prompt.
 * Inputs: x float32 [tokens, width]; positions int64 [tokens].
 * Outputs: y float32 [tokens, width]; newKeys, newValues float32 [units, tokens, headDim].
 * Without units (and with the residual): x plus the output bias, no keys or values.
 */
export function attentionPrefillGraph(
  model: ModelSpec,
  weights: AttentionWeights,
  options: AttentionOptions,
): GraphRecorder {
  const graph = new GraphRecorder('attentionPrefill')
  const x = graph.input('x', 'float32', ['tokens', model.width])
  if (weights.units === 0) return residualOnly(graph, model, x, weights)
  const positions = graph.input('positions', 'int64', ['tokens'])
  const group = headsPerUnit(model)
  const { units } = weights
  const projected = project(graph, model, x, weights)
  const rope = model.family === 'gpt2' ? unchanged : ropeAt(graph, model, positions)
  // [tokens, U g D] -> [U, g, tokens, D]; keys and values -> [U, tokens, D]
  const query = rope(split(graph, projected.query, [0, units, group, model.headDim], [1, 2, 0, 3]))
  const keys = rope(split(graph, projected.key, [0, units, model.headDim], [1, 0, 2]))
  const values = split(graph, projected.value, [0, units, model.headDim], [1, 0, 2])
  const rows = reshape(graph, scale(graph, model, query), [units, -1, model.headDim])
  const scores = op(graph, 'MatMul', [rows, op(graph, 'Transpose', [keys], { perm: [0, 2, 1] })])
  const byHead = reshape(graph, scores, [units * group, -1, 0])
  const weightsOfKeys = op(graph, 'Softmax', [op(graph, 'Add', [byHead, causalMask(graph, positions)])], {
    axis: -1,
  })
  const mixed = op(graph, 'MatMul', [reshape(graph, weightsOfKeys, [units, -1, 0]), values])
  const heads = op(graph, 'Transpose', [reshape(graph, mixed, [units, group, -1, model.headDim])], {
    perm: [2, 0, 1, 3],
  })
  finish(graph, model, x, reshape(graph, heads, [0, units * group * model.headDim]), weights, options)
  graph.output(keys, 'newKeys')
  graph.output(values, 'newValues')
  return graph
}

/**
 * Norm and attention of `weights.units` units for one token against a padded, head-major cache.
 * Inputs: x float32 [1, width]; position int64 [1] (tokens before this one; LLaMA only); keys, values float32
 * [units, capacity, headDim]; mask float32 [1, capacity], 0 where the cache holds a token, else -Infinity.
 * Outputs: y float32 [1, width]; newKeys, newValues float32 [units, 1, headDim], which the host appends.
 */
export function attentionDecodeGraph(
  model: ModelSpec,
  weights: AttentionWeights,
  options: AttentionOptions,
): GraphRecorder {
  const graph = new GraphRecorder('attentionDecode')
  const x = graph.input('x', 'float32', [1, model.width])
  if (weights.units === 0) return residualOnly(graph, model, x, weights)
  const group = headsPerUnit(model)
  const { units } = weights
  const cacheDims = [units, 'capacity', model.headDim]
  const keys = graph.input('keys', 'float32', cacheDims)
  const values = graph.input('values', 'float32', cacheDims)
  const mask = graph.input('mask', 'float32', [1, 'capacity'])
  const projected = project(graph, model, x, weights)
  const rope =
    model.family === 'gpt2' ? unchanged : ropeAt(graph, model, graph.input('position', 'int64', [1]))
  const query = scale(graph, model, rope(reshape(graph, projected.query, [units, group, model.headDim])))
  const newKeys = rope(reshape(graph, projected.key, [units, 1, model.headDim]))
  const newValues = reshape(graph, projected.value, [units, 1, model.headDim])
  const scoresAgainst = (other: Handle) =>
    op(graph, 'MatMul', [query, op(graph, 'Transpose', [other], { perm: [0, 2, 1] })])
  const cached = op(graph, 'Add', [scoresAgainst(keys), mask])
  const all = op(graph, 'Softmax', [op(graph, 'Concat', [cached, scoresAgainst(newKeys)], { axis: -1 })], {
    axis: -1,
  })
  const [ofCache, ofSelf] = splitSelf(graph, all, [units, group])
  const mixed = op(graph, 'Add', [
    op(graph, 'MatMul', [ofCache, values]),
    op(graph, 'Mul', [ofSelf, newValues]),
  ])
  finish(graph, model, x, reshape(graph, mixed, [1, units * group * model.headDim]), weights, options)
  graph.output(newKeys, 'newKeys')
  graph.output(newValues, 'newValues')
  return graph
}

function project(
  graph: GraphRecorder,
  model: ModelSpec,
  x: Handle,
  weights: AttentionWeights,
): { query: Handle; key: Handle; value: Handle } {
  const normed = norm(graph, model, x, weights.normScale, weights.normBias)
  const narrow = weights.units * model.headDim
  return {
    query: linear(graph, 'query', normed, narrow * headsPerUnit(model), weights.query, weights.queryBias),
    key: linear(graph, 'key', normed, narrow, weights.key, weights.keyBias),
    value: linear(graph, 'value', normed, narrow, weights.value, weights.valueBias),
  }
}

function split(
  graph: GraphRecorder,
  value: Handle,
  dims: readonly number[],
  perm: readonly number[],
): Handle {
  return op(graph, 'Transpose', [reshape(graph, value, dims)], { perm })
}

/** On the queries rather than on the scores: fewer products. */
function scale(graph: GraphRecorder, model: ModelSpec, query: Handle): Handle {
  return op(graph, 'Mul', [query, scalar(graph, 1 / Math.sqrt(model.headDim))])
}

/** GPT-2 has its positions in the embedding. */
const unchanged = (x: Handle) => x

/** LLaMA turns queries and keys by their positions. */
function ropeAt(graph: GraphRecorder, model: ModelSpec, positions: Handle): (x: Handle) => Handle {
  const tables = ropeTables(model)
  const dims = [model.contextTokens, model.headDim / 2]
  const rows = (name: string, table: Float32Array) =>
    op(graph, 'Gather', [weight(graph, name, dims, table), positions], { axis: 0 })
  const cosine = rows('ropeCosine', tables.cosine)
  const sine = rows('ropeSine', tables.sine)
  return (x) => rotate(graph, model, x, cosine, sine)
}

/** [tokens, tokens]: 0 where the key's position is not after the query's, else -Infinity. */
function causalMask(graph: GraphRecorder, positions: Handle): Handle {
  const seen = op(graph, 'LessOrEqual', [
    op(graph, 'Unsqueeze', [positions, integers(graph, [0])]),
    op(graph, 'Unsqueeze', [positions, integers(graph, [1])]),
  ])
  return op(graph, 'Where', [seen, scalar(graph, 0), scalar(graph, -Infinity)])
}

/** [U, g, capacity + 1] into the cache's part and the new token's. */
function splitSelf(graph: GraphRecorder, all: Handle, lead: readonly number[]): [Handle, Handle] {
  const slice = (from: number, to: number, size: number | string) => {
    const inputs = [all, integers(graph, [from]), integers(graph, [to]), integers(graph, [2])]
    return graph.node('Slice', inputs, {}, { outputs: [{ dtype: all.dtype, dims: [...lead, size] }] })[0]
  }
  return [slice(0, -1, 'capacity'), slice(-1, Number.MAX_SAFE_INTEGER, 1)]
}

function finish(
  graph: GraphRecorder,
  model: ModelSpec,
  x: Handle,
  heads: Handle,
  weights: AttentionWeights,
  options: AttentionOptions,
): void {
  const bias = options.residual ? weights.outputBias : null
  const sum = linear(graph, 'output', heads, model.width, weights.output, bias)
  graph.output(options.residual ? op(graph, 'Add', [x, sum]) : sum, 'y')
}

function residualOnly(
  graph: GraphRecorder,
  model: ModelSpec,
  x: Handle,
  weights: AttentionWeights,
): GraphRecorder {
  const { outputBias } = weights
  graph.output(
    outputBias === null
      ? op(graph, 'Identity', [x])
      : op(graph, 'Add', [x, weight(graph, 'outputBias', [model.width], outputBias)]),
    'y',
  )
  return graph
}
