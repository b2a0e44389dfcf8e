import fc from 'fast-check'
import { Tokenizer } from '@huggingface/tokenizers'
import { describe, expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { randomStream } from '../../../src/core/random.ts'
import { TALES_MODEL } from '../../../src/lab/pretrain/config.ts'
import { drawTale, TALE_LIMIT } from '../../../src/lab/pretrain/grammar.ts'
import { drawNote } from '../../../src/lab/pretrain/notes.ts'
import { ALPHABET, encodeText, tales, talesText, trainingWindow } from '../../../src/lab/pretrain/text.ts'
import { talesTokenizer } from '../../../src/lab/pretrain/tokenizerJson.ts'
import * as words from '../../../src/lab/pretrain/words.ts'

const anyTale = fc.integer({ min: 0, max: 2 ** 32 - 1 }).map((seed) => drawTale(randomStream(seed, 'tale')))
/** The text of ids, without the two special tokens. */
const decodeIds = (ids: readonly number[]): string => ids.map((id) => ALPHABET.charAt(id - 2)).join('')
const numberOf = (word: string): number => words.NUMBERS.indexOf(word.toLowerCase())

describe('a tale', () => {
  test('is of the alphabet, fits into the context, and ends with a line', () => {
    fc.assert(
      fc.property(anyTale, (tale) => {
        expect(tale.length).toBeLessThanOrEqual(TALE_LIMIT)
        expect(encodeText(tale).length).toBeLessThanOrEqual(TALES_MODEL.contextTokens)
        expect(tale).toMatch(/^[A-Z].*\.\n([A-Z].*\? [A-Z].*\.\n){1,2}$/)
        expect(decodeIds(encodeText(tale))).toBe(tale)
      }),
    )
  })

  test('calls its people by the pronouns it began with', () => {
    fc.assert(
      fc.property(anyTale, (tale) => {
        const called = /\. (He|She) was called \w+/.exec(tale)?.[1]
        const friend = / (He|His|She|Her) (?:had a )?friend/.exec(tale)?.[1]
        if (called === undefined || friend === undefined) return
        expect(friend.startsWith('H') && friend !== 'Her').toBe(called === 'He')
      }),
    )
  })

  test('counts right, and answers what it told', () => {
    let checked = 0
    fc.assert(
      fc.property(anyTale, (tale) => {
        const shared = /had (\w+) \w+\. .* gave \w+ (\w+) \w+ and kept (\w+)\./.exec(tale)
        if (shared !== null) {
          const [had, given, kept] = shared.slice(1).map(numberOf)
          expect(given + kept).toBe(had)
        }
        const found = /found (\w+) \w+ and \w+ found (\w+) \w+\. Together they had (\w+) /.exec(tale)
        if (found !== null) {
          const [mine, yours, both] = found.slice(1).map(numberOf)
          expect(mine + yours).toBe(both)
        }
        for (const [, name, home] of tale.matchAll(/Where did (\w+) live\? (\w+ the \w+ \w+)\.\n/g)) {
          const told = tale.slice(0, tale.indexOf('\n')).toLowerCase()
          expect(told).toContain(home.toLowerCase())
          expect(told).toContain(name.toLowerCase())
          checked++
        }
        for (const [, treasure, name] of tale.matchAll(/Who has the (\w+) now\? (\w+)\.\n/g)) {
          expect(tale).toMatch(new RegExp(`${name} took the \\w+ ${treasure}|to thank|gave`))
          checked++
        }
      }),
    )
    expect(checked).toBeGreaterThan(0)
  })
})

test('a note tells what it answers', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (seed) => {
      const note = drawNote(randomStream(seed, 'note'))
      const [told, ...lines] = note.trimEnd().split('\n')
      expect(lines.length).toBeGreaterThan(1)
      for (const line of lines) {
        const [, question, answer] = /^([A-Z].*\?) ([A-Z].*)\.$/.exec(line)!
        expect(told.toLowerCase()).toContain(answer.toLowerCase())
        const subject = /(\w+) (?:live|have|find)\?$|the (\w+)\?$/.exec(question)
        expect(told).toContain(subject![1] ?? subject![2])
      }
    }),
  )
})

test('the words of a list differ in their first letter', () => {
  const people = [...words.GIRLS, ...words.BOYS]
  const lists = [people, words.KINDS, words.CHARACTERS, words.PLACES, words.PLACE_KINDS, words.GOALS]
  for (const list of [...lists, words.GOODS, words.TREASURES, words.COLORS])
    expect(new Set(list.map((word) => word[0])).size, list.join(' ')).toBe(list.length)
})

describe('the splits', () => {
  test('share no tale, and every seed has its own', () => {
    const all = [
      ...tales('train', 1, 400),
      ...tales('validation', 1, 400),
      ...tales('test', 1, 400),
      ...tales('test', 2, 400),
    ]
    expect(new Set(all).size).toBe(all.length)
  })

  test('talesText gives prompts that begin their texts; a longer list begins with the shorter', () => {
    const held = talesText(7, 50)
    expect(talesText(7, 10)).toEqual(held.slice(0, 10))
    expect(held.map(({ text }) => text)).toEqual(tales('test', 7, 50))
    for (const { text, prompt } of held) {
      expect(text.startsWith(`${prompt} `)).toBe(true)
      expect(prompt).toMatch(/^[^.]*\.[^.]*\.$/)
    }
    expect(() => talesText(1, 0)).toThrow(InputError)
  })
})

test('training windows are stretches of consecutive tales, half of them from a beginning', () => {
  const windows = Array.from({ length: 200 }, (_, i) => trainingWindow(randomStream(i, 'window'), 64, 0.5))
  expect(
    windows.every((ids) => ids.length === 65 && ids.every((id) => id >= 0 && id < TALES_MODEL.vocabulary)),
  ).toBe(true)
  const begun = windows.filter(([first]) => first === 0).length
  expect(begun).toBeGreaterThan(60)
  expect(begun).toBeLessThan(140)
})

describe('the tokenizer', () => {
  const tokenizer = new Tokenizer(talesTokenizer(), { clean_up_tokenization_spaces: false })
  const decode = (ids: number[]) => tokenizer.decode(ids, { skip_special_tokens: true })

  test('agrees with the ids of training on every text of the alphabet, and gives it back exactly', () => {
    const text = fc.string({ unit: fc.constantFrom(...Array.from(ALPHABET)), minLength: 1, maxLength: 80 })
    fc.assert(
      fc.property(fc.oneof(text, anyTale, fc.constant(ALPHABET)), (sample) => {
        const { ids } = tokenizer.encode(sample)
        expect([...ids, 1]).toEqual(encodeText(sample))
        expect(decode(ids)).toBe(sample)
      }),
    )
  })

  test('reads what it does not know as a space', () => {
    expect(decode(tokenizer.encode('Tom has 3 pears; \u00e9 \u{1f600}').ids)).toBe('Tom has   pears     ')
  })

  test('has a token for every character of the alphabet, and two special ones', () => {
    expect(TALES_MODEL.vocabulary).toBe(ALPHABET.length + 2)
  })

  test('training refuses a text outside the alphabet', () => {
    expect(() => encodeText('Tom has 3 pears')).toThrow(/characters of the alphabet/)
  })
})
