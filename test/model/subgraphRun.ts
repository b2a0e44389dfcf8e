import type { Feeds, Fetched, Session } from '../../src/core/engine/types.ts'
import { subgraphTensorNames } from '../../src/model/graphs/subgraphTypes.ts'
import type { Subgraph, SubgraphPart } from '../../src/model/graphs/subgraphTypes.ts'
import { attentionUnits } from '../../src/model/spec.ts'
import type { ModelSpec } from '../../src/model/spec.ts'
import { tensor } from '../../src/core/onnx/tensor.ts'
import type { Tensor } from '../../src/core/onnx/tensor.ts'
import { range } from './support.ts'

/** A segment's caches of one sequence, fed as plain tensors; what is not held yet is garbage. */
export class Caches {
  readonly capacity: number
  held = 0
  private readonly model: ModelSpec
  private readonly parts: readonly { layer: number; units: number }[]
  private readonly arrays = new Map<string, Float32Array>()

  constructor(model: ModelSpec, segment: Subgraph, capacity: number) {
    this.model = model
    this.capacity = capacity
    this.parts = segment.parts.flatMap((part) =>
      part.kind === 'attention' && part.units.length > 0
        ? [{ layer: part.layer, units: part.units.length }]
        : [],
    )
    for (const { layer, units } of this.parts) {
      for (const kind of ['keys', 'values'])
        this.arrays.set(`${kind}.${layer}`, new Float32Array(units * capacity * model.headDim).fill(1e3))
    }
  }

  feeds(b = 0, batch = 1): Feeds {
    if (this.parts.length === 0) return {}
    const row = Float32Array.from({ length: this.capacity }, (_, i) => (i < this.held ? 0 : -Infinity))
    const out: Record<string, Tensor> = {
      [subgraphTensorNames.mask(b, batch)]: tensor('float32', [1, this.capacity], row),
    }
    for (const { layer, units } of this.parts) {
      const dims = [units, this.capacity, this.model.headDim]
      out[subgraphTensorNames.keys(layer, b, batch)] = tensor(
        'float32',
        dims,
        this.arrays.get(`keys.${layer}`)!,
      )
      out[subgraphTensorNames.values(layer, b, batch)] = tensor(
        'float32',
        dims,
        this.arrays.get(`values.${layer}`)!,
      )
    }
    return out
  }

  append(outputs: Fetched, tokens: number, b = 0, batch = 1): void {
    const { headDim } = this.model
    for (const { layer, units } of this.parts) {
      for (const [kind, name] of [
        ['keys', subgraphTensorNames.newKeys(layer, b, batch)],
        ['values', subgraphTensorNames.newValues(layer, b, batch)],
      ]) {
        const data = outputs[name].data as Float32Array
        for (let unit = 0; unit < units; unit++) {
          const from = data.subarray(unit * tokens * headDim, (unit + 1) * tokens * headDim)
          this.arrays.get(`${kind}.${layer}`)!.set(from, (unit * this.capacity + this.held) * headDim)
        }
      }
    }
    this.held += tokens
  }
}

/** Runs a segment for the next tokens of one sequence; inputs that the graph does not have are left out. */
export async function advance(
  session: Session,
  caches: Caches,
  tokens: number,
  inputs: Feeds,
): Promise<Fetched> {
  const all: Feeds = {
    ...inputs,
    ...caches.feeds(),
    positions: tensor('int64', [tokens], range(caches.held, caches.held + tokens)),
  }
  const wanted = Object.entries(all).filter(([name]) => session.inputNames.includes(name))
  const outputs = await session.run(Object.fromEntries(wanted))
  caches.append(outputs, tokens)
  return outputs
}

export function idsOf(ids: readonly number[]): Tensor {
  return tensor('int64', [ids.length], BigInt64Array.from(ids, BigInt))
}

export const data = (value: Tensor): Float32Array => value.data as Float32Array

/** Whole layers [from, to). */
export function wholeLayers(model: ModelSpec, from: number, to: number): SubgraphPart[] {
  const units = Array.from({ length: attentionUnits(model) }, (_, i) => i)
  return Array.from({ length: to - from }, (_, i): SubgraphPart[] => [
    { kind: 'attention', layer: from + i, units, residual: true },
    { kind: 'ffn', layer: from + i, part: 'whole' },
  ]).flat()
}

/** Everything from ids to logits. */
export function wholeModel(model: ModelSpec): Subgraph {
  return {
    input: 'ids',
    parts: [{ kind: 'embed' }, ...wholeLayers(model, 0, model.layers), { kind: 'head' }],
  }
}
