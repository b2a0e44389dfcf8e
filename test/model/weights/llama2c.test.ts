import fc from 'fast-check'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { mergePieces } from '../../../src/model/tokenizers/merge.ts'
import { openPretrained } from '../../../src/model/weights/open.ts'
import { readPieces } from '../../../src/model/tokenizers/pieces.ts'
import { describeShared, sharedPath } from '../../shared.ts'
import { greedy } from './greedy.ts'

const weights = sharedPath('weights/stories260K')
const fixture = (name: string) =>
  JSON.parse(readFileSync(resolve(import.meta.dirname, '../../fixtures', name), 'utf8'))

const folder = mkdtempSync(join(tmpdir(), 'edgewise-llama2c-'))
afterAll(() => rmSync(folder, { recursive: true }))

describeShared('stories260K', ['weights/stories260K'], () => {
  const checkpoint = resolve(weights, 'stories260K.bin')
  const tokenizerFile = resolve(weights, 'tok512.bin')

  test('200 greedy tokens are those of llama2.c', async () => {
    const opened = openPretrained(checkpoint)
    expect(opened.source.model.normEpsilon).toBe(1e-5)
    const { tokens } = fixture('stories260K.greedy.json')
    expect(await greedy(opened.source, [1], 200)).toEqual(tokens)
    const text = opened.tokenizer!.decode([1, ...tokens])
    expect(text).toMatch(/^Once upon a time, there was a little girl named Lily\./)
  })

  test('texts become the ids that llama2.c gives them, and come back', () => {
    const tokenizer = openPretrained(weights).tokenizer!
    for (const { text, tokens } of fixture('stories260K.encode.json').cases) {
      expect(tokenizer.encode(text)).toEqual(tokens)
      expect(tokenizer.decode(tokens)).toBe(text)
    }
  })

  test('any text comes back; a stream gives the same, whole characters at a time', () => {
    const tokenizer = openPretrained(weights).tokenizer!
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        const ids = tokenizer.encode(text)
        expect(tokenizer.decode(ids)).toBe(text)
        const stream = tokenizer.stream()
        const parts = ids.map((id) => stream.push(id))
        expect(parts.join('') + stream.end()).toBe(text)
        for (const part of parts) expect(part).not.toMatch(/\ufffd/)
      }),
    )
  })

  test('the heap merges as the plain loop of run.c does', () => {
    const vocabulary = readPieces(readFileSync(tokenizerFile), 'tok512.bin', 512)
    const letters = Array.from({ length: 253 }, (_, i) => 259 + i)
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...letters), { maxLength: 60 }), (ids) => {
        expect(mergePieces(vocabulary, ids)).toEqual(plainMerge(vocabulary, ids))
      }),
    )
  })

  test('a folder with one checkpoint, and the tokenizer by name', () => {
    const one = openPretrained(weights)
    expect(one.path).toBe(checkpoint)
    const alone = join(folder, 'alone')
    mkdirSync(alone)
    copyFileSync(checkpoint, join(alone, 'a.bin'))
    const bare = openPretrained(alone)
    expect(bare.tokenizer).toBeNull()
    expect(bare.source.model.id).toBe('a')
    expect(bare.fingerprint).toBe(one.fingerprint)
    expect(openPretrained(alone, { tokenizerPath: tokenizerFile }).tokenizer?.encode('a')).toEqual([1, 261])
    copyFileSync(checkpoint, join(alone, 'b.bin'))
    expect(() => openPretrained(alone)).toThrow(/exactly one.*\n.*2 \.bin files/)
  })

  test('truncated, longer and later versions are refused', () => {
    const bytes = readFileSync(checkpoint)
    const refuse = (content: Uint8Array, message: RegExp) => {
      const path = join(folder, 'damaged.bin')
      writeFileSync(path, content)
      expect(() => openPretrained(path)).toThrow(InputError)
      expect(() => openPretrained(path)).toThrow(message)
    }
    refuse(bytes.subarray(0, 20), /header/)
    refuse(bytes.subarray(0, -4), /1056540 bytes, as its header says\n {2}found: 1056536/)
    refuse(Buffer.concat([bytes, Buffer.alloc(4)]), /1056544/)
    const header = (at: number, value: number) => {
      const changed = Buffer.from(bytes)
      changed.writeInt32LE(value, 4 * at)
      return changed
    }
    refuse(header(2, 2_000_000_000), /layers/)
    refuse(header(3, 7), /headDim/)
    refuse(header(3, 0), /heads/)
    refuse(header(5, -512), /bytes, as its header says/)
    refuse(header(0, 0x616b3432), /version/)
  })

  test('a tokenizer of another vocabulary, or damaged, is refused', () => {
    const bytes = readFileSync(tokenizerFile)
    const refuse = (content: Buffer, vocabulary = 512) =>
      expect(() => readPieces(content, 'tok.bin', vocabulary)).toThrow(InputError)
    refuse(bytes, 511)
    refuse(bytes, 513)
    refuse(bytes, 1 << 22)
    refuse(bytes.subarray(0, -1))
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(255), (at, value) => {
        const damaged = Buffer.from(bytes)
        damaged[at] = value
        try {
          expect(readPieces(damaged, 'tok.bin', 512).pieces).toHaveLength(512)
        } catch (error) {
          expect(error).toBeInstanceOf(InputError)
        }
      }),
    )
  })
})

/** run.c's loop, quadratic and plain. */
function plainMerge(vocabulary: ReturnType<typeof readPieces>, first: readonly number[]): number[] {
  const { pieces, scores, ids } = vocabulary
  let tokens = [...first]
  for (;;) {
    let best = { score: -1e10, id: -1, at: -1 }
    for (let i = 0; i + 1 < tokens.length; i++) {
      const id = ids.get(pieces[tokens[i]] + pieces[tokens[i + 1]])
      if (id !== undefined && scores[id] > best.score) best = { score: scores[id], id, at: i }
    }
    if (best.at < 0) return tokens
    tokens = [...tokens.slice(0, best.at), best.id, ...tokens.slice(best.at + 2)]
  }
}
