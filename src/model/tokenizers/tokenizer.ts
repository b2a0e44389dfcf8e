import * as library from '@huggingface/tokenizers'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { InputError, show } from '../../core/errors.ts'
import { readText } from '../../core/files.ts'
import { check } from '../../core/schema.ts'
import { parseObject } from '../json.ts'
import type { TextTokenizer } from './types.ts'

/** The used part of @huggingface/tokenizers, whose own types do not resolve under Node's module rules. */
interface Loaded {
  encode(text: string, options?: { add_special_tokens: boolean }): { ids: (number | undefined)[] }
  decode(
    ids: readonly number[],
    options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean },
  ): string
}
const { Tokenizer } = library as unknown as { Tokenizer: new (json: object, config: object) => Loaded }

const TOKENIZER_FILE = 'tokenizer.json'
/** The largest ones in use (vocabularies of 256,000) take about 34 MB. */
const MAX_TOKENIZER_BYTES = 128 * 1024 * 1024
const MAX_DEPTH = 64
const MAX_ID = 1 << 22

const id = z.int().min(0).max(MAX_ID)
/** What the library does not check itself: it uses ids as array indices. */
const tokenizerSchema = z.looseObject({
  model: z.looseObject({
    // Absent in files from GPT-2's time.
    type: z.enum(['BPE', 'Unigram', 'WordPiece']).optional(),
    vocab: z.union([z.record(z.string(), id), z.array(z.unknown()).max(MAX_ID)]),
  }),
  added_tokens: z.array(z.looseObject({ id, content: z.string().min(1) })).max(MAX_ID),
})

/** Opens the tokenizer of a Hugging Face directory; null if it has none. An empty prompt is encoded as `begin`. */
export function openTokenizer(
  folder: string,
  vocabulary: number,
  begin: number | null,
): TextTokenizer | null {
  const path = join(folder, TOKENIZER_FILE)
  if (!existsSync(path)) return null
  const json = parseObject(readText(path, MAX_TOKENIZER_BYTES), path, MAX_DEPTH)
  check(tokenizerSchema, json, path)
  const configPath = join(folder, 'tokenizer_config.json')
  const config = existsSync(configPath)
    ? parseObject(readText(configPath, MAX_TOKENIZER_BYTES), configPath, MAX_DEPTH)
    : {}
  return textTokenizer(build(json, config, path), path, vocabulary, begin)
}

const PROBE = 'It is 1, or \u00e9!'
const AS_IT_IS = { skip_special_tokens: true, clean_up_tokenization_spaces: false }

function build(json: object, config: object, path: string): Loaded {
  try {
    const tokenizer = new Tokenizer(json, config)
    // The library evaluates much of a file only on first use, so encode a probe text now.
    const { ids } = tokenizer.encode(PROBE)
    if (ids.length > 0)
      tokenizer.decode(
        ids.map((id) => id ?? 0),
        AS_IT_IS,
      )
    return tokenizer
  } catch (error) {
    throw new InputError(
      {
        where: path,
        expected: 'a tokenizer that @huggingface/tokenizers knows',
        found: show(String(error)),
        remedy: 'without tokenizer.json the model takes and gives ids',
      },
      { cause: error },
    )
  }
}

function textTokenizer(
  tokenizer: Loaded,
  path: string,
  vocabulary: number,
  begin: number | null,
): TextTokenizer {
  const decode = (ids: readonly number[]) => (ids.length === 0 ? '' : tokenizer.decode([...ids], AS_IT_IS))
  return {
    vocabulary,
    encode(text, bare = false) {
      const ids = tokenizer.encode(text, { add_special_tokens: !bare }).ids.map((one) => {
        if (one !== undefined && one < vocabulary) return one
        throw new InputError({
          where: `${path}: ${show(text)}`,
          expected: `text of tokens below the model's vocabulary, ${vocabulary}`,
          found: one === undefined ? 'a character it has no token for' : `token ${one}`,
          remedy: 'the tokenizer must be the one the model was trained with',
        })
      })
      return ids.length === 0 && begin !== null && !bare ? [begin] : ids
    },
    decode,
    stream: () => streamDecoder(decode),
  }
}

/** What a decoder returns for bytes that do not form a complete character (yet). */
const INCOMPLETE = '\ufffd'

/**
 * Decodes token by token. The text of a token may depend on the previous one (spaces, bytes of one character), so the
 * tokens of the last returned text are decoded again together with the new ones, and the additional text is returned.
 */
function streamDecoder(decode: (ids: readonly number[]) => string): ReturnType<TextTokenizer['stream']> {
  let given: number[] = []
  let held: number[] = []
  const fresh = () => decode([...given, ...held]).slice(decode(given).length)
  return {
    push(token) {
      held.push(token)
      const text = fresh()
      if (text === '' || text.endsWith(INCOMPLETE)) return ''
      given = held
      held = []
      return text
    },
    end() {
      const text = fresh()
      given = []
      held = []
      return text
    },
  }
}
