import { InputError, show } from '../../core/errors.ts'
import { randomStream } from '../../core/random.ts'
import type { RandomStream } from '../../core/random.ts'
import { drawTale } from './grammar.ts'
import { drawNote } from './notes.ts'

/** Every character of the vocabulary, in order of ids (after the two special tokens). */
export const ALPHABET = `\n !"',-.:?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz`
/** Text of the token that begins a text. */
export const BEGIN = '<s>'
/** Text of the token that ends a text. */
export const END = '</s>'
/** Id of BEGIN. */
export const BEGIN_ID = 0
/** Id of END. */
export const END_ID = 1
const FIRST_CHARACTER_ID = 2

const ids = new Map(Array.from(ALPHABET, (character, i) => [character, i + FIRST_CHARACTER_ID]))

/** The splits of the texts. No tale of one split is drawn from the random numbers of another. */
type Split = 'train' | 'validation' | 'test'

/** A tale on which the model was not trained, and its first sentences as a prompt. */
interface HeldOutTale {
  readonly text: string
  /** The beginning of `text` up to the end of its second sentence. */
  readonly prompt: string
}

/**
 * Draws `count` tales of the test split under `seed`, to measure the perplexity on `text` or the continuation of
 * `prompt`. A longer list starts with the tales of a shorter one.
 */
export function talesText(seed: number, count: number): HeldOutTale[] {
  if (!Number.isInteger(count) || count < 1 || count > 100_000) {
    throw new InputError({
      where: 'talesText: count',
      expected: 'an integer in 1..100000',
      found: show(count),
    })
  }
  return tales('test', seed, count).map((text) => ({ text, prompt: firstSentences(text, 2) }))
}

/** `count` tales of a split. */
export function tales(split: Split, seed: number, count: number): string[] {
  const stream = splitStream(split, seed)
  return Array.from({ length: count }, () => drawTale(stream))
}

/** The random stream of one split; `part` names an independent stream within it. */
export function splitStream(split: Split, seed: number, part = ''): RandomStream {
  return randomStream(seed, `pretrain/tales/${split}${part === '' ? '' : `/${part}`}`)
}

/** Ids of a whole text with its begin and end tokens. Throws InputError for a character outside the alphabet. */
export function encodeText(text: string): number[] {
  const inner = Array.from(text, (character) => {
    const id = ids.get(character)
    if (id !== undefined) return id
    throw new InputError({ where: 'tale', expected: 'characters of the alphabet', found: show(character) })
  })
  return [BEGIN_ID, ...inner, END_ID]
}

/**
 * Draws a training window: `window` + 1 ids of consecutive texts, a share `noteShare` of which are notes and the others
 * tales. Half of the windows begin at the start of a text, as prompts do; the others begin anywhere in their first
 * text, because otherwise short windows would never contain the end of a tale.
 */
export function trainingWindow(stream: RandomStream, window: number, noteShare: number): number[] {
  const next = (): number[] => encodeText(stream.uniform() < noteShare ? drawNote(stream) : drawTale(stream))
  const tokens = next()
  const start = stream.integer(2) === 0 ? 0 : stream.integer(tokens.length)
  while (tokens.length < start + window + 1) tokens.push(...next())
  return tokens.slice(start, start + window + 1)
}

function firstSentences(text: string, count: number): string {
  const ends = [...text.matchAll(/[.?!]["]?(?=\s)/g)]
  const last = ends[Math.min(count, ends.length) - 1]
  return text.slice(0, last.index + last[0].length)
}
