import fc from 'fast-check'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { openTokenizer } from '../../../src/model/tokenizers/tokenizer.ts'
import type { TextTokenizer } from '../../../src/model/tokenizers/types.ts'
import { gpt2Tokenizer, llamaTokenizer } from './tokenizers.ts'

const folder = mkdtempSync(join(tmpdir(), 'edgewise-tokenizer-'))
afterAll(() => rmSync(folder, { recursive: true }))

function open(json: unknown, vocabulary: number, begin: number | null = null): TextTokenizer {
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json))
  return openTokenizer(folder, vocabulary, begin)!
}

const gpt2 = open(gpt2Tokenizer().json, gpt2Tokenizer().vocabulary, 264)
const llama = open(llamaTokenizer().json, llamaTokenizer().vocabulary, 1)

/** Pushes all ids; what came must be what the ids say together, and no piece of a character may show before its time. */
function streamed(tokenizer: TextTokenizer, ids: readonly number[]): { parts: string[]; text: string } {
  const stream = tokenizer.stream()
  const parts = ids.map((id) => stream.push(id))
  return { parts, text: parts.join('') + stream.end() }
}

describe('a tokenizer.json', () => {
  test('in the manner of GPT-2: merges, spaces, bytes', () => {
    expect(gpt2.encode('hello wo')).toEqual([259, 261])
    expect(gpt2.decode([259, 261])).toBe('hello wo')
    expect(gpt2.encode('a<|endoftext|>b')).toEqual([97, 264, 98])
    expect(gpt2.decode([97, 264, 98])).toBe('ab')
    expect(gpt2.encode('')).toEqual([264])
    expect(gpt2.decode([])).toBe('')
  })

  test('in the manner of LLaMA: begins with <s>, unknown characters are bytes, spaces as they were', () => {
    expect(llama.encode('the on')[0]).toBe(1)
    expect(llama.encode('the on')).toHaveLength(4)
    expect(llama.decode(llama.encode('the 漢 on'))).toBe('the 漢 on')
    expect(llama.encode('漢')).toContain(3 + 0xe6)
    expect(llama.decode(llama.encode('the cat , the dog . '))).toBe('the cat , the dog . ')
    expect(llama.encode('')).toContain(1)
  })

  test.each([
    ['GPT-2', gpt2],
    ['LLaMA', llama],
  ])('%s: any text comes back, and a stream gives it in whole characters', (_, tokenizer) => {
    fc.assert(
      // A byte order mark is dropped by the library's byte fallback.
      fc.property(fc.string({ unit: 'grapheme', maxLength: 30 }), (text) => {
        fc.pre(!/<|\ufeff/.test(text))
        const ids = tokenizer.encode(text)
        expect(tokenizer.decode(ids)).toBe(text)
        const { parts, text: all } = streamed(tokenizer, ids)
        expect(all).toBe(text)
        for (const part of parts) expect(part).not.toMatch(/\ufffd|[\ud800-\udbff]$/)
      }),
    )
  })

  test.each([
    ['GPT-2', gpt2],
    ['LLaMA', llama],
  ])('%s: any ids, broken characters too, stream to what they decode to together', (_, tokenizer) => {
    const id = fc.nat(tokenizer.vocabulary - 1)
    fc.assert(
      fc.property(fc.array(fc.oneof(id, fc.constantFrom(225, 226, 160)), { maxLength: 30 }), (ids) => {
        expect(streamed(tokenizer, ids).text).toBe(tokenizer.decode(ids))
      }),
      { numRuns: 300 },
    )
  })

  test('a character comes with its last token', () => {
    const { parts } = streamed(gpt2, gpt2.encode('ä🎉a'))
    expect(parts).toEqual(['ä', '', '', '🎉', 'a'])
  })

  test('an unknown model, ids that are no places, and damage are refused', () => {
    const { json, vocabulary } = gpt2Tokenizer()
    const refuse = (value: unknown) => expect(() => open(value, vocabulary)).toThrow(InputError)
    refuse({ ...json, model: { type: 'Nonesuch', vocab: {} } })
    refuse({ ...json, decoder: { type: 'Nonesuch' } })
    refuse({ ...json, added_tokens: [{ id: 4e9, content: 'x' }] })
    refuse({ ...json, added_tokens: [{ id: -1, content: 'x' }] })
    refuse([])
    expect(() => open(json, 100).encode('hello')).toThrow(/below the model's vocabulary, 100\n.*token 259/)
    const text = JSON.stringify(json)
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.nat(30), fc.string({ maxLength: 6 }), (at, length, patch) => {
        writeFileSync(join(folder, 'tokenizer.json'), text.slice(0, at) + patch + text.slice(at + length))
        try {
          openTokenizer(folder, vocabulary, null)
        } catch (error) {
          expect(error).toBeInstanceOf(InputError)
        }
      }),
    )
  })
})
