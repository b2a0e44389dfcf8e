import type { ModelSpec } from '../spec.ts'
import type { AttentionWeights, EmbeddingWeights, FfnWeights, LmHeadWeights } from './weights.ts'

/**
 * Gives a model's float32 weights block by block on demand, because a model may be larger than memory. Each call may
 * read a file and transpose; the caller keeps what it needs. Rotary pairs are in the "half" layout.
 */
export interface WeightSource {
  readonly model: ModelSpec
  embedding(): EmbeddingWeights
  /** All units of one layer. */
  attention(layer: number): AttentionWeights
  ffn(layer: number): FfnWeights
  /** Final norm and LM head. */
  head(): LmHeadWeights
  /** Layers after which an early-exit head was trained, ascending; empty without any. */
  readonly exitLayers: readonly number[]
  /** Norm and head of the exit after the first `layer` layers. Throws RangeError if there is none. */
  exitHead(layer: number): LmHeadWeights
}
