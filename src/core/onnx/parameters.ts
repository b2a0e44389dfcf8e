import { InputError } from '../errors.ts'
import type { GraphBuilder } from './builder.ts'
import { showDims } from './dims.ts'
import type { Handle } from './graph.ts'
import { sizeOf } from './tensor.ts'

/** Layout of named parameters concatenated in one flat vector. */
export interface ParameterLayout {
  /** Length of the flat vector. */
  readonly size: number
  readonly entries: readonly ParameterEntry[]
}

/** Shape and position of one parameter. */
interface ParameterEntry {
  readonly name: string
  readonly dims: readonly number[]
  /** Position of the first element. */
  readonly offset: number
  readonly size: number
}

/** Lays parameters out in the given order. */
export function layoutParameters(
  specs: readonly { name: string; dims: readonly number[] }[],
): ParameterLayout {
  const entries: ParameterEntry[] = []
  let offset = 0
  for (const { name, dims } of specs) {
    if (entries.some((entry) => entry.name === name)) {
      throw new InputError({ where: 'parameter layout', expected: 'distinct names', found: `${name} twice` })
    }
    entries.push({ name, dims: [...dims], offset, size: sizeOf(dims) })
    offset += sizeOf(dims)
  }
  return { size: offset, entries }
}

/** One Split and one Reshape for each parameter: views into the flat vector [layout.size], by name. */
export function parameterViews(
  g: GraphBuilder,
  flat: Handle,
  layout: ParameterLayout,
): Record<string, Handle> {
  if (flat.dims.length !== 1 || flat.dims[0] !== layout.size) {
    throw new InputError({
      where: `graph ${g.name}: parameters`,
      expected: `[${layout.size}]`,
      found: showDims(flat.dims),
    })
  }
  const { entries } = layout
  const parts =
    entries.length === 1
      ? [flat]
      : g.split(
          flat,
          entries.map((entry) => entry.size),
          0,
        )
  return Object.fromEntries(
    entries.map(({ name, dims }, i) => [name, dims.length === 1 ? parts[i] : g.reshape(parts[i], dims)]),
  )
}

/** The part of a flat array that holds one parameter, as a view. */
export function parameterOf(layout: ParameterLayout, flat: Float32Array, name: string): Float32Array {
  const found = layout.entries.find((entry) => entry.name === name)
  if (found === undefined || flat.length !== layout.size) {
    throw new InputError({
      where: 'parameter layout',
      expected: `${name} in ${layout.size} values`,
      found: `${flat.length} values`,
    })
  }
  return flat.subarray(found.offset, found.offset + found.size)
}
