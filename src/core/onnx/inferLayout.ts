import {
  addDims,
  broadcast,
  divideDims,
  isStatic,
  normaliseAxis,
  sameDims,
  sameSize,
  showDims,
} from './dims.ts'
import type { InferContext, InferRule } from './infer.ts'
import type { Dim } from './proto.ts'

/** Shape rules of operators that move elements without computing. */

function axisAttribute(c: InferContext, fallback: number, rank = c.input(0).dims.length): number {
  const axis = normaliseAxis(c.int('axis', fallback), rank)
  if (axis === undefined) throw c.fail(`an axis in -${rank}..${rank - 1}`, `${c.int('axis', fallback)}`)
  return axis
}

const reshape: InferRule = (c) => {
  const x = c.input(0)
  const target = c.numbers(1)
  const zeroIsZero = c.int('allowzero', 0) === 1
  const dims: Dim[] = target.map((dim, i) => (dim === 0 && !zeroIsZero ? (x.dims[i] ?? 0) : dim))
  const open = target.indexOf(-1)
  const misfit = () => c.fail(`a shape of as many elements as ${showDims(x.dims)}`, `[${target.join(', ')}]`)
  if (target.some((dim) => dim < -1) || target.lastIndexOf(-1) !== open) throw misfit()
  if (open >= 0) {
    const rest = divideDims(
      x.dims,
      dims.filter((_, i) => i !== open),
    )
    if (rest === undefined) throw misfit()
    dims[open] = rest
  } else if (!sameSize(x.dims, dims)) throw misfit()
  return [{ dtype: x.dtype, dims }]
}

const transpose: InferRule = (c) => {
  const x = c.input(0)
  const order = c.ints('perm') ?? x.dims.map((_, i) => x.dims.length - 1 - i)
  if (
    order.length !== x.dims.length ||
    new Set(order).size !== order.length ||
    order.some((axis) => !(axis >= 0 && axis < order.length))
  ) {
    throw c.fail(`an order of the ${x.dims.length} axes of ${showDims(x.dims)}`, `[${order.join(', ')}]`)
  }
  return [{ dtype: x.dtype, dims: order.map((axis) => x.dims[axis]) }]
}

const concat: InferRule = (c) => {
  const parts = c.request.inputs.map((_, i) => c.input(i))
  const axis = axisAttribute(c, 0)
  const rest = (dims: readonly Dim[]) => dims.filter((_, i) => i !== axis)
  for (const part of parts) {
    if (
      part.dtype !== parts[0].dtype ||
      part.dims.length !== parts[0].dims.length ||
      !sameDims(rest(part.dims), rest(parts[0].dims))
    ) {
      throw c.fail(`shapes that differ along axis ${axis} only`, c.shapes())
    }
  }
  const dims = [...parts[0].dims]
  dims[axis] = addDims(parts.map((part) => part.dims[axis]))
  return [{ dtype: parts[0].dtype, dims }]
}

const slice: InferRule = (c) => {
  const x = c.input(0)
  const [starts, ends] = [c.numbers(1), c.numbers(2)]
  const axes = c.has(3) ? c.numbers(3) : starts.map((_, i) => i)
  const steps = c.has(4) ? c.numbers(4) : starts.map(() => 1)
  const dims = [...x.dims]
  axes.forEach((raw, i) => {
    const axis = normaliseAxis(raw, x.dims.length)
    if (axis === undefined || steps[i] === 0 || steps[i] === undefined)
      throw c.fail(`axes of ${showDims(x.dims)} and steps other than 0`, `axis ${raw}, step ${steps[i]}`)
    dims[axis] = sliceDim(c, x.dims[axis], starts[i], ends[i], steps[i])
  })
  return [{ dtype: x.dtype, dims }]
}

function sliceDim(c: InferContext, dim: Dim, start: number, end: number, step: number): Dim {
  if (typeof dim === 'string') {
    if (start === 0 && step === 1 && end >= 2147483647) return dim
    if (start >= 0 && end > start && step === 1 && end < 2147483647) return end - start
    if (start < 0 && step === 1 && (end < 0 || end >= 2147483647)) return (end < 0 ? end : 0) - start
    throw c.fail('a slice whose size is known', `${start}:${end}:${step} of ${dim}`)
  }
  const at = (index: number, low: number, high: number) =>
    Math.min(Math.max(index < 0 ? index + dim : index, low), high)
  const size = step > 0 ? at(end, 0, dim) - at(start, 0, dim) : at(end, -1, dim - 1) - at(start, 0, dim - 1)
  return Math.max(0, Math.ceil(size / step))
}

const split: InferRule = (c) => {
  const x = c.input(0)
  const axis = axisAttribute(c, 0)
  const whole = x.dims[axis]
  const count = c.int('num_outputs', c.request.outputs)
  const sizes = c.has(1) ? c.numbers(1) : equalParts(c, whole, count)
  if (addDims(sizes) !== whole || sizes.some((size) => size < 0))
    throw c.fail(`parts that add up to ${whole}`, `[${sizes.join(', ')}]`)
  if (sizes.length !== c.request.outputs) throw c.fail(`${c.request.outputs} parts`, `${sizes.length}`)
  return sizes.map((size) => ({ dtype: x.dtype, dims: x.dims.map((dim, i) => (i === axis ? size : dim)) }))
}

function equalParts(c: InferContext, whole: Dim, count: number): number[] {
  if (typeof whole !== 'number') throw c.fail('a known size to split equally', whole)
  const size = Math.ceil(whole / count)
  return Array.from({ length: count }, (_, i) => Math.max(0, Math.min(size, whole - i * size)))
}

const expand: InferRule = (c) => {
  const x = c.input(0)
  const dims = broadcast(x.dims, c.numbers(1))
  if (dims === undefined)
    throw c.fail(`a shape to which ${showDims(x.dims)} broadcasts`, `[${c.numbers(1).join(', ')}]`)
  return [{ dtype: x.dtype, dims }]
}

const gather: InferRule = (c) => {
  const [x, indices] = [c.input(0), c.input(1)]
  const axis = axisAttribute(c, 0)
  indexType(c, 1)
  return [{ dtype: x.dtype, dims: [...x.dims.slice(0, axis), ...indices.dims, ...x.dims.slice(axis + 1)] }]
}

function indexType(c: InferContext, index: number): void {
  const { dtype } = c.input(index)
  if (dtype !== 'int64' && dtype !== 'int32') throw c.fail('int64 or int32 indices', c.shapes())
}

const gatherElements: InferRule = (c) => {
  const [x, indices] = [c.input(0), c.input(1)]
  axisAttribute(c, 0)
  indexType(c, 1)
  if (x.dims.length !== indices.dims.length) throw c.fail('indices of the rank of the data', c.shapes())
  return [{ dtype: x.dtype, dims: indices.dims }]
}

const scatterElements: InferRule = (c) => {
  axisAttribute(c, 0)
  indexType(c, 1)
  if (!sameDims(c.input(1).dims, c.input(2).dims))
    throw c.fail('updates of the shape of the indices', c.shapes())
  return [{ ...c.input(0) }]
}

const unsqueeze: InferRule = (c) => {
  const x = c.input(0)
  const rank = x.dims.length + c.numbers(1).length
  const axes = c.numbers(1).map((axis) => normaliseAxis(axis, rank))
  if (axes.includes(undefined) || new Set(axes).size !== axes.length)
    throw c.fail(`distinct axes in -${rank}..${rank - 1}`, `[${c.numbers(1).join(', ')}]`)
  const rest = [...x.dims]
  return [
    { dtype: x.dtype, dims: Array.from({ length: rank }, (_, i) => (axes.includes(i) ? 1 : rest.shift()!)) },
  ]
}

const squeeze: InferRule = (c) => {
  const x = c.input(0)
  const asked = c.has(1)
    ? c.numbers(1).map((axis) => normaliseAxis(axis, x.dims.length))
    : x.dims.flatMap((dim, i) => (dim === 1 ? [i] : []))
  if (asked.some((axis) => axis === undefined || x.dims[axis] !== 1))
    throw c.fail('axes of size 1', c.shapes())
  return [{ dtype: x.dtype, dims: x.dims.filter((_, i) => !asked.includes(i)) }]
}

const pad: InferRule = (c) => {
  const x = c.input(0)
  const rank = x.dims.length
  const axes = c.has(3) ? c.numbers(3).map((axis) => normaliseAxis(axis, rank)) : x.dims.map((_, i) => i)
  const pads = c.numbers(1)
  if (pads.length !== 2 * axes.length || axes.includes(undefined))
    throw c.fail('two pads for each axis', `${pads.length} for ${axes.length}`)
  const dims = x.dims.map((dim, i) => {
    const at = axes.indexOf(i)
    return at < 0 ? dim : addDims([dim, pads[at] + pads[at + axes.length]])
  })
  return [{ dtype: x.dtype, dims }]
}

const tile: InferRule = (c) => {
  const x = c.input(0)
  const repeats = c.numbers(1)
  if (repeats.length !== x.dims.length || !isStatic(x.dims.filter((_, i) => repeats[i] !== 1)))
    throw c.fail('a repeat for each axis', c.shapes())
  return [
    { dtype: x.dtype, dims: x.dims.map((dim, i) => (repeats[i] === 1 ? dim : (dim as number) * repeats[i])) },
  ]
}

const topK: InferRule = (c) => {
  const x = c.input(0)
  const axis = axisAttribute(c, -1)
  const dims = x.dims.map((dim, i) => (i === axis ? c.numbers(1)[0] : dim))
  return [
    { dtype: x.dtype, dims },
    { dtype: 'int64', dims },
  ]
}

const shape: InferRule = (c) => {
  const rank = c.input(0).dims.length
  const at = (index: number) => Math.min(Math.max(index < 0 ? index + rank : index, 0), rank)
  return [{ dtype: 'int64', dims: [Math.max(0, at(c.int('end', rank)) - at(c.int('start', 0)))] }]
}

export const inferLayout: Readonly<Record<string, InferRule>> = {
  Reshape: reshape,
  Transpose: transpose,
  Concat: concat,
  Slice: slice,
  Split: split,
  Expand: expand,
  Gather: gather,
  GatherElements: gatherElements,
  ScatterElements: scatterElements,
  Unsqueeze: unsqueeze,
  Squeeze: squeeze,
  Pad: pad,
  Tile: tile,
  TopK: topK,
  Shape: shape,
}
