/** Two small tokenizer.json in the manners of GPT-2 and of LLaMA. */

/** GPT-2's stand-ins for bytes: printable ones are themselves, the others follow from U+0100 on. */
function byteCharacters(): string[] {
  const printable = (byte: number) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255)
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++))
}

const special = (id: number, content: string) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
})

/** Ids 0-255 bytes, then merges, then <|endoftext|>. */
export function gpt2Tokenizer(): { json: object; vocabulary: number } {
  const merges = ['h e', 'l l', 'he ll', 'hell o', 'Ġ w', 'Ġw o', 'Ã ¤', 'ð Ł']
  const tokens = [...byteCharacters(), ...merges.map((merge) => merge.replace(' ', ''))]
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
  return {
    vocabulary: tokens.length + 1,
    json: {
      version: '1.0',
      truncation: null,
      padding: null,
      normalizer: null,
      post_processor: byteLevel,
      pre_tokenizer: byteLevel,
      decoder: byteLevel,
      added_tokens: [special(tokens.length, '<|endoftext|>')],
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: '',
        merges,
        end_of_word_suffix: '',
        fuse_unk: false,
        byte_fallback: false,
        vocab: Object.fromEntries(tokens.map((token, i) => [token, i])),
      },
    },
  }
}

/** Ids 0-2 <unk>, <s>, </s>; 3-258 bytes; then pieces. */
export function llamaTokenizer(): { json: object; vocabulary: number } {
  const letters = Array.from('▁abcdefghijklmnopqrstuvwxyzé')
  const merges = ['▁ t', 'h e', '▁t he', 'o n']
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`)
  const tokens = [
    '<unk>',
    '<s>',
    '</s>',
    ...bytes,
    ...letters,
    ...merges.map((merge) => merge.replace(' ', '')),
  ]
  return {
    vocabulary: tokens.length,
    json: {
      version: '1.0',
      truncation: null,
      padding: null,
      pre_tokenizer: null,
      added_tokens: [special(0, '<unk>'), special(1, '<s>'), special(2, '</s>')],
      normalizer: {
        type: 'Sequence',
        normalizers: [
          { type: 'Prepend', prepend: '▁' },
          { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
        ],
      },
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
        special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
      },
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
          { type: 'Strip', content: ' ', start: 1, stop: 0 },
        ],
      },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: '<unk>',
        continuing_subword_prefix: null,
        merges,
        end_of_word_suffix: null,
        fuse_unk: true,
        byte_fallback: true,
        vocab: Object.fromEntries(tokens.map((token, i) => [token, i])),
      },
    },
  }
}
