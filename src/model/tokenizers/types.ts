/** Converts text to token ids and back. */
export interface TextTokenizer {
  readonly vocabulary: number
  /**
   * Encodes a prompt, with the beginning-of-text token if the model needs one. `bare`: adds nothing, for a text that
   * contains its special tokens already, such as a rendered chat template.
   */
  encode(text: string, bare?: boolean): number[]
  /** Decodes ids; special tokens are omitted. */
  decode(ids: readonly number[]): string
  /**
   * Decodes token by token: `push` returns the text that is complete so far (a character may span tokens), `end` the
   * rest. Together they equal `decode` of all ids. To continue a prompt, push the prompt's ids first, because a
   * tokenizer may drop the space before the first word.
   */
  stream(): { push(id: number): string; end(): string }
}

/** One message of a conversation. */
export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant'
  readonly content: string
}

/** Converts a conversation to a prompt that ends where the assistant's next message begins. */
export interface ChatTemplate {
  /** Where the template was found; null: the model has none, and messages are joined by line feeds. */
  readonly origin: string | null
  /** Why the template cannot be used; null if it can. */
  readonly problem: string | null
  /** Whether rendered text contains the model's special tokens: then encode it with `bare`. */
  readonly hasSpecialTokens: boolean
  /** Renders messages. Throws InputError for messages that the template rejects, e.g. roles that do not alternate. */
  render(messages: readonly ChatMessage[]): string
}
