import type { GraphRecorder, Handle } from '../onnx/graph.ts'
import { integers, linear, norm, op, reshape, scalar } from './layers.ts'
import type { Rope } from './layers.ts'
import type { Scope } from './scope.ts'
import { headsPerUnit } from './spec.ts'

/** Pieces of attention over U units of g query heads each, D = headDim. */

/** Projections of rows: query [n, U g D], key and value [n, U D]. */
export interface Projected {
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

/** What was computed before: keys, values [U, capacity, D]; mask [1, capacity], -Infinity where nothing is held. */
export interface Cache {
  readonly keys: Handle
  readonly values: Handle
  readonly mask: Handle
  /** int64 [1]: the capacity, where the number of new tokens is not known to be one. */
  readonly capacity?: Handle
}

export function project(scope: Scope, x: Handle): Projected {
  const normed = norm(scope, x)
  const side = (name: string) => linear(scope, name, normed, scope.has(`${name}Bias`) ? `${name}Bias` : null)
  return { query: side('query'), key: side('key'), value: side('value') }
}

/** Rows that are the tokens of one sequence. `rope` turns [.., n, D]. */
export function sequenceHeads(scope: Scope, rows: Projected, units: number, rope: Rope): Heads {
  const { graph, model } = scope
  const group = headsPerUnit(model)
  const { headDim } = model
  const byUnit = (value: Handle) =>
    op(graph, 'Transpose', [reshape(graph, value, [0, units, headDim])], { perm: [1, 0, 2] })
  const query =
    group === 1
      ? rope(byUnit(rows.query))
      : rope(
          op(graph, 'Transpose', [reshape(graph, rows.query, [0, units, group, headDim])], {
            perm: [1, 2, 0, 3],
          }),
        )
  const scaled = scale(scope, query)
  return {
    query: group === 1 ? scaled : reshape(graph, scaled, [units, -1, headDim]),
    keys: rope(byUnit(rows.key)),
    values: byUnit(rows.value),
    group,
  }
}

/** Rows that are one token each of `batch` sequences. `rope` turns [batch, heads, D]. */
export function rowHeads(scope: Scope, rows: Projected, units: number, batch: number, rope: Rope): Heads[] {
  const { graph, model } = scope
  const group = headsPerUnit(model)
  const { headDim } = model
  const split = (value: Handle, heads: number, dims: readonly number[], turn: boolean) => {
    const byHead = reshape(graph, value, [batch, heads, headDim])
    return each(graph, turn ? rope(byHead) : byHead, batch).map((one) => reshape(graph, one, dims))
  }
  const query = split(scale(scope, rows.query), units * group, [units, group, headDim], true)
  const keys = split(rows.key, units, [units, 1, headDim], true)
  const values = split(rows.value, units, [units, 1, headDim], false)
  return query.map((one, b) => ({ query: one, keys: keys[b], values: values[b], group }))
}

/** [batch, ..] into batch times [1, ..]. */
function each(graph: GraphRecorder, value: Handle, batch: number): Handle[] {
  if (batch === 1) return [value]
  const sizes = integers(graph, new Array<number>(batch).fill(1))
  return graph.node('Split', [value, sizes], { axis: 0 }, { outputs: batch })
}

/** On the queries rather than on the scores: fewer products. */
function scale(scope: Scope, query: Handle): Handle {
  return op(scope.graph, 'Mul', [query, scalar(scope.graph, 1 / Math.sqrt(scope.model.headDim))])
}

/**
 * Softmax over the cache and the new tokens together, mixed values, heads side by side: [n, U g D].
 * `causal` [n, n] hides later new tokens; null for a single one.
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
  const [ofCache, ofNew] = apart(graph, all, cached, own, cache.capacity ?? integers(graph, [-1]))
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

/** Scores [U, g n, n] plus a mask [n, n] that is the same for every head. */
function masked(graph: GraphRecorder, own: Handle, { query, group }: Heads, causal: Handle | null): Handle {
  if (causal === null) return own
  const units = query.dims[0] as number
  if (group === 1) return op(graph, 'Add', [own, causal])
  const byHead = reshape(graph, own, [units * group, -1, 0])
  return reshape(graph, op(graph, 'Add', [byHead, causal]), [units, -1, 0])
}

/** The softmax over [.., capacity + n] into the cache's part and the new tokens'. */
function apart(
  graph: GraphRecorder,
  all: Handle,
  cached: Handle,
  own: Handle,
  border: Handle,
): [Handle, Handle] {
  const outputs = [cached, own].map(({ dtype, dims }) => ({ dtype, dims }))
  const slice = (from: Handle, to: Handle, spec: (typeof outputs)[number]) =>
    graph.node('Slice', [all, from, to, integers(graph, [2])], {}, { outputs: [spec] })[0]
  const end = integers(graph, [Number.MAX_SAFE_INTEGER])
  return [slice(integers(graph, [0]), border, outputs[0]), slice(border, end, outputs[1])]
}

/** One axis of a value as int64 [1]. */
export function sizeOfAxis(graph: GraphRecorder, value: Handle, axis: number): Handle {
  return op(graph, 'Shape', [value], { start: axis, end: axis + 1 })
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

/** [n, n]: 0 where the key's position is not after the query's, else -Infinity. */
export function causalMask(graph: GraphRecorder, positions: Handle): Handle {
  const seen = op(graph, 'LessOrEqual', [
    op(graph, 'Unsqueeze', [positions, integers(graph, [0])]),
    op(graph, 'Unsqueeze', [positions, integers(graph, [1])]),
  ])
  return op(graph, 'Where', [seen, scalar(graph, 0), scalar(graph, -Infinity)])
}

/** The output projection of mixed heads, with residual and bias on the side that has the residual. */
export function finish(scope: Scope, x: Handle, mixed: Handle, residual: boolean): Handle {
  const bias = residual && scope.has('outputBias') ? 'outputBias' : null
  const sum = linear(scope, 'output', mixed, bias)
  return residual ? op(scope.graph, 'Add', [x, sum]) : sum
}

/** What the side of the residual gives where it has no units: x plus the output bias. */
export function residualOnly(scope: Scope, x: Handle): Handle {
  if (!scope.has('outputBias')) return op(scope.graph, 'Identity', [x])
  return op(scope.graph, 'Add', [x, scope.weight('outputBias')])
}
