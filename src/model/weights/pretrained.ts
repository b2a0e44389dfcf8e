import type { WeightSource } from '../graphs/source.ts'
import type { ChatTemplate, TextTokenizer } from '../tokenizers/types.ts'

/** A real model, opened from disk. Weights are read when they are asked for. */
export interface PretrainedModel {
  readonly source: WeightSource
  /** Null where the folder has none: such a model takes and gives ids. */
  readonly tokenizer: TextTokenizer | null
  readonly chat: ChatTemplate
  /** Tokens that end a text. */
  readonly stopIds: readonly number[]
  /**
   * Sha256 (hex) over the shape and samples of every tensor: tells an edge and a cloud that they hold the same
   * weights. Detects a wrong file; no defence against a forged one.
   */
  readonly fingerprint: string
  /** The file or folder it was opened from. */
  readonly path: string
}
