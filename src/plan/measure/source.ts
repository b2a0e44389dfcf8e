import { attentionUnits } from '../../model/spec.ts'
import type { ModelSpec } from '../../model/spec.ts'
import type { WeightSource } from '../../model/graphs/source.ts'
import { attentionWeights, embeddingWeights, ffnWeights, lmHeadWeights } from '../../model/graphs/weights.ts'
import type { WeightFill } from '../../model/graphs/weights.ts'

/** Random weights of a model's shape, new ones at every call; for timing, which does not depend on their values. */
export function randomSource(model: ModelSpec, fill: WeightFill): WeightSource {
  return {
    model,
    embedding: () => embeddingWeights(model, fill),
    attention: () => attentionWeights(model, attentionUnits(model), fill),
    ffn: () => ffnWeights(model, fill),
    head: () => lmHeadWeights(model, fill),
    exitLayers: [],
    exitHead: (layer) => {
      throw new RangeError(`exit head: expected one of no layers, found ${layer}`)
    },
  }
}
