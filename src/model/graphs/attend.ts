import type { GraphRecorder, Handle } from '../../core/onnx/graph.ts'
import { integers, linear, norm, op, reshape, scalar } from './layers.ts'
import type { Rope } from './layers.ts'
import type { Scope } from './scope.ts'
import { headsPerUnit } from '../spec.ts'

/** Parts of the attention graph for U units of g query heads each; D = headDim. */

/** Projected rows: query [n, U g D], key and value [n, U D]. */
interface Projected {
  readonly query: Handle
  readonly key: Handle
  readonly value: Handle
}

/** One sequence's n tokens, head-major: query [U, g n, D] scaled, rows g-major; keys and values [U, n, D]. */
export interface Heads {
  readonly query: Handle
  readonly keys: Handle
  readonly values: Handle
  readonly group: number
}

/** The K/V cache: keys, values [U, capacity, D]; mask [1, capacity], -Infinity where no token is stored. */
export interface Cache {
  readonly keys: Handle
  readonly values: Handle
  readonly mask: Handle
  /** int64 [2]: the capacity and the number of new tokens. */
  readonly sizes: Handle
}

/** Norm and projections, with rotary embedding applied to queries and keys. */
export function project(scope: Scope, x: Handle, rope: Rope): Projected {
  const normed = norm(scope, x)
  const side = (name: string) => linear(scope, name, normed, scope.has(`${name}Bias`) ? `${name}Bias` : null)
  return { query: rope(side('query')), key: rope(side('key')), value: side('value') }
}

/** Splits the rows of one sequence's tokens into heads. */
export function sequenceHeads(scope: Scope, rows: Projected, units: number): Heads {
  const { graph, model } = scope
  const group = headsPerUnit(model)
  const { headDim } = model
  const byUnit = (value: Handle) =>
    op(graph, 'Transpose', [reshape(graph, value, [0, units, headDim])], { perm: [1, 0, 2] })
  const byHead = reshape(graph, scale(scope, rows.query), [0, units, group, headDim])
  const query = op(graph, 'Transpose', [byHead], { perm: [1, 2, 0, 3] })
  return {
    // The reshape also prevents the runtime from fusing the transpose into the products, which is slower for one token.
    query: reshape(graph, query, [units, -1, headDim]),
    keys: byUnit(rows.key),
    values: byUnit(rows.value),
    group,
  }
}

/** Splits rows that are one token each of `batch` sequences into heads. */
export function rowHeads(scope: Scope, rows: Projected, units: number, batch: number): Heads[] {
  const { graph, model } = scope
  const group = headsPerUnit(model)
  const apart = (value: Handle, heads: number) =>
    rowsApart(graph, value, batch).map((row) => reshape(graph, row, [units, heads, model.headDim]))
  const query = apart(scale(scope, rows.query), group)
  const keys = apart(rows.key, 1)
  const values = apart(rows.value, 1)
  return query.map((one, b) => ({ query: one, keys: keys[b], values: values[b], group }))
}

/** Splits [batch, m] into `batch` tensors [1, m]. */
function rowsApart(graph: GraphRecorder, value: Handle, batch: number): Handle[] {
  if (batch === 1) return [value]
  const sizes = integers(graph, new Array<number>(batch).fill(1))
  return graph.node('Split', [value, sizes], { axis: 0 }, { outputs: batch })
}

/** Scales the queries instead of the scores: fewer multiplications. */
function scale(scope: Scope, query: Handle): Handle {
  return op(scope.graph, 'Mul', [query, scalar(scope.graph, 1 / Math.sqrt(scope.model.headDim))])
}

/**
 * One softmax over cache and new tokens, then the weighted values, heads side by side: [n, U g D]. `causal` [n, n]
 * hides later new tokens; null for a single token.
 */
export function attend(
  graph: GraphRecorder,
  heads: Heads,
  cache: Cache | null,
  causal: Handle | null,
): Handle {
  const { query, keys, values } = heads
  const own = masked(graph, scores(graph, query, keys), heads, causal)
  if (cache === null) return sideBySide(graph, op(graph, 'MatMul', [softmax(graph, own), values]), heads)
  const cached = op(graph, 'Add', [scores(graph, query, cache.keys), cache.mask])
  const all = softmax(graph, op(graph, 'Concat', [cached, own], { axis: -1 }))
  const [ofCache, ofNew] = apart(graph, all, cached, own, cache.sizes)
  const mixed = op(graph, 'Add', [
    op(graph, 'MatMul', [ofCache, cache.values]),
    op(graph, causal === null ? 'Mul' : 'MatMul', [ofNew, values]),
  ])
  return sideBySide(graph, mixed, heads)
}

/** [U, g n, D] x [U, m, D] -> [U, g n, m]. */
function scores(graph: GraphRecorder, query: Handle, keys: Handle): Handle {
  return op(graph, 'MatMul', [query, op(graph, 'Transpose', [keys], { perm: [0, 2, 1] })])
}

function softmax(graph: GraphRecorder, value: Handle): Handle {
  return op(graph, 'Softmax', [value], { axis: -1 })
}

/** Adds a mask [n, n], the same for every head, to scores [U, g n, n]. */
function masked(graph: GraphRecorder, own: Handle, { query, group }: Heads, causal: Handle | null): Handle {
  if (causal === null) return own
  const units = query.dims[0] as number
  if (group === 1) return op(graph, 'Add', [own, causal])
  const byHead = reshape(graph, own, [units * group, -1, 0])
  return reshape(graph, op(graph, 'Add', [byHead, causal]), [units, -1, 0])
}

/**
 * Splits the softmax over [.., capacity + n] into the parts of the cache and of the new tokens. `sizes` int64 [2] are
 * capacity and n.
 */
function apart(
  graph: GraphRecorder,
  all: Handle,
  cached: Handle,
  own: Handle,
  sizes: Handle,
): [Handle, Handle] {
  const outputs = [cached, own].map(({ dtype, dims }) => ({ dtype, dims }))
  const [ofCache, ofNew] = graph.node('Split', [all, sizes], { axis: -1 }, { outputs })
  return [ofCache, ofNew]
}

/** `sizes` for a cache with this mask [1, capacity] and n new tokens x [n, ..]; x is null for a single token. */
export function cacheSizes(graph: GraphRecorder, mask: Handle, x: Handle | null): Handle {
  const capacity = op(graph, 'Shape', [mask], { start: 1, end: 2 })
  const tokens = x === null ? integers(graph, [1]) : op(graph, 'Shape', [x], { start: 0, end: 1 })
  return op(graph, 'Concat', [capacity, tokens], { axis: 0 })
}

/** [U, g n, D] -> [n, U g D]. */
function sideBySide(graph: GraphRecorder, mixed: Handle, { group }: Heads): Handle {
  const [units, rows, headDim] = mixed.dims as [number, number | string, number]
  const width = units * group * headDim
  if (rows === group) return reshape(graph, mixed, [1, width])
  if (group === 1) return reshape(graph, op(graph, 'Transpose', [mixed], { perm: [1, 0, 2] }), [0, width])
  const heads = reshape(graph, mixed, [units, group, -1, headDim])
  return reshape(graph, op(graph, 'Transpose', [heads], { perm: [2, 0, 1, 3] }), [0, width])
}

/** Mask [n, n]: 0 where the key's position is not after the query's, otherwise -Infinity. */
export function causalMask(graph: GraphRecorder, positions: Handle): Handle {
  const seen = op(graph, 'LessOrEqual', [
    op(graph, 'Unsqueeze', [positions, integers(graph, [0])]),
    op(graph, 'Unsqueeze', [positions, integers(graph, [1])]),
  ])
  return op(graph, 'Where', [seen, scalar(graph, 0), scalar(graph, -Infinity)])
}

/** The output projection of the heads; residual and output bias are added only on the side that has the residual. */
export function finish(scope: Scope, x: Handle, mixed: Handle, residual: boolean): Handle {
  const bias = residual && scope.has('outputBias') ? 'outputBias' : null
  const sum = linear(scope, 'output', mixed, bias)
  return residual ? op(scope.graph, 'Add', [x, sum]) : sum
}

/** Output of the side with the residual if it has no units: x plus the output bias. */
export function residualOnly(scope: Scope, x: Handle): Handle {
  if (!scope.has('outputBias')) return op(scope.graph, 'Identity', [x])
  return op(scope.graph, 'Add', [x, scope.weight('outputBias')])
}
