import type { WeightSource } from '../graphs/source.ts'
import type { ChatTemplate, TextTokenizer } from '../tokenizers/types.ts'

/** A model with weights, opened from disk. Weights are read on demand. */
export interface PretrainedModel {
  readonly source: WeightSource
  /** Null if the folder has none: the model then takes and returns ids. */
  readonly tokenizer: TextTokenizer | null
  readonly chat: ChatTemplate
  /** Tokens that end a text. */
  readonly stopIds: readonly number[]
  /**
   * SHA-256 (hex) over the shape and samples of every tensor, by which edge and cloud check that they hold the same
   * weights. Detects a wrong file, not a forged one.
   */
  readonly fingerprint: string
  /** The file or folder from which it was opened. */
  readonly path: string
}
