import { z } from 'zod'
import { badRequest } from './errors.ts'

/** Requests' longest stop sequence, in UTF-16 units. */
const MAX_STOP_LENGTH = 256
const MAX_STOPS = 4
const MAX_TEMPERATURE = 2
/** Seconds that a request may name as its deadline. */
export const MAX_TIMEOUT_SECONDS = 86_400

/** OpenAI takes null for a parameter that is left out. */
const count = z.int().min(1).max(Number.MAX_SAFE_INTEGER).nullish()
const stop = z.string().min(1).max(MAX_STOP_LENGTH)

const common = {
  model: z.string(),
  max_tokens: count,
  temperature: z.number().min(0).max(MAX_TEMPERATURE).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  top_k: z.int().min(-1).max(4_194_304).nullish(),
  seed: z.int().nullish(),
  stop: z
    .union([stop, z.array(stop).max(MAX_STOPS)], {
      error: `expected a string of 1 to ${MAX_STOP_LENGTH} characters or up to ${MAX_STOPS} of them`,
    })
    .nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
  timeout: z.number().positive().max(MAX_TIMEOUT_SECONDS).nullish(),
}

const textPart = z.object({
  type: z.literal('text', { error: 'expected "text": this model reads nothing else' }),
  text: z.string(),
})
const message = z.object({
  role: z.enum(['system', 'developer', 'user', 'assistant'], {
    error: 'expected system, developer, user or assistant: tools are not supported',
  }),
  content: z.union([z.string(), z.array(textPart).min(1)], {
    error: 'expected a string or a list of text parts',
  }),
})

export const chatSchema = z.object({
  ...common,
  messages: z.array(message).min(1),
  max_completion_tokens: count,
})

const ids = z.array(z.int().min(0)).min(1)
const promptForms = z.union([z.string(), z.array(z.string()).length(1), ids, z.array(ids).length(1)], {
  error: 'expected one prompt: a string, a list of one string, or a list of token ids',
})
export const textSchema = z.object({ ...common, prompt: promptForms })

/** Body of POST /v1/chat/completions, checked. */
export type ChatCompletionBody = z.infer<typeof chatSchema>
/** Body of POST /v1/completions, checked. */
export type CompletionBody = z.infer<typeof textSchema>

/** Checks a body; the first problem becomes a 400 that names the parameter, as OpenAI names it. */
export function checkBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body)
  if (result.success) return result.data
  const { path, message: problem } = result.error.issues[0]
  const param = path.reduce<string>(
    (text, part) =>
      text + (typeof part === 'number' ? `[${part}]` : `${text === '' ? '' : '.'}${String(part)}`),
    '',
  )
  if (param === '') throw badRequest('invalid_body', `the body must be a JSON object: ${problem}`)
  throw badRequest('invalid_value', `${param}: ${problem}`, param)
}

/** Parameters that would change the answer and that nobody here carries out, with the values that ask for nothing. */
const REFUSED: readonly (readonly [name: string, harmless: (value: unknown) => boolean, why: string])[] = [
  ['n', (value) => value === 1, 'one answer a request, n = 1'],
  ['best_of', (value) => value === 1, 'one answer a request, best_of = 1'],
  ['echo', (value) => value === false, 'the prompt is not given back, echo = false'],
  ['suffix', (value) => value === '', 'text is only continued'],
  ['logprobs', (value) => value === false, 'log probabilities are not given'],
  ['top_logprobs', (value) => value === 0, 'log probabilities are not given'],
  ['tools', isEmpty, 'tools are not supported'],
  ['tool_choice', (value) => value === 'none' || value === 'auto', 'tools are not supported'],
  ['functions', isEmpty, 'functions are not supported'],
  ['function_call', (value) => value === 'none' || value === 'auto', 'functions are not supported'],
  ['response_format', isPlainText, 'only { "type": "text" }'],
  ['presence_penalty', (value) => value === 0, 'penalties are not supported'],
  ['frequency_penalty', (value) => value === 0, 'penalties are not supported'],
  ['logit_bias', isEmpty, 'biases are not supported'],
  ['modalities', (value) => JSON.stringify(value) === '["text"]', 'text only'],
  ['audio', () => false, 'text only'],
  ['web_search_options', () => false, 'there is no search'],
]

/** Throws 400 for a parameter that is known, asked for and not supported. Names that nobody knows are ignored. */
export function refuseUnsupported(body: object): void {
  for (const [name, harmless, why] of REFUSED) {
    if (!Object.hasOwn(body, name)) continue
    const value = (body as Record<string, unknown>)[name]
    if (value === null || harmless(value)) continue
    throw badRequest('unsupported_parameter', `${name}: ${why}`, name)
  }
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0
}

function isPlainText(value: unknown): boolean {
  return typeof value === 'object' && value !== null && (value as { type?: unknown }).type === 'text'
}
