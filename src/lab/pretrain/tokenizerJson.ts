import { ALPHABET, BEGIN, BEGIN_ID, END, END_ID } from './text.ts'

/**
 * The content of tokenizer.json: every character of the alphabet is a token, and a text begins with `<s>`. Characters
 * outside the alphabet (digits, accents) become spaces, so that a prompt keeps its length.
 */
export function talesTokenizer(): object {
  const special = (id: number, content: string) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })
  const vocab = Object.fromEntries([BEGIN, END, ...Array.from(ALPHABET)].map((token, id) => [token, id]))
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [special(BEGIN_ID, BEGIN), special(END_ID, END)],
    normalizer: { type: 'Replace', pattern: { Regex: `[^${escaped(ALPHABET)}]` }, content: ' ' },
    // Splits into single characters: without this the whole text would be one word for the merges.
    pre_tokenizer: { type: 'Split', pattern: { Regex: '[\\s\\S]' }, behavior: 'Isolated', invert: false },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: BEGIN, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [
        { SpecialToken: { id: BEGIN, type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { Sequence: { id: 'B', type_id: 1 } },
      ],
      special_tokens: { [BEGIN]: { id: BEGIN, ids: [BEGIN_ID], tokens: [BEGIN] } },
    },
    decoder: { type: 'Fuse' },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab,
      merges: [],
    },
  }
}

/** Escapes characters for a bracket expression; no other character of the alphabet is special there. */
function escaped(characters: string): string {
  return characters.replace('\n', '\\n').replace('-', '\\-')
}
