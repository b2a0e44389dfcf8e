import { broadcast, normaliseAxis, showDims } from './dims.ts'
import type { InferContext, InferRule, OutputSpec } from './infer.ts'
import type { Dim } from './proto.ts'
import type { DType } from './tensor.ts'
import { dtypeOfCode } from './tensor.ts'

/** Shape rules of operators that compute on elements: element-wise, products, reductions, normalisations. */

const same: InferRule = (c) => [{ ...c.input(0) }]

function broadcastAll(c: InferContext, dtype: (first: OutputSpec) => DType, start = 0): OutputSpec[] {
  let dims: readonly Dim[] = c.input(start).dims
  for (let i = start + 1; i < c.request.inputs.length; i++) {
    const next = c.input(i)
    if (next.dtype !== c.input(start).dtype)
      throw c.fail('inputs of one element type', c.shapes(), 'cast one of them')
    const joined = broadcast(dims, next.dims)
    if (joined === undefined) throw c.fail('shapes that broadcast', c.shapes())
    dims = joined
  }
  return [{ dtype: dtype(c.input(start)), dims }]
}

const arithmetic: InferRule = (c) => broadcastAll(c, (first) => first.dtype)
const comparison: InferRule = (c) => broadcastAll(c, () => 'bool')

const logical: InferRule = (c) => {
  if (c.input(0).dtype !== 'bool') throw c.fail('bool inputs', c.shapes())
  return comparison(c)
}

const pow: InferRule = (c) => {
  const dims = broadcast(c.input(0).dims, c.input(1).dims)
  if (dims === undefined) throw c.fail('shapes that broadcast', c.shapes())
  return [{ dtype: c.input(0).dtype, dims }]
}

const where: InferRule = (c) => {
  if (c.input(0).dtype !== 'bool') throw c.fail('a bool condition', c.shapes())
  const [value] = broadcastAll(c, (first) => first.dtype, 1)
  const dims = broadcast(c.input(0).dims, value.dims)
  if (dims === undefined) throw c.fail('shapes that broadcast', c.shapes())
  return [{ dtype: value.dtype, dims }]
}

const cast: InferRule = (c) => {
  const dtype = dtypeOfCode(c.int('to', 0))
  if (dtype === undefined) throw c.fail('a known element type', `code ${c.int('to', 0)}`)
  return [{ dtype, dims: c.input(0).dims }]
}

const matmul: InferRule = (c) => {
  const [a, b] = [c.input(0), c.input(1)]
  const misfit = () => c.fail('shapes [..., M, K] and [..., K, N] of one element type', c.shapes())
  if (a.dtype !== b.dtype || a.dims.length === 0 || b.dims.length === 0) throw misfit()
  const left = a.dims.length === 1 ? [1, ...a.dims] : a.dims
  const right = b.dims.length === 1 ? [...b.dims, 1] : b.dims
  const batch = broadcast(left.slice(0, -2), right.slice(0, -2))
  if (batch === undefined || left.at(-1) !== right.at(-2)) throw misfit()
  const rows = a.dims.length === 1 ? [] : [left.at(-2)!]
  const columns = b.dims.length === 1 ? [] : [right.at(-1)!]
  return [{ dtype: a.dtype, dims: [...batch, ...rows, ...columns] }]
}

const gemm: InferRule = (c) => {
  const [a, b] = [c.input(0), c.input(1)]
  if (a.dims.length !== 2 || b.dims.length !== 2 || a.dtype !== b.dtype)
    throw c.fail('two matrices of one element type', c.shapes())
  const [m, k] = c.int('transA', 0) === 1 ? [a.dims[1], a.dims[0]] : a.dims
  const [inner, n] = c.int('transB', 0) === 1 ? [b.dims[1], b.dims[0]] : b.dims
  if (k !== inner)
    throw c.fail(
      'inner dimensions that agree',
      `${c.shapes()} with transA ${c.int('transA', 0)}, transB ${c.int('transB', 0)}`,
    )
  if (c.has(2)) {
    const joined = broadcast([m, n], c.input(2).dims)
    if (
      c.input(2).dtype !== a.dtype ||
      joined === undefined ||
      joined.length !== 2 ||
      joined[0] !== m ||
      joined[1] !== n
    ) {
      throw c.fail(`a bias that broadcasts to ${showDims([m, n])}`, c.shapes())
    }
  }
  return [{ dtype: a.dtype, dims: [m, n] }]
}

function axesOf(c: InferContext, rank: number): number[] {
  const raw = c.has(1) ? c.numbers(1) : []
  const axes = (raw.length === 0 ? Array.from({ length: rank }, (_, i) => i) : raw).map((axis) =>
    normaliseAxis(axis, rank),
  )
  if (axes.includes(undefined)) throw c.fail(`axes in -${rank}..${rank - 1}`, `[${raw.join(', ')}]`)
  return axes as number[]
}

const reduce: InferRule = (c) => {
  const x = c.input(0)
  const axes = new Set(axesOf(c, x.dims.length))
  const keep = c.int('keepdims', 1) === 1
  const dims = x.dims.flatMap((dim, i) => (axes.has(i) ? (keep ? [1] : []) : [dim]))
  return [{ dtype: x.dtype, dims }]
}

const argument: InferRule = (c) => {
  const x = c.input(0)
  const axis = oneAxis(c, 0)
  const keep = c.int('keepdims', 1) === 1
  return [{ dtype: 'int64', dims: x.dims.flatMap((dim, i) => (i === axis ? (keep ? [1] : []) : [dim])) }]
}

function oneAxis(c: InferContext, fallback: number): number {
  const rank = c.input(0).dims.length
  const axis = normaliseAxis(c.int('axis', fallback), rank)
  if (axis === undefined) throw c.fail(`an axis in -${rank}..${rank - 1}`, `${c.int('axis', fallback)}`)
  return axis
}

const alongAxis: InferRule = (c) => {
  oneAxis(c, -1)
  return same(c)
}

const layerNorm: InferRule = (c) => {
  const x = c.input(0)
  const axis = oneAxis(c, -1)
  const tail = x.dims.slice(axis)
  for (let i = 1; i < c.request.inputs.length; i++) {
    if (!c.has(i)) continue
    const joined = broadcast(tail, c.input(i).dims)
    if (joined === undefined || joined.some((dim, at) => dim !== tail[at]) || joined.length !== tail.length) {
      throw c.fail(`scale and bias that broadcast to ${showDims(tail)}`, c.shapes())
    }
  }
  const statistics: OutputSpec = { dtype: 'float32', dims: x.dims.map((dim, i) => (i < axis ? dim : 1)) }
  return [{ ...x }, statistics, statistics].slice(0, c.request.outputs)
}

function each(names: string, rule: InferRule): Record<string, InferRule> {
  return Object.fromEntries(names.split(' ').map((name) => [name, rule]))
}

export const inferArithmetic: Readonly<Record<string, InferRule>> = {
  ...each(
    'Neg Abs Sqrt Exp Log Tanh Relu Sigmoid Softplus Erf Gelu Sin Cos Sign Floor Ceil Round Reciprocal Identity',
    same,
  ),
  ...each('Clip CumSum Trilu Dropout', same),
  ...each('Add Sub Mul Div Min Max Sum Mod', arithmetic),
  ...each('Equal Less Greater LessOrEqual GreaterOrEqual', comparison),
  ...each('And Or Xor', logical),
  ...each(
    'ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL2 ReduceSumSquare ReduceLogSumExp',
    reduce,
  ),
  ...each('Softmax LogSoftmax', alongAxis),
  ...each('ArgMax ArgMin', argument),
  Not: (c) => [{ dtype: 'bool', dims: c.input(0).dims }],
  IsNaN: (c) => [{ dtype: 'bool', dims: c.input(0).dims }],
  Pow: pow,
  Where: where,
  Cast: cast,
  MatMul: matmul,
  Gemm: gemm,
  LayerNormalization: layerNorm,
}
