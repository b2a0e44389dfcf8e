import type { CompletionKind } from './parseCompletion.ts'
import type { ServedModel } from './types.ts'

interface Usage {
  readonly prompt_tokens: number
  readonly completion_tokens: number
  readonly total_tokens: number
}

/** Token counts of an answer, in OpenAI's form. */
export function usageOf(promptTokens: number, completionTokens: number): Usage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  }
}

type FinishReason = 'stop' | 'length'

/** One completion's answers in OpenAI's shapes (https://platform.openai.com/docs/api-reference), whole or in chunks. */
export class CompletionFormatter {
  readonly id: string
  private readonly kind: CompletionKind
  private readonly createdSeconds: number
  private readonly model: ServedModel
  private readonly withUsage: boolean

  /** `withUsage`: chunks have a `usage`, which is null but in the last. */
  constructor(
    kind: CompletionKind,
    name: string,
    createdSeconds: number,
    model: ServedModel,
    withUsage: boolean,
  ) {
    this.kind = kind
    this.id = (kind === 'chat' ? 'chatcmpl-' : 'cmpl-') + name
    this.createdSeconds = createdSeconds
    this.model = model
    this.withUsage = withUsage
  }

  whole(text: string, finish: FinishReason, usage: Usage): object {
    const content =
      this.kind === 'chat' ? { message: { role: 'assistant', content: text, refusal: null } } : { text }
    const choice = { index: 0, ...content, logprobs: null, finish_reason: finish }
    return { ...this.head('chat.completion'), choices: [choice], usage }
  }

  /** A chat's first chunk says who speaks; a text's first one says its text. */
  get opening(): object | null {
    return this.kind === 'chat' ? this.chunk({ delta: { role: 'assistant', content: '' } }, null) : null
  }

  piece(text: string): object {
    return this.chunk(this.kind === 'chat' ? { delta: { content: text } } : { text }, null)
  }

  ending(finish: FinishReason): object {
    return this.chunk(this.kind === 'chat' ? { delta: {} } : { text: '' }, finish)
  }

  usage(usage: Usage): object {
    return { ...this.head('chat.completion.chunk'), choices: [], usage }
  }

  private chunk(content: object, finish: FinishReason | null): object {
    const choice = { index: 0, ...content, logprobs: null, finish_reason: finish }
    const usage = this.withUsage ? { usage: null } : {}
    return { ...this.head('chat.completion.chunk'), choices: [choice], ...usage }
  }

  private head(chatObject: string): object {
    return {
      id: this.id,
      object: this.kind === 'chat' ? chatObject : 'text_completion',
      created: this.createdSeconds,
      model: this.model.id,
      system_fingerprint: `fp_${this.model.fingerprint.slice(0, 12)}`,
    }
  }
}

/** A model in OpenAI's shape; the context's length is an addition that others make, too. */
export function modelObject({ id, createdSeconds, contextTokens }: ServedModel): object {
  return { id, object: 'model', created: createdSeconds, owned_by: 'edgewise', context_length: contextTokens }
}
