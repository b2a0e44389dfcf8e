import type { GraphBuilder } from './builder.ts'
import { isStatic } from './dims.ts'
import type { GradientContext } from './gradientContext.ts'
import { reduceTo } from './gradientContext.ts'
import type { GradientRule } from './gradients.ts'
import type { Handle } from './graph.ts'
import type { Dim } from './proto.ts'
import { numbersOf } from './tensor.ts'

/** Gradient rules of matrix products, reductions and normalisations. */

const gemm: GradientRule = (c) => {
  const { g } = c
  const [transA, transB] = [c.int('transA', 0) === 1, c.int('transB', 0) === 1]
  const alpha = c.real('alpha', 1)
  const [a, b, dy] = [c.x(0), c.x(1), c.dy()]
  c.give(0, () =>
    transA
      ? g.gemm(b, dy, null, { transA: transB, transB: true, alpha })
      : g.gemm(dy, b, null, { transB: !transB, alpha }),
  )
  c.give(1, () =>
    transB
      ? g.gemm(dy, a, null, { transA: true, transB: transA, alpha })
      : g.gemm(a, dy, null, { transA: !transA, alpha }),
  )
  const beta = c.real('beta', 1)
  c.give(2, () => {
    const [rows, columns] = dy.dims
    const bias = c.x(2)
    // One bias for all rows: ONNX Runtime sums [256, 64] several times faster with a matrix product than with
    // ReduceSum.
    if (typeof rows === 'number' && rows > 1 && bias.dims.length === 1 && bias.dims[0] === columns) {
      return g.matmul(g.constant(new Array<number>(rows).fill(beta), dy.dtype), dy)
    }
    return reduceTo(g, beta === 1 ? dy : g.mul(dy, beta), c.y().dims, bias.dims)
  })
}

const matmul: GradientRule = (c) => {
  const { g } = c
  const [a, b] = [c.x(0), c.x(1)]
  const left = a.dims.length === 1 ? g.unsqueeze(a, [0]) : a
  const right = b.dims.length === 1 ? g.unsqueeze(b, [1]) : b
  let dy = c.dy()
  if (b.dims.length === 1) dy = g.unsqueeze(dy, [-1])
  if (a.dims.length === 1) dy = g.unsqueeze(dy, [-2])
  c.give(0, () => {
    const full = dy.dims.length === 2 && right.dims.length === 2
    const product = full ? g.gemm(dy, right, null, { transB: true }) : g.matmul(dy, g.transposeLast(right))
    return likeOperand(g, product, left, a, 0)
  })
  c.give(1, () => likeOperand(g, rightProduct(g, left, right, dy), right, b, -1))
}

/** left^T dy. For a stack of rows against one matrix, the sum over the stack is part of the product. */
function rightProduct(g: GraphBuilder, left: Handle, right: Handle, dy: Handle): Handle {
  if (right.dims.length === 2 && typeof left.dims.at(-1) === 'number' && typeof dy.dims.at(-1) === 'number') {
    const rows = (x: Handle) => (x.dims.length === 2 ? x : g.reshape(x, [-1, x.dims.at(-1)!]))
    return g.gemm(rows(left), rows(dy), null, { transA: true })
  }
  return g.matmul(g.transposeLast(left), dy)
}

function likeOperand(
  g: GraphBuilder,
  gradient: Handle,
  matrix: Handle,
  operand: Handle,
  axis: number,
): Handle {
  const reduced = reduceTo(g, gradient, gradient.dims, matrix.dims)
  return matrix === operand ? reduced : g.squeeze(reduced, [axis])
}

/** The axes that a reduction summed over, as non-negative axes. */
function reducedAxes(c: GradientContext): number[] {
  const rank = c.x().dims.length
  const given = c.has(1) ? numbersOf(c.g.constantValue(c.x(1))!) : []
  return given.length === 0 ? [...Array(rank).keys()] : given.map((axis) => (axis < 0 ? axis + rank : axis))
}

/** A reduced value with the reduced axes restored as size 1. */
function keptDims(c: GradientContext, value: Handle, axes: readonly number[]): Handle {
  if (c.int('keepdims', 1) === 1 || axes.length === c.x().dims.length) return value
  return c.g.unsqueeze(value, axes)
}

function countOf(c: GradientContext, axes: readonly number[]): number {
  const dims: readonly Dim[] = axes.map((axis) => c.x().dims[axis])
  if (!isStatic(dims)) throw c.fail('a known number of averaged elements', dims.join(' x '))
  return dims.reduce((product, dim) => product * dim, 1)
}

const reduceSum: GradientRule = (c) => c.give(0, () => keptDims(c, c.dy(), reducedAxes(c)))

const reduceMean: GradientRule = (c) =>
  c.give(0, () => {
    const axes = reducedAxes(c)
    return c.g.mul(keptDims(c, c.dy(), axes), 1 / countOf(c, axes))
  })

const reduceSumSquare: GradientRule = (c) =>
  c.give(0, () => c.g.mul(keptDims(c, c.dy(), reducedAxes(c)), c.g.mul(c.x(), 2)))

const extremum: GradientRule = (c) =>
  c.give(0, () => {
    const { g } = c
    const axes = reducedAxes(c)
    const hit = g.cast(g.equal(c.x(), keptDims(c, c.y(), axes)), c.x().dtype)
    return g.mul(hit, g.div(keptDims(c, c.dy(), axes), g.reduceSum(hit, axes, true)))
  })

const softmax: GradientRule = (c) =>
  c.give(0, () => {
    const { g } = c
    const weighted = g.mul(c.loose(), c.y())
    return g.sub(weighted, g.mul(c.y(), g.reduceSum(weighted, [c.axis(-1)], true)))
  })

const logSoftmax: GradientRule = (c) =>
  c.give(0, () => {
    const { g } = c
    const dy = c.dy()
    return g.sub(dy, g.mul(g.exp(c.y()), g.reduceSum(dy, [c.axis(-1)], true)))
  })

const layerNorm: GradientRule = (c) => {
  const { g } = c
  const x = c.x()
  const axes = [...Array(x.dims.length).keys()].slice(c.axis(-1))
  const centred = g.sub(x, g.reduceMean(x, axes, true))
  const variance = g.reduceMean(g.square(centred), axes, true)
  const inverse = g.reciprocal(g.sqrt(g.add(variance, c.real('epsilon', 1e-5))))
  const normal = g.mul(centred, inverse)
  const dy = c.dy()
  c.give(0, () => {
    const scaled = g.mul(dy, c.x(1))
    const along = g.mul(normal, g.reduceMean(g.mul(scaled, normal), axes, true))
    return g.mul(inverse, g.sub(g.sub(scaled, g.reduceMean(scaled, axes, true)), along))
  })
  c.giveBroadcast(1, () => g.mul(dy, normal))
  c.giveBroadcast(2, () => dy)
}

const cumSum: GradientRule = (c) =>
  c.give(0, () => {
    const options = { exclusive: c.int('exclusive', 0), reverse: 1 - c.int('reverse', 0) }
    return c.g.node('CumSum', [c.dy(), c.x(1)], options)[0]
  })

export const productGradients: Readonly<Record<string, GradientRule>> = {
  Gemm: gemm,
  MatMul: matmul,
  ReduceSum: reduceSum,
  ReduceMean: reduceMean,
  ReduceSumSquare: reduceSumSquare,
  ReduceMax: extremum,
  ReduceMin: extremum,
  Softmax: softmax,
  LogSoftmax: logSoftmax,
  LayerNormalization: layerNorm,
  CumSum: cumSum,
}
