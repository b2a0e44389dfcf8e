import { parameterOf } from '../../core/onnx/parameters.ts'
import { tensor } from '../../core/onnx/tensor.ts'
import type { Initializer } from '../../core/onnx/proto.ts'
import { decodeModel } from '../../core/onnx/read.ts'
import { encodeModel } from '../../core/onnx/write.ts'
import { actorLayout } from '../actor/actor.ts'
import type { PolicyNumbers } from '../actor/learned.ts'

/** Period with which the twin's biases repeat. */
const LEVELS = 3

/**
 * The same graph with last layers of zeros and few distinct biases, so that every row has many logits that are equal to
 * the last bit in any order of summation. Trained numbers hardly ever tie, but every engine must break ties in the same
 * order.
 */
export function tiedTwin(
  model: Uint8Array,
  numbers: PolicyNumbers,
): { model: Uint8Array; numbers: PolicyNumbers } {
  const layout = actorLayout(numbers.spec)
  const parameters = numbers.parameters.slice()
  const changed = new Map<string, Float32Array>()
  for (const { name, masked: _, usesRowFeatures } of numbers.spec.heads) {
    const parts = ['out.weight', 'out.bias', ...(usesRowFeatures ? ['prior.weight'] : [])]
    for (const part of parts) {
      const values = parameterOf(layout, parameters, `head.${name}.${part}`)
      values.forEach((_value, i) => (values[i] = part === 'out.bias' ? i % LEVELS : 0))
      changed.set(`head.${name}.${part}`, values)
    }
  }
  const decoded = decodeModel(model)
  const initializers = decoded.graph.initializers.map((initializer): Initializer => {
    const values = changed.get(initializer.name)
    if (values === undefined || !('tensor' in initializer)) return initializer
    return { name: initializer.name, tensor: tensor('float32', initializer.tensor.dims, values.slice()) }
  })
  return {
    model: encodeModel({ ...decoded, graph: { ...decoded.graph, initializers } }),
    numbers: { ...numbers, parameters },
  }
}
