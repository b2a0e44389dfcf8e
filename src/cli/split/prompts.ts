import { InputError } from '../../core/errors.ts'
import { readText } from '../../core/files.ts'
import type { PretrainedModel } from '../../model/weights/pretrained.ts'
import type { Io } from '../io.ts'

/** How a user says what to go on from; exactly one, else standard input. */
export interface PromptOptions {
  readonly prompt?: string
  readonly promptFile?: string
  readonly prompts?: string
  readonly ids?: readonly number[]
}

const MAX_PROMPT_BYTES = 4 * 1024 * 1024
const MAX_PROMPTS = 10_000

/** The prompts as token ids, at least one. Throws InputError. */
export async function readPrompts(
  options: PromptOptions,
  { source, tokenizer }: Pick<PretrainedModel, 'source' | 'tokenizer'>,
  io: Io,
): Promise<(readonly number[])[]> {
  const given = (
    [
      ['--prompt', options.prompt],
      ['--prompt-file', options.promptFile],
      ['--prompts', options.prompts],
      ['--ids', options.ids],
    ] as const
  ).filter(([, value]) => value !== undefined)
  if (given.length > 1) {
    const found = given.map(([flag]) => flag).join(' and ')
    throw new InputError({ where: 'prompt', expected: 'one way to give it', found })
  }
  const { vocabulary, id } = source.model
  const beyond = options.ids?.find((one) => one >= vocabulary)
  if (beyond !== undefined) {
    const expected = `ids in 0..${vocabulary - 1}, the vocabulary of ${id}`
    throw new InputError({ where: '--ids', expected, found: String(beyond) })
  }
  if (options.ids !== undefined) return [options.ids]
  if (tokenizer === null) {
    throw new InputError({
      where: 'prompt',
      expected: `token ids: ${id} has no tokenizer`,
      found: 'text',
      remedy: 'say --ids 1,2,3',
    })
  }
  const texts = await readTexts(options, io)
  return texts.map((text) => someTokens(tokenizer.encode(text)))
}

async function readTexts({ prompt, promptFile, prompts }: PromptOptions, io: Io): Promise<string[]> {
  if (prompt !== undefined) return [prompt]
  if (promptFile !== undefined) return [readText(promptFile, MAX_PROMPT_BYTES)]
  if (prompts === undefined) return [await readInput(io)]
  const lines = readText(prompts, MAX_PROMPT_BYTES)
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '')
  if (lines.length >= 1 && lines.length <= MAX_PROMPTS) return lines
  const expected = `1 to ${MAX_PROMPTS} prompts, one a line`
  throw new InputError({ where: prompts, expected, found: String(lines.length) })
}

/** Standard input until its end, capped. */
async function readInput(io: Io): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of io.input?.() ?? []) {
    bytes += chunk.length
    if (bytes > MAX_PROMPT_BYTES) {
      const expected = `at most ${MAX_PROMPT_BYTES} bytes`
      throw new InputError({ where: 'standard input', expected, found: 'more' })
    }
    chunks.push(chunk)
  }
  const text = Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '')
  if (text !== '') return text
  throw new InputError({
    where: 'prompt',
    expected: 'a text',
    found: 'nothing',
    remedy: 'say --prompt, --prompt-file, --prompts or --ids, or pipe a text in',
  })
}

function someTokens(ids: readonly number[]): readonly number[] {
  if (ids.length > 0) return ids
  throw new InputError({ where: 'prompt', expected: 'at least one token', found: 'none' })
}
