import { createHash } from 'node:crypto'
import { InputError } from '../../core/errors.ts'
import type { RandomStream } from '../../core/random.ts'
import type { SamplingParams } from '../../run/executor/types.ts'
import type { ChatMessage, ChatTemplate, TextTokenizer } from '../../model/tokenizers/types.ts'
import { ApiError, badRequest } from './errors.ts'
import { chatSchema, checkBody, refuseUnsupported, textSchema } from './schemas.ts'
import type { ChatCompletionBody, CompletionBody } from './schemas.ts'
import type { CompletionRequest, ServedModel } from './types.ts'

/** OpenAI's default for /v1/completions. */
const DEFAULT_TEXT_TOKENS = 16
/**
 * No text of more characters a token than that fits a context (prose and code have 3 to 5): it is refused before it is
 * taken apart, for that blocks everyone.
 */
const MAX_CHARACTERS_PER_TOKEN = 16
const TWO_TO_32 = 4294967296

/** Which of the two kinds of completion. */
export type CompletionKind = 'chat' | 'text'

/** How the answer to a completion is written, and where its text ends: what concerns HTTP alone. */
export interface AnswerFormat {
  readonly kind: CompletionKind
  readonly stops: readonly string[]
  readonly stream: boolean
  readonly includeUsage: boolean
}

/** What a completion's body is read with: the model, and what connection and headers say. */
interface ParseContext {
  readonly model: ServedModel
  readonly tokenizer: TextTokenizer
  readonly chat: ChatTemplate
  readonly random: RandomStream
  readonly principal: string
  readonly key: string | null
  readonly arrivedSeconds: number
  /** Of the header; the sooner of it and the body's `timeout` counts. */
  readonly deadlineSeconds: number | null
}

/** Reads the body of a completion: what the service is to carry out, and how to answer. Throws ApiError (400, 404). */
export function parseCompletion(
  kind: CompletionKind,
  body: unknown,
  reading: ParseContext,
): { readonly request: CompletionRequest; readonly format: AnswerFormat } {
  const checked: ChatCompletionBody | CompletionBody =
    kind === 'chat' ? checkBody(chatSchema, body) : checkBody(textSchema, body)
  refuseUnsupported(body as object)
  if (checked.model !== reading.model.id) throw unknownModel(checked.model)
  const stream = checked.stream ?? false
  if (!stream && (checked.stream_options ?? null) !== null) {
    throw badRequest('invalid_value', 'stream_options: only with stream = true', 'stream_options')
  }
  const lengths = 'messages' in checked ? ofChat(checked, reading) : ofText(checked, reading)
  const { key, principal, arrivedSeconds, deadlineSeconds } = reading
  const named = [deadlineSeconds, checked.timeout ?? null].filter((seconds) => seconds !== null)
  return {
    request: {
      ...lengths,
      sampling: samplingOf(checked, reading),
      key,
      arrivedSeconds,
      deadlineSeconds: named.length === 0 ? null : Math.min(...named),
      principal,
    },
    format: {
      kind,
      stops: typeof checked.stop === 'string' ? [checked.stop] : (checked.stop ?? []),
      stream,
      includeUsage: checked.stream_options?.include_usage ?? false,
    },
  }
}

/** 404: the request names a model that is not served here. */
export function unknownModel(id: string): ApiError {
  return new ApiError({
    status: 404,
    type: 'invalid_request_error',
    code: 'model_not_found',
    message: `The model \`${id.slice(0, 128)}\` does not exist or you do not have access to it.`,
    param: 'model',
  })
}

type Lengths = Pick<CompletionRequest, 'prompt' | 'maxNewTokens'>

function ofChat(body: ChatCompletionBody, reading: ParseContext): Lengths {
  const { chat, tokenizer, model } = reading
  const messages = body.messages.map(({ role, content }): ChatMessage => {
    const text = typeof content === 'string' ? content : content.map((part) => part.text).join('')
    return { role: role === 'developer' ? 'system' : role, content: text }
  })
  const characters = messages.reduce((sum, { content }) => sum + content.length, 0)
  checkCharacters(characters, model, 'messages')
  const prompt = readText('messages', () => {
    const text = chat.render(messages)
    checkCharacters(text.length, model, 'messages')
    return tokenizer.encode(text, chat.hasSpecialTokens)
  })
  const most = body.max_completion_tokens ?? body.max_tokens ?? null
  return { prompt, maxNewTokens: fitting(prompt.length, most, model, 'messages') }
}

function ofText({ prompt: given, max_tokens }: CompletionBody, reading: ParseContext): Lengths {
  const { tokenizer, model } = reading
  // A list holds one string, one list of ids, or ids.
  const inner = Array.isArray(given) && typeof given[0] !== 'number' ? given[0] : given
  const prompt =
    typeof inner === 'string' ? encodeText(inner, reading) : checkIds(inner as readonly number[], tokenizer)
  const most = max_tokens ?? DEFAULT_TEXT_TOKENS
  return { prompt, maxNewTokens: fitting(prompt.length, most, model, 'prompt') }
}

function encodeText(text: string, { tokenizer, model }: ParseContext): number[] {
  checkCharacters(text.length, model, 'prompt')
  return readText('prompt', () => tokenizer.encode(text))
}

function checkIds(prompt: readonly number[], { vocabulary }: TextTokenizer): readonly number[] {
  const wrong = prompt.findIndex((id) => id >= vocabulary)
  if (wrong < 0) return prompt
  const message = `prompt: expected token ids below ${vocabulary}, found ${prompt[wrong]}`
  throw badRequest('invalid_value', message, `prompt[${wrong}]`)
}

/** Runs what reads text; its errors are told without what they say of this machine. */
function readText<T>(param: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    const { expected, found } = error.problem
    throw badRequest('invalid_value', `${param}: expected ${expected}, found ${found}`, param)
  }
}

function checkCharacters(characters: number, { contextTokens }: ServedModel, param: string): void {
  if (characters <= MAX_CHARACTERS_PER_TOKEN * contextTokens) return
  throw badRequest(
    'context_length_exceeded',
    `This model's maximum context length is ${contextTokens} tokens. However, your ${param} has ${characters} characters, more than so many tokens hold.`,
    param,
  )
}

/** How many tokens may come: as many as were asked for, else what the context leaves. */
function fitting(prompt: number, most: number | null, { contextTokens }: ServedModel, param: string): number {
  if (prompt === 0)
    throw badRequest('invalid_value', `${param}: expected at least one token, found none`, param)
  const asked = most ?? Math.max(1, contextTokens - prompt)
  if (prompt + asked <= contextTokens) return asked
  throw badRequest(
    'context_length_exceeded',
    `This model's maximum context length is ${contextTokens} tokens. However, you requested ${prompt + asked} tokens (${prompt} in the ${param}, ${asked} in the completion). Please reduce the length of the ${param} or completion.`,
    param,
  )
}

function samplingOf(body: ChatCompletionBody | CompletionBody, reading: ParseContext): SamplingParams {
  const { temperature, top_p, top_k, seed } = body
  return {
    temperature: temperature ?? 1,
    topP: top_p ?? 1,
    topK: Math.max(0, top_k ?? 0),
    seed: seed === undefined || seed === null ? seedOf(reading) : unsigned(seed),
  }
}

/** Asked for again under the same key, a request must be the same: its seed comes of the key. */
function seedOf({ key, principal, random }: ParseContext): number {
  if (key === null) return random.integer(TWO_TO_32)
  return createHash('sha256').update(`${principal}\n${key}`).digest().readUInt32LE(0)
}

/** Seeds are not negative here: -1 is the largest, -2 the one before. */
function unsigned(seed: number): number {
  return seed < 0 ? seed + Number.MAX_SAFE_INTEGER + 1 : seed
}
