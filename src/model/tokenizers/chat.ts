import * as library from '@huggingface/jinja'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createContext, Script } from 'node:vm'
import { z } from 'zod'
import { EdgewiseError, InputError, show } from '../../core/errors.ts'
import { readText } from '../../core/files.ts'
import { check } from '../../core/schema.ts'
import { parseObject } from '../json.ts'
import type { ChatMessage, ChatTemplate } from './types.ts'

/** The used part of @huggingface/jinja, whose own types do not resolve under Node's module rules. */
interface Jinja {
  readonly Environment: new () => { set(name: string, value: unknown): unknown }
  readonly Interpreter: new (environment: object) => { run(program: object): { readonly value: unknown } }
  readonly tokenize: (text: string, options: { lstrip_blocks: boolean; trim_blocks: boolean }) => object
  readonly parse: (tokens: object) => object
}
const { Environment, Interpreter, tokenize, parse } = library as unknown as Jinja

const MAX_TEMPLATE_BYTES = 256 * 1024
const MAX_CONFIG_BYTES = 128 * 1024 * 1024
const MAX_DEPTH = 64
const MAX_RANGE = 10_000
/** Longest rendered prompt, in UTF-16 units. */
const MAX_TEXT = 4 * 1024 * 1024
/** A template is code that comes with the weights: it must not block the server for long. */
const MAX_RENDER_SECONDS = 2

const tokenSchema = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish()
const namedSchema = z.array(z.looseObject({ name: z.string(), template: z.string() })).max(64)
const configSchema = z.looseObject({
  chat_template: z.union([z.string(), namedSchema], 'a template or a list of named ones').nullish(),
  bos_token: tokenSchema,
  eos_token: tokenSchema,
  unk_token: tokenSchema,
  pad_token: tokenSchema,
})

/** For a model without a template: the contents, one per line, which the model continues. */
export const PLAIN_CHAT: ChatTemplate = {
  origin: null,
  problem: null,
  hasSpecialTokens: false,
  render: (messages) => messages.map(({ content }) => content).join('\n'),
}

/**
 * The chat template of a Hugging Face directory: chat_template.jinja, otherwise `chat_template` of
 * tokenizer_config.json (from a named list the one called `default`), otherwise PLAIN_CHAT. The model opens even if the
 * template cannot be used: `problem` then says why, and `render` throws it.
 */
export function openChat(folder: string): ChatTemplate {
  const configPath = join(folder, 'tokenizer_config.json')
  const jinjaPath = join(folder, 'chat_template.jinja')
  const named = existsSync(jinjaPath)
  const origin = named ? jinjaPath : `${configPath}: chat_template`
  try {
    const config = existsSync(configPath) ? readConfig(configPath) : {}
    const text = named ? readText(jinjaPath, MAX_TEMPLATE_BYTES) : templateOf(config, origin)
    return text === null ? PLAIN_CHAT : chatTemplate(text, origin, specialTokens(config))
  } catch (error) {
    if (!(error instanceof EdgewiseError)) throw error
    return unusable(origin, error)
  }
}

/**
 * Compiles a Jinja template as transformers renders it, with `messages`, `add_generation_prompt` (true) and the special
 * tokens by name. It has no access to the time (`strftime_now` is undefined), so that the same messages give the same
 * prompt on any day. Throws InputError for a text that is not a template.
 */
export function chatTemplate(
  template: string,
  origin: string,
  tokens: Readonly<Record<string, string>> = {},
): ChatTemplate {
  const bytes = Buffer.byteLength(template)
  if (bytes > MAX_TEMPLATE_BYTES) {
    throw new InputError({
      where: origin,
      expected: `at most ${MAX_TEMPLATE_BYTES} bytes`,
      found: `${bytes} bytes`,
    })
  }
  const program = parseTemplate(template, origin)
  const render = (messages: readonly ChatMessage[]): string => {
    const environment = new Environment()
    const globals = { ...GLOBALS, ...tokens, messages, add_generation_prompt: true }
    for (const [name, value] of Object.entries(globals)) environment.set(name, value)
    const rendered = new Interpreter(environment).run(program)
    if (typeof rendered.value !== 'string') throw new Error('the template gives no text')
    if (rendered.value.length > MAX_TEXT) throw new Error(`the text is longer than ${MAX_TEXT} characters`)
    return rendered.value
  }
  return {
    origin,
    problem: null,
    hasSpecialTokens: true,
    render(messages) {
      try {
        return inTime(() => render(messages))
      } catch (error) {
        throw new InputError(
          { where: 'messages', expected: "what the model's chat template takes", found: reason(error) },
          { cause: error },
        )
      }
    },
  }
}

const GLOBALS: Readonly<Record<string, unknown>> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
  raise_exception(message: unknown): never {
    throw new Error(String(message))
  },
  range(first: number, last?: number, step = 1): number[] {
    const [from, to] = last === undefined ? [0, first] : [first, last]
    const count = Math.max(0, Math.ceil((to - from) / step))
    if (!(count <= MAX_RANGE)) throw new Error(`range() of more than ${MAX_RANGE} numbers`)
    return Array.from({ length: count }, (_, i) => from + i * step)
  },
}

/**
 * Runs `job` with a time limit, which in one thread only node:vm can enforce. The script is just a call of `job`: the
 * template is never compiled to JavaScript.
 */
function inTime(job: () => string): string {
  const call = new Script('job()')
  return call.runInContext(createContext({ job }), { timeout: 1000 * MAX_RENDER_SECONDS }) as string
}

function reason(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException
  return code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
    ? `a template that takes more than ${MAX_RENDER_SECONDS} s`
    : show(message, 400)
}

function parseTemplate(template: string, origin: string): object {
  try {
    return parse(tokenize(template, { lstrip_blocks: true, trim_blocks: true }))
  } catch (error) {
    throw new InputError(
      { where: origin, expected: 'a Jinja template', found: show((error as Error).message) },
      { cause: error },
    )
  }
}

function unusable(origin: string, problem: EdgewiseError): ChatTemplate {
  return {
    origin,
    problem: problem.message,
    hasSpecialTokens: true,
    render() {
      throw new InputError(
        {
          where: 'messages',
          expected: 'a model whose chat template can be used',
          found: 'one that is damaged, too large or beyond what is supported',
          remedy: 'ask for a completion of a prompt instead',
        },
        { cause: problem },
      )
    },
  }
}

type Config = z.infer<typeof configSchema>

function readConfig(path: string): Config {
  return check(configSchema, parseObject(readText(path, MAX_CONFIG_BYTES), path, MAX_DEPTH), path)
}

function templateOf({ chat_template: given }: Config, origin: string): string | null {
  if (given === undefined || given === null || typeof given === 'string') return given ?? null
  const found = given.find(({ name }) => name === 'default')
  if (found !== undefined) return found.template
  const names = show(given.map(({ name }) => name).join(', '))
  throw new InputError({ where: origin, expected: 'a template named default', found: names })
}

function specialTokens(config: Config): Record<string, string> {
  const names = ['bos_token', 'eos_token', 'unk_token', 'pad_token'] as const
  return Object.fromEntries(
    names.flatMap((name) => {
      const token = config[name]
      if (token === undefined || token === null) return []
      return [[name, typeof token === 'string' ? token : token.content]]
    }),
  )
}
