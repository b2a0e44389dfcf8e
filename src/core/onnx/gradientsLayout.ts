import type { GraphBuilder } from './builder.ts'
import type { GradientContext } from './gradientContext.ts'
import type { GradientRule } from './gradients.ts'
import type { Handle } from './graph.ts'
import { numbersOf } from './tensor.ts'

/** Gradient rules of operators that move elements. */

function constants(c: GradientContext, i: number): number[] {
  const value = c.g.constantValue(c.x(i))
  if (value === undefined) throw c.fail(`a constant input ${i}`, 'a computed value')
  return numbersOf(value)
}

/** Reshapes to the shape of `like`: with constants where its dimensions are known, otherwise with a Shape operator. */
function reshapeLike(g: GraphBuilder, value: Handle, like: Handle): Handle {
  const named = like.dims.filter((dim) => typeof dim === 'string').length
  if (named <= 1)
    return g.reshape(
      value,
      like.dims.map((dim) => (typeof dim === 'string' ? -1 : dim)),
    )
  return g.node(
    'Reshape',
    [value, g.shapeOf(like)],
    {},
    { outputs: [{ dtype: value.dtype, dims: like.dims }] },
  )[0]
}

const relabel: GradientRule = (c) => c.give(0, () => reshapeLike(c.g, c.dy(), c.x()))

const transpose: GradientRule = (c) =>
  c.give(0, () => {
    const found = c.node.attributes.perm
    if (found?.type !== 'ints') return c.g.transpose(c.dy())
    const order = found.value.map(Number)
    return c.g.transpose(
      c.dy(),
      order.map((_, axis) => order.indexOf(axis)),
    )
  })

const concat: GradientRule = (c) => {
  const axis = c.axis(0)
  const sizes = c.node.inputs.map((_, i) => c.x(i).dims[axis])
  if (sizes.some((size) => typeof size !== 'number')) throw c.fail('parts of known size', sizes.join(', '))
  let parts: Handle[] | undefined
  c.node.inputs.forEach((_, i) =>
    c.give(i, () => {
      parts ??= c.g.split(c.dy(), sizes as number[], axis)
      return parts[i]
    }),
  )
}

const split: GradientRule = (c) =>
  c.give(0, () => {
    const parts = c.node.outputs.map((_, i) => c.dy(i))
    return c.g.concat(parts, c.axis(0))
  })

const slice: GradientRule = (c) =>
  c.give(0, () => {
    const [starts, axes] = [constants(c, 1), constants(c, 3)]
    const steps = c.has(4) ? constants(c, 4) : starts.map(() => 1)
    const dims = c.fixed(c.x())
    let gradient = c.dy()
    axes.forEach((raw, i) => {
      const axis = raw < 0 ? raw + dims.length : raw
      const size = gradient.dims[axis] as number
      const whole = dims[axis]
      const low = Math.min(
        Math.max(starts[i] < 0 ? starts[i] + whole : starts[i], 0),
        steps[i] > 0 ? whole : whole - 1,
      )
      if (steps[i] === 1) {
        if (size !== whole) gradient = c.g.pad(gradient, axis, low, whole - low - size)
        return
      }
      const at = Array.from({ length: size }, (_, k) => low + k * steps[i])
      gradient = scatterAlong(c, gradient, c.g.constant(at, 'int64'), axis, whole)
    })
    return gradient
  })

/** Adds the slices of `value` along `axis` into zeros of length `length`, at positions `indices` [K]. */
function scatterAlong(
  c: GradientContext,
  value: Handle,
  indices: Handle,
  axis: number,
  length: number,
): Handle {
  const { g } = c
  const dims = c.fixed(value)
  const column = g.reshape(
    indices,
    dims.map((size, i) => (i === axis ? size : 1)),
  )
  const target = g.expand(
    g.constant(0, value.dtype),
    dims.map((size, i) => (i === axis ? length : size)),
  )
  return g.scatterElements(target, g.expand(column, dims), value, axis, 'add')
}

const gather: GradientRule = (c) =>
  c.give(0, () => {
    const axis = c.axis(0)
    const dims = c.fixed(c.x())
    const count = c.fixed(c.x(1)).reduce((product, size) => product * size, 1)
    const rows = c.g.reshape(
      c.dy(),
      dims.map((size, i) => (i === axis ? count : size)),
    )
    return scatterAlong(c, rows, c.x(1), axis, dims[axis])
  })

const gatherElements: GradientRule = (c) =>
  c.give(0, () => {
    const zeros = c.g.expand(c.g.constant(0, c.x().dtype), c.fixed(c.x()))
    return c.g.scatterElements(zeros, c.x(1), c.dy(), c.axis(0), 'add')
  })

const pad: GradientRule = (c) =>
  c.give(0, () => {
    const pads = constants(c, 1)
    const axes = c.has(3) ? constants(c, 3) : [...c.x().dims.keys()]
    const dims = c.fixed(c.x())
    return axes.reduce((gradient, raw, i) => {
      const axis = raw < 0 ? raw + dims.length : raw
      return c.g.slice(gradient, axis, pads[i], pads[i] + dims[axis])
    }, c.dy())
  })

export const layoutGradients: Readonly<Record<string, GradientRule>> = {
  Reshape: relabel,
  Squeeze: relabel,
  Unsqueeze: relabel,
  Transpose: transpose,
  Concat: concat,
  Split: split,
  Slice: slice,
  Expand: (c) => c.giveBroadcast(0, () => c.loose()),
  Gather: gather,
  GatherElements: gatherElements,
  Pad: pad,
}
