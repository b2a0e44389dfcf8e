import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { StopStringScanner } from '../../../src/serve/http/stopStrings.ts'

function scan(pieces: readonly string[], stops: readonly string[]): { shown: string; done: boolean } {
  const scanner = new StopStringScanner(stops)
  const shown = pieces.map((piece) => scanner.push(piece)).join('') + scanner.end()
  return { shown, done: scanner.done }
}

/** The definition: the text grows by one character until it ends with a stop sequence, the longest of those. */
function byDefinition(text: string, stops: readonly string[]): { shown: string; done: boolean } {
  for (let n = 1; n <= text.length; n++) {
    const ending = stops.filter((stop) => text.slice(0, n).endsWith(stop))
    const longest = Math.max(0, ...ending.map((stop) => stop.length))
    if (longest > 0) return { shown: text.slice(0, n - longest), done: true }
  }
  return { shown: text, done: false }
}

const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 30 })
const stops = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 4 }), {
  maxLength: 4,
})

function parts(text: string, cuts: readonly number[]): string[] {
  const at = [...cuts.map((cut) => cut % (text.length + 1)), 0, text.length].sort((a, b) => a - b)
  return at.slice(1).map((end, i) => text.slice(at[i], end))
}

describe('a stop sequence', () => {
  it('cuts the same text however its pieces part', () => {
    fc.assert(
      fc.property(letters, stops, fc.array(fc.nat(30), { maxLength: 10 }), (text, sequences, cuts) => {
        expect(scan(parts(text, cuts), sequences)).toEqual(byDefinition(text, sequences))
      }),
      { numRuns: 2000 },
    )
  })

  it('holds back only what might be its beginning', () => {
    const scanner = new StopStringScanner(['\n\nUser:'])
    expect(scanner.push('Hello.\n')).toBe('Hello.')
    expect(scanner.push('\nUs')).toBe('')
    expect(scanner.push('ing')).toBe('\n\nUsing')
    expect(scanner.push('\n\nUser: no')).toBe('')
    expect([scanner.done, scanner.push('more'), scanner.end()]).toEqual([true, '', ''])
  })
})
