import { InputError } from '../../core/errors.ts'
import { decodeModel } from '../../core/onnx/read.ts'
import { actorLayout } from '../actor/actor.ts'
import type { ActorSpec } from '../actor/actor.ts'
import type { PolicyNumbers } from '../actor/learned.ts'

/** Metadata keys of policy.onnx. */
export const POLICY_METADATA = {
  schema: 'edgewise.policy',
  observation: 'edgewise.observation',
  action: 'edgewise.action',
} as const

/**
 * Reads the actor's numbers from the initializers of policy.onnx, for the kernel. `spec` has no critics. Throws
 * InputError for one that is missing, has another shape, lies in another file, or is not finite.
 */
export function numbersFromModel(bytes: Uint8Array, spec: ActorSpec, where: string): PolicyNumbers {
  const stored = new Map(
    decodeModel(bytes, where).graph.initializers.map((initializer) => [initializer.name, initializer]),
  )
  const read = (name: string, dims: readonly number[]): Float32Array => {
    const found = stored.get(name)
    const expected = `float32[${dims.join(', ')}] inside the file`
    if (found === undefined || !('tensor' in found)) {
      throw new InputError({ where: `${where}: ${name}`, expected, found: found ? 'external data' : 'none' })
    }
    const { dtype, data } = found.tensor
    if (!(data instanceof Float32Array) || found.tensor.dims.join() !== dims.join()) {
      const shape = `${dtype}[${found.tensor.dims.join(', ')}]`
      throw new InputError({ where: `${where}: ${name}`, expected, found: shape })
    }
    const bad = data.findIndex((value) => !Number.isFinite(value))
    if (bad >= 0) {
      const value = String(data[bad])
      throw new InputError({ where: `${where}: ${name}[${bad}]`, expected: 'finite numbers', found: value })
    }
    return data
  }
  // Every parameter is found in the file before memory of the stated sizes is allocated.
  const layout = actorLayout(spec)
  const parts = layout.entries.map(({ name, dims, offset }) => ({ offset, data: read(name, dims) }))
  const size = [spec.observationSize]
  const normaliser = { mean: read('normaliser.mean', size), scale: read('normaliser.scale', size) }
  const parameters = new Float32Array(layout.size)
  for (const { offset, data } of parts) parameters.set(data, offset)
  return { spec, parameters, normaliser }
}
