/** Text to token ids and back. */
export interface TextTokenizer {
  readonly vocabulary: number
  /**
   * Ids of a text as a prompt, the beginning-of-text token included where the model wants one. `bare`: nothing is added,
   * for a text that has such tokens already, as a chat template's.
   */
  encode(text: string, bare?: boolean): number[]
  /** The text of ids; special tokens are left out. */
  decode(ids: readonly number[]): string
  /**
   * Decodes token by token: `push` gives the text that is complete so far (a character may span tokens), `end` the rest.
   * All of it equals `decode` of all ids. A text that continues a prompt: push the prompt's ids first, for a tokenizer
   * may drop the space before a text's first word.
   */
  stream(): { push(id: number): string; end(): string }
}

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant'
  readonly content: string
}

/** How a conversation becomes a prompt that ends where the assistant's next message begins. */
export interface ChatTemplate {
  /** Where it stands; null: the model has none, and messages are joined as they are. */
  readonly origin: string | null
  /** Why it cannot be used, where it cannot. */
  readonly problem: string | null
  /** Whether the text has the model's special tokens: encode it bare. */
  readonly hasSpecialTokens: boolean
  /** Throws InputError for messages that the template refuses, e.g. roles that do not alternate. */
  render(messages: readonly ChatMessage[]): string
}
