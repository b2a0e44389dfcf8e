import { InputError } from '../errors.ts'
import { showDims } from './dims.ts'
import type { Handle } from './graph.ts'
import { float, GraphRecorder } from './graph.ts'
import type { Dim } from './proto.ts'
import type { DType, Tensor } from './tensor.ts'
import { dtypes, scalarOf, tensorOf } from './tensor.ts'

export type { Handle } from './graph.ts'

/** A value of the graph, or a number, which becomes a scalar of the other operand's type. */
export type Operand = Handle | number

/**
 * Builds an ONNX graph operator by operator. Shapes are inferred immediately, so that a mismatch is reported at the
 * line that caused it. Negative axes count from the end; reductions without axes cover all axes.
 */
export class GraphBuilder extends GraphRecorder {
  /** An unnamed constant: a tensor, a scalar, or values with their type and shape (default: a vector). */
  constant(
    value: Tensor | number | readonly number[],
    dtype: DType = 'float32',
    dims?: readonly number[],
  ): Handle {
    if (typeof value === 'number') return this.constantTensor(scalarOf(dtype, value))
    if (Array.isArray(value))
      return this.constantTensor(tensorOf(dtype, dims ?? [value.length], value as number[]))
    return this.constantTensor(value as Tensor)
  }

  add(a: Operand, b: Operand): Handle {
    return this.binary('Add', a, b)
  }
  sub(a: Operand, b: Operand): Handle {
    return this.binary('Sub', a, b)
  }
  mul(a: Operand, b: Operand): Handle {
    return this.binary('Mul', a, b)
  }
  div(a: Operand, b: Operand): Handle {
    return this.binary('Div', a, b)
  }
  pow(a: Operand, b: Operand): Handle {
    return this.binary('Pow', a, b)
  }
  min(a: Operand, b: Operand): Handle {
    return this.binary('Min', a, b)
  }
  max(a: Operand, b: Operand): Handle {
    return this.binary('Max', a, b)
  }
  equal(a: Operand, b: Operand): Handle {
    return this.binary('Equal', a, b)
  }
  less(a: Operand, b: Operand): Handle {
    return this.binary('Less', a, b)
  }
  lessOrEqual(a: Operand, b: Operand): Handle {
    return this.binary('LessOrEqual', a, b)
  }
  greater(a: Operand, b: Operand): Handle {
    return this.binary('Greater', a, b)
  }
  greaterOrEqual(a: Operand, b: Operand): Handle {
    return this.binary('GreaterOrEqual', a, b)
  }
  and(a: Handle, b: Handle): Handle {
    return this.binary('And', a, b)
  }
  or(a: Handle, b: Handle): Handle {
    return this.binary('Or', a, b)
  }
  not(x: Handle): Handle {
    return this.node('Not', [x])[0]
  }
  /** Variadic sum with broadcasting. */
  addAll(parts: readonly Handle[]): Handle {
    return parts.length === 1 ? parts[0] : this.node('Sum', parts)[0]
  }
  neg(x: Handle): Handle {
    return this.node('Neg', [x])[0]
  }
  abs(x: Handle): Handle {
    return this.node('Abs', [x])[0]
  }
  sqrt(x: Handle): Handle {
    return this.node('Sqrt', [x])[0]
  }
  square(x: Handle): Handle {
    return this.node('Mul', [x, x])[0]
  }
  reciprocal(x: Handle): Handle {
    return this.node('Reciprocal', [x])[0]
  }
  exp(x: Handle): Handle {
    return this.node('Exp', [x])[0]
  }
  log(x: Handle): Handle {
    return this.node('Log', [x])[0]
  }
  tanh(x: Handle): Handle {
    return this.node('Tanh', [x])[0]
  }
  relu(x: Handle): Handle {
    return this.node('Relu', [x])[0]
  }
  sigmoid(x: Handle): Handle {
    return this.node('Sigmoid', [x])[0]
  }
  softplus(x: Handle): Handle {
    return this.node('Softplus', [x])[0]
  }
  erf(x: Handle): Handle {
    return this.node('Erf', [x])[0]
  }
  sin(x: Handle): Handle {
    return this.node('Sin', [x])[0]
  }
  cos(x: Handle): Handle {
    return this.node('Cos', [x])[0]
  }
  /** x * sigmoid(x), LLaMA's activation. */
  silu(x: Handle): Handle {
    return this.mul(x, this.sigmoid(x))
  }
  /** GELU; GPT-2 uses the tanh approximation. */
  gelu(x: Handle, approximate: 'none' | 'tanh' = 'none'): Handle {
    return this.node('Gelu', [x], { approximate })[0]
  }
  identity(x: Handle): Handle {
    return this.node('Identity', [x])[0]
  }
  /** The same value; no gradient passes through it. */
  stopGradient(x: Handle): Handle {
    return this.node('Identity', [x], {}, { stop: true })[0]
  }
  cast(x: Handle, dtype: DType): Handle {
    return x.dtype === dtype ? x : this.node('Cast', [x], { to: dtypes[dtype].code })[0]
  }
  clip(x: Handle, low: Operand | null, high: Operand | null): Handle {
    return this.node('Clip', [
      x,
      low === null ? null : this.lift(low, x),
      high === null ? null : this.lift(high, x),
    ])[0]
  }
  where(condition: Handle, a: Operand, b: Operand): Handle {
    return this.node('Where', [condition, ...this.pair(a, b)])[0]
  }

  matmul(a: Handle, b: Handle): Handle {
    return this.node('MatMul', [a, b])[0]
  }
  /** alpha * op(x) op(w) + beta * b, all matrices; b broadcasts to [M, N]. */
  gemm(x: Handle, w: Handle, b: Handle | null = null, options: GemmOptions = {}): Handle {
    const { transA = false, transB = false, alpha = 1, beta = 1 } = options
    return this.node('Gemm', b === null ? [x, w] : [x, w, b], {
      transA: Number(transA),
      transB: Number(transB),
      alpha: float(alpha),
      beta: float(beta),
    })[0]
  }

  /**
   * Reshapes to `dims`. One of them may be -1; names stand for dimensions of x that stay in place (or one for the
   * rest).
   */
  reshape(x: Handle, dims: readonly Dim[]): Handle {
    let open = dims.includes(-1)
    const shape = dims.map((dim, i) => {
      if (typeof dim === 'number') return dim
      if (dim === x.dims[i]) return 0
      if (open)
        throw this.misfit('Reshape', 'at most one dimension that is not kept in place', showDims(dims))
      open = true
      return -1
    })
    const zeroIsZero = dims.includes(0)
    if (zeroIsZero && shape.some((dim, i) => dim === 0 && dims[i] !== 0)) {
      throw this.misfit('Reshape', 'no size 0 beside named dimensions', showDims(dims))
    }
    const [out] = this.node('Reshape', [x, this.indices(shape)], zeroIsZero ? { allowzero: 1 } : {})
    const asked = dims.findIndex((dim, i) => typeof dim === 'string' && dim !== out.dims[i])
    if (asked >= 0)
      throw this.misfit('Reshape', showDims(dims), `${showDims(out.dims)} from ${showDims(x.dims)}`)
    return out
  }
  /** Permutes the axes; reverses them without `order`. */
  transpose(x: Handle, order?: readonly number[]): Handle {
    return this.node('Transpose', [x], order === undefined ? {} : { perm: order })[0]
  }
  /** Swaps the last two axes. */
  transposeLast(x: Handle): Handle {
    const rank = x.dims.length
    return this.transpose(x, [...Array(rank - 2).keys(), rank - 1, rank - 2])
  }
  unsqueeze(x: Handle, axes: readonly number[]): Handle {
    return this.node('Unsqueeze', [x, this.indices(axes)])[0]
  }
  squeeze(x: Handle, axes: readonly number[]): Handle {
    return this.node('Squeeze', [x, this.indices(axes)])[0]
  }
  concat(parts: readonly Handle[], axis: number): Handle {
    return parts.length === 1 ? parts[0] : this.node('Concat', parts, { axis })[0]
  }
  /** x[start:end:step] along one axis; `end` may be omitted. Negative positions count from the end. */
  slice(x: Handle, axis: number, start: number, end = 9007199254740991, step = 1): Handle {
    return this.node('Slice', [x, ...[[start], [end], [axis], [step]].map((list) => this.indices(list))])[0]
  }
  /** Splits into consecutive parts of the given sizes. */
  split(x: Handle, sizes: readonly number[], axis: number): Handle[] {
    return this.node('Split', [x, this.indices(sizes)], { axis }, { outputs: sizes.length })
  }
  /** Broadcasts to `dims` (ONNX Expand: 1 keeps the size of x). */
  expand(x: Handle, dims: readonly number[]): Handle {
    return this.node('Expand', [x, this.indices(dims)])[0]
  }
  gather(x: Handle, indices: Handle, axis = 0): Handle {
    return this.node('Gather', [x, indices], { axis })[0]
  }
  gatherElements(x: Handle, indices: Handle, axis = -1): Handle {
    return this.node('GatherElements', [x, indices], { axis })[0]
  }
  scatterElements(
    x: Handle,
    indices: Handle,
    updates: Handle,
    axis: number,
    reduction: 'none' | 'add' = 'none',
  ): Handle {
    return this.node('ScatterElements', [x, indices, updates], { axis, reduction })[0]
  }
  /** Pads one axis with zeros. */
  pad(x: Handle, axis: number, before: number, after: number): Handle {
    return this.node('Pad', [x, this.indices([before, after]), null, this.indices([axis])])[0]
  }
  tile(x: Handle, repeats: readonly number[]): Handle {
    return this.node('Tile', [x, this.indices(repeats)])[0]
  }
  shapeOf(x: Handle): Handle {
    return this.node('Shape', [x])[0]
  }
  cumSum(x: Handle, axis: number, options: { exclusive?: boolean; reverse?: boolean } = {}): Handle {
    return this.node('CumSum', [x, this.constant(axis, 'int64')], {
      exclusive: Number(options.exclusive ?? false),
      reverse: Number(options.reverse ?? false),
    })[0]
  }

  reduceSum(x: Handle, axes?: readonly number[], keepDims = false): Handle {
    return this.reduce('ReduceSum', x, axes, keepDims)
  }
  reduceMean(x: Handle, axes?: readonly number[], keepDims = false): Handle {
    return this.reduce('ReduceMean', x, axes, keepDims)
  }
  reduceMax(x: Handle, axes?: readonly number[], keepDims = false): Handle {
    return this.reduce('ReduceMax', x, axes, keepDims)
  }
  reduceMin(x: Handle, axes?: readonly number[], keepDims = false): Handle {
    return this.reduce('ReduceMin', x, axes, keepDims)
  }
  /** Sum of squares. */
  reduceSumSquare(x: Handle, axes?: readonly number[], keepDims = false): Handle {
    return this.reduce('ReduceSumSquare', x, axes, keepDims)
  }
  softmax(x: Handle, axis = -1): Handle {
    return this.node('Softmax', [x], { axis })[0]
  }
  logSoftmax(x: Handle, axis = -1): Handle {
    return this.node('LogSoftmax', [x], { axis })[0]
  }
  /** int64 position of the first maximum. */
  argMax(x: Handle, axis = -1, keepDims = false): Handle {
    return this.node('ArgMax', [x], { axis, keepdims: Number(keepDims) })[0]
  }
  /** Layer normalisation over the last axis (or from `axis` on). */
  layerNorm(x: Handle, scale: Handle, bias: Handle | null, epsilon = 1e-5, axis = -1): Handle {
    return this.node('LayerNormalization', bias === null ? [x, scale] : [x, scale, bias], {
      axis,
      epsilon: float(epsilon),
    })[0]
  }
  /** x / sqrt(mean(x^2) + epsilon) * scale over the last axis (LLaMA). */
  rmsNorm(x: Handle, scale: Handle, epsilon = 1e-5): Handle {
    const root = this.sqrt(this.add(this.reduceMean(this.square(x), [-1], true), epsilon))
    return this.mul(this.div(x, root), scale)
  }

  /** An int64 vector constant: axes, shapes, sizes. */
  indices(values: readonly number[]): Handle {
    return this.constant(values, 'int64')
  }

  private binary(opType: string, a: Operand, b: Operand): Handle {
    return this.node(opType, this.pair(a, b))[0]
  }

  private pair(a: Operand, b: Operand): [Handle, Handle] {
    if (typeof a === 'number') {
      if (typeof b === 'number') return [this.constant(a), this.constant(b)]
      return [this.lift(a, b), b]
    }
    return [a, this.lift(b, a)]
  }

  private lift(value: Operand, like: Handle): Handle {
    return typeof value === 'number' ? this.constant(value, like.dtype) : value
  }

  private reduce(opType: string, x: Handle, axes: readonly number[] | undefined, keepDims: boolean): Handle {
    if (axes?.length === 0) return opType === 'ReduceSumSquare' ? this.square(x) : x
    return this.node(opType, axes === undefined ? [x] : [x, this.indices(axes)], {
      keepdims: Number(keepDims),
    })[0]
  }

  private misfit(opType: string, expected: string, found: string): InputError {
    return new InputError({ where: `graph ${this.name}: ${opType}`, expected, found })
  }
}

/** Options of `gemm`. */
interface GemmOptions {
  transA?: boolean
  transB?: boolean
  alpha?: number
  beta?: number
}
