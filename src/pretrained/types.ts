import type { WeightSource } from '../model/source.ts'

/** Text to token ids and back. */
export interface TextTokenizer {
  readonly vocabulary: number
  /** Ids of a text as a prompt, the beginning-of-text token included where the model wants one. */
  encode(text: string): number[]
  /** The text of ids; special tokens are left out. */
  decode(ids: readonly number[]): string
  /**
   * Decodes token by token: `push` gives the text that is complete so far (a character may span tokens), `end` the rest.
   * All of it equals `decode` of all ids. A text that continues a prompt: push the prompt's ids first, for a tokenizer
   * may drop the space before a text's first word.
   */
  stream(): { push(id: number): string; end(): string }
}

/** A real model, opened from disk. Weights are read when they are asked for. */
export interface PretrainedModel {
  readonly source: WeightSource
  /** Null where the folder has none: such a model takes and gives ids. */
  readonly tokenizer: TextTokenizer | null
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
