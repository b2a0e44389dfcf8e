import { InputError } from '../../core/errors.ts'
import { readCapped } from '../../core/files.ts'
import { mergePieces } from './merge.ts'
import type { TextTokenizer } from './types.ts'

/** Byte pieces `<0x00>` to `<0xFF>` follow <unk>, <s> and </s>. */
const FIRST_BYTE_ID = 3
const SPECIAL_IDS = 3
const BEGIN_ID = 1
const MAX_FILE_BYTES = 64 * 1024 * 1024
const RECORD_BYTES = 8

/** A vocabulary of byte strings, stored as latin1 text so that they can be looked up. */
export interface Pieces {
  readonly pieces: readonly string[]
  readonly scores: Float32Array
  /** Id of each piece. */
  readonly ids: ReadonlyMap<string, number>
}

/**
 * Opens llama2.c's tokenizer file (https://github.com/karpathy/llama2.c, tokenizer.py and run.c): int32 longest piece,
 * then for each id float32 score, int32 length, bytes. The number of ids is in the checkpoint.
 */
export function openPieces(path: string, vocabulary: number): TextTokenizer {
  return pieceTokenizer(readPieces(readCapped(path, MAX_FILE_BYTES), path, vocabulary))
}

/** Reads the pieces of a llama2.c tokenizer file. */
export function readPieces(file: Buffer, path: string, vocabulary: number): Pieces {
  const fail = (expected: string, found: string): never => {
    throw new InputError({
      where: path,
      expected,
      found,
      remedy: `the tokenizer file must be the checkpoint's, with ${vocabulary} pieces`,
    })
  }
  if (file.length < 4 + RECORD_BYTES * vocabulary) {
    fail(`${vocabulary} pieces of at least ${RECORD_BYTES} bytes`, `${file.length} bytes`)
  }
  const scores = new Float32Array(vocabulary)
  const pieces: string[] = []
  let at = 4
  for (let id = 0; id < vocabulary; id++) {
    const left = file.length - at - RECORD_BYTES
    const length = left < 0 ? -1 : file.readInt32LE(at + 4)
    if (length < 0 || length > left) fail(`piece ${id} within the file`, `${length} bytes at byte ${at}`)
    scores[id] = file.readFloatLE(at)
    if (Number.isNaN(scores[id])) fail(`a number as the score of piece ${id}`, 'NaN')
    at += RECORD_BYTES
    pieces.push(file.toString('latin1', at, at + length))
    at += length
  }
  if (at !== file.length) fail(`the end after ${vocabulary} pieces`, `${file.length - at} more bytes`)
  const wrong = Array.from({ length: 256 }, (_, byte) => byte).find(
    (byte) => pieces[FIRST_BYTE_ID + byte] !== byteName(byte),
  )
  if (wrong !== undefined) {
    fail(
      `piece ${FIRST_BYTE_ID + wrong} to be ${byteName(wrong)}`,
      JSON.stringify(pieces[FIRST_BYTE_ID + wrong]),
    )
  }
  const ids = new Map<string, number>()
  for (const [id, piece] of pieces.entries()) if (!ids.has(piece)) ids.set(piece, id)
  return { pieces, scores, ids }
}

function byteName(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`
}

function pieceTokenizer(vocabulary: Pieces): TextTokenizer {
  const bytes = vocabulary.pieces.map((piece, id) =>
    id < SPECIAL_IDS
      ? Buffer.alloc(0)
      : id < FIRST_BYTE_ID + 256
        ? Buffer.of(id - FIRST_BYTE_ID)
        : Buffer.from(piece, 'latin1'),
  )
  const stream = () => {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
    let last = -1
    return {
      push(id: number): string {
        // As in run.c: the first piece after the beginning of text loses its leading space, which the encoder added.
        const piece = bytes[id] ?? Buffer.alloc(0)
        const text = last === BEGIN_ID && piece[0] === 0x20 ? piece.subarray(1) : piece
        last = id
        return decoder.decode(text, { stream: true })
      },
      end: (): string => decoder.decode(),
    }
  }
  return {
    vocabulary: vocabulary.pieces.length,
    encode(text, bare = false) {
      const ids = mergePieces(vocabulary, firstIds(vocabulary, text))
      return bare ? ids : [BEGIN_ID, ...ids]
    },
    decode(ids) {
      const text = stream()
      return ids.map((id) => text.push(id)).join('') + text.end()
    },
    stream,
  }
}

/**
 * One id for each character that the vocabulary has, otherwise one for each byte; a space is added before any text
 * (run.c, encode).
 */
function firstIds(vocabulary: Pieces, text: string): number[] {
  const out: number[] = []
  const space = vocabulary.ids.get(' ')
  if (text !== '' && space !== undefined) out.push(space)
  for (const character of text) {
    const utf8 = Buffer.from(character)
    const id = vocabulary.ids.get(utf8.toString('latin1'))
    if (id === undefined) out.push(...Array.from(utf8, (byte) => FIRST_BYTE_ID + byte))
    else out.push(id)
  }
  return out
}
