import { InputError } from '../../core/errors.ts'
import { talesText } from '../pretrain/text.ts'
import type { PretrainedModel } from '../../model/weights/pretrained.ts'
import { cutWindows, textWindows, type Window } from './windows.ts'

/** Seed of the built-in model's held-out tales. */
const TALES_SEED = 1
/** Every tale has more tokens than this, so that this many tales suffice. */
const LEAST_TALE_TOKENS = 100

/** Which text to measure on. */
interface TextChoice {
  /** A text and its description. */
  readonly text?: { readonly content: string; readonly name: string }
  /** Token ids instead of text, for a model without a tokenizer. */
  readonly ids?: { readonly content: readonly number[]; readonly name: string }
  /** Largest number of predictions to score. */
  readonly tokens: number
}

/** The text on which a model is measured. */
interface MeasuredText {
  /** Description of the text. */
  readonly name: string
  readonly windows: readonly Window[]
}

/**
 * Splits the chosen text into windows; for the built-in model without a choice, tales that it was not trained on.
 * Throws InputError if there is no text, no tokenizer for it, or an id that the model does not have.
 */
export function measuredText(pretrained: PretrainedModel, choice: TextChoice): MeasuredText {
  const { contextTokens } = pretrained.source.model
  const { text, ids, tokens } = choice
  if (ids !== undefined) {
    const windows = cutWindows(knownIds(pretrained, ids.content, ids.name), contextTokens, tokens)
    return { name: ids.name, windows }
  }
  if (text !== undefined) {
    const encoded = tokenizerOf(pretrained).encode(text.content)
    return { name: text.name, windows: cutWindows(encoded, contextTokens, tokens) }
  }
  return heldOutTales(pretrained, tokens)
}

/** Whole tales, each with its end token. */
function heldOutTales(pretrained: PretrainedModel, tokens: number): MeasuredText {
  const { model } = pretrained.source
  if (model.id !== 'tales') {
    throw new InputError({
      where: '--text',
      expected: `a text that ${model.id} was not trained on`,
      found: 'none',
      remedy: pretrained.tokenizer === null ? 'name a file of token ids: --ids' : 'name a file: --text',
    })
  }
  const tokenizer = tokenizerOf(pretrained)
  const texts = talesText(TALES_SEED, Math.ceil(tokens / LEAST_TALE_TOKENS))
  const encoded = texts.map(({ text }) => [...tokenizer.encode(text), ...pretrained.stopIds.slice(0, 1)])
  const windows = textWindows(encoded, model.contextTokens, tokens)
  return { name: `held-out tales (test stream, seed ${TALES_SEED})`, windows }
}

function tokenizerOf({ tokenizer, source }: PretrainedModel) {
  if (tokenizer !== null) return tokenizer
  throw new InputError({
    where: '--text',
    expected: `token ids: ${source.model.id} has no tokenizer`,
    found: 'text',
    remedy: 'name a file of token ids: --ids',
  })
}

function knownIds({ source }: PretrainedModel, ids: readonly number[], where: string): readonly number[] {
  const { vocabulary } = source.model
  const unknown = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabulary)
  if (unknown === undefined) return ids
  throw new InputError({ where, expected: `ids in 0..${vocabulary - 1}`, found: String(unknown) })
}
