import type { Feeds } from '../../core/engine/types.ts'
import { subgraphTensorNames } from '../../model/graphs/subgraphTypes.ts'
import type { ModelSpec } from '../../model/spec.ts'
import type { WeightFill } from '../../model/graphs/weights.ts'
import { tensor } from '../../core/onnx/tensor.ts'
import type { Tensor } from '../../core/onnx/tensor.ts'

/** One run: `tokens` tokens after `position` cached tokens; in a batch, one token of each sequence. */
export interface Step {
  readonly tokens: number
  readonly position: number
}

/** Capacity of an empty cache: one position, which is masked. */
export const EMPTY_CAPACITY = 1

/**
 * Inputs of a subgraph with the sizes to measure, for the names that it has. Values are normal draws, because time does
 * not depend on them. `capacity` is that of the caches.
 */
export function subgraphFeeds(
  model: ModelSpec,
  names: readonly string[],
  step: Step,
  batch: number,
  capacity: number,
  fill: WeightFill,
): Feeds {
  const rows = batch === 1 ? step.tokens : batch
  const make: Record<string, () => Tensor> = {
    ids: () => integers(rows, (i) => (i * 7919) % model.vocabulary),
    // With a full context there is no position left for one more token, yet the profile's last knot is there.
    positions: () =>
      integers(rows, (i) => Math.min(model.contextTokens - 1, step.position + (batch === 1 ? i : 0))),
    x: () => tensor('float32', [rows, model.width], fill(rows * model.width, 0, 1)),
    hidden: () => tensor('float32', [rows, model.ffnWidth], fill(rows * model.ffnWidth, 0, 1)),
  }
  for (let b = 0; b < batch; b++)
    make[subgraphTensorNames.mask(b, batch)] = () => mask(step.position, capacity)
  return Object.fromEntries(
    names.flatMap((name) => (Object.hasOwn(make, name) ? [[name, make[name]()]] : [])),
  )
}

function integers(count: number, value: (i: number) => number): Tensor {
  return tensor(
    'int64',
    [count],
    BigInt64Array.from({ length: count }, (_, i) => BigInt(value(i))),
  )
}

function mask(held: number, capacity: number): Tensor {
  return tensor('float32', [1, capacity], new Float32Array(capacity).fill(-Infinity).fill(0, 0, held))
}
