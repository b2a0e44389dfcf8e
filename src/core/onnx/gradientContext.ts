import { InputError } from '../errors.ts'
import type { GraphBuilder } from './builder.ts'
import { isStatic, sameDims, showDims } from './dims.ts'
import type { Handle, NodeRecord } from './graph.ts'
import type { Dim } from './proto.ts'

/**
 * What a gradient rule sees of its node. Gradients may be "loose": of any shape that broadcasts to the shape of their
 * value. So the gradient of a mean stays a scalar until the full shape is needed.
 */
export class GradientContext {
  readonly g: GraphBuilder
  readonly node: NodeRecord
  /** Loose gradients computed so far, with the input that each belongs to. */
  readonly given: [Handle, Handle][] = []
  private readonly outputGradients: readonly (Handle | null)[]
  private readonly dependent: ReadonlySet<string>

  constructor(
    g: GraphBuilder,
    node: NodeRecord,
    outputs: readonly (Handle | null)[],
    dependent: ReadonlySet<string>,
  ) {
    this.g = g
    this.node = node
    this.outputGradients = outputs
    this.dependent = dependent
  }

  /** Input i. */
  x(i = 0): Handle {
    const found = this.node.inputs[i] ?? null
    if (found === null) throw this.fail(`an input ${i}`, 'none')
    return found
  }

  has(i: number): boolean {
    return (this.node.inputs[i] ?? null) !== null
  }

  /** Output i. */
  y(i = 0): Handle {
    return this.node.outputs[i]
  }

  /** Gradient of output i, of the output's full shape. */
  dy(i = 0): Handle {
    const found = this.outputGradients[i]
    return found === null ? zerosLike(this.g, this.y(i)) : expandTo(this.g, found, this.y(i))
  }

  /** Loose gradient of the first output: its shape broadcasts to the output's. */
  loose(): Handle {
    return this.outputGradients[0] ?? zerosLike(this.g, this.y())
  }

  int(name: string, fallback: number): number {
    const found = this.node.attributes[name]
    return found?.type === 'int' ? Number(found.value) : fallback
  }

  real(name: string, fallback: number): number {
    const found = this.node.attributes[name]
    return found?.type === 'float' ? found.value : fallback
  }

  text(name: string, fallback: string): string {
    const found = this.node.attributes[name]
    return found?.type === 'string' ? found.value : fallback
  }

  /** Attribute `axis` (default `fallback`) of input 0, as a non-negative axis. */
  axis(fallback: number): number {
    const axis = this.int('axis', fallback)
    return axis < 0 ? axis + this.x().dims.length : axis
  }

  /** Sets the gradient of input i, computed only if it is needed; loose with respect to that input. */
  give(i: number, gradient: () => Handle): void {
    if (!this.has(i) || !this.dependent.has(this.x(i).name)) return
    this.given.push([this.x(i), gradient()])
  }

  /** Like `give`, for an input that was broadcast to the output: `gradient` is loose with respect to the output. */
  giveBroadcast(i: number, gradient: () => Handle): void {
    this.give(i, () => reduceTo(this.g, gradient(), this.y().dims, this.x(i).dims))
  }

  fail(expected: string, found: string): InputError {
    return new InputError({ where: `graph ${this.g.name}: gradient of ${this.node.opType}`, expected, found })
  }

  /** The dimensions of a value; throws unless all are numbers. */
  fixed(value: Handle): number[] {
    if (!isStatic(value.dims)) throw this.fail('sizes known while building', showDims(value.dims))
    return [...value.dims]
  }
}

/** Broadcasts `value` to the shape of `like`. */
export function expandTo(g: GraphBuilder, value: Handle, like: Handle): Handle {
  if (sameDims(value.dims, like.dims)) return value
  if (isStatic(like.dims)) return g.expand(value, like.dims)
  return g.node(
    'Expand',
    [value, g.shapeOf(like)],
    {},
    { outputs: [{ dtype: value.dtype, dims: like.dims }] },
  )[0]
}

export function zerosLike(g: GraphBuilder, like: Handle): Handle {
  return expandTo(g, g.constant(0, like.dtype), like)
}

/**
 * Sums `value`, loose with respect to `full`, over the axes along which `target` was broadcast to `full`. Along an axis
 * that `value` has not expanded, its elements are multiplied by the size of `full`.
 */
export function reduceTo(
  g: GraphBuilder,
  value: Handle,
  full: readonly Dim[],
  target: readonly Dim[],
): Handle {
  const lead = full.length - target.length
  const sumAxes: number[] = []
  let repeats = 1
  for (let i = 0; i < full.length; i++) {
    const wanted: Dim = i < lead ? 1 : target[i - lead]
    if (wanted === full[i]) continue
    const at = i - full.length + value.dims.length
    if (at >= 0 && value.dims[at] === full[i]) sumAxes.push(at)
    else if (typeof full[i] === 'number') repeats *= full[i] as number
    else {
      throw new InputError({
        where: `graph ${g.name}: gradients`,
        expected: 'sizes known while building along a broadcast axis',
        found: `${showDims(value.dims)} for ${showDims(full)}`,
        remedy: 'give the graph a fixed batch size',
      })
    }
  }
  const scaled = repeats === 1 ? value : g.mul(value, repeats)
  const extra = Math.max(0, value.dims.length - target.length)
  // If only whole leading axes are summed, drop them in the reduction instead of reshaping afterwards.
  if (sumAxes.length > 0 && sumAxes.length === extra && sumAxes.at(-1) === extra - 1)
    return g.reduceSum(scaled, sumAxes)
  const summed = sumAxes.length === 0 ? scaled : g.reduceSum(scaled, sumAxes, true)
  return extra === 0 ? summed : g.reshape(summed, summed.dims.slice(extra))
}
