import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { drawCampaign, familyOf } from './campaign.ts'
import { drawWireFault } from './draw.ts'
import { Gaps } from './gaps.ts'
import { HOSTILE_KINDS, isGood, PHASES, PROCESS_KINDS, WIRE_KINDS, type Outcome } from './kinds.ts'
import { BEGIN, END, figuresOf, isClean, quantile, rowOf, summaryOf, tableOf, withFigures } from './report.ts'

const good: Outcome = {
  seed: 1,
  kind: 'drop',
  phase: 'decode',
  detail: '',
  wrongTokens: 0,
  documentedError: null,
  recoverySeconds: 0.5,
  hang: false,
  leaks: [],
  problems: [],
}

describe('a campaign', () => {
  test('of a thousand has all kinds at all phases, the same for a seed', () => {
    const faults = drawCampaign(3, 1000)
    expect(faults).toHaveLength(1000)
    expect(faults).toEqual(drawCampaign(3, 1000))
    const wire = faults.filter(({ family }) => family === 'wire')
    const options = { vocabulary: 61, silenceSeconds: 0.3 }
    const cells = new Set(
      wire.map(({ seed }) => drawWireFault(seed, options)).map(({ kind, phase }) => `${kind}, ${phase}`),
    )
    expect(cells.size).toBe(WIRE_KINDS.length * PHASES.length)
    const of = (family: string): number => faults.filter((fault) => fault.family === family).length
    expect(of('process')).toBeGreaterThanOrEqual(2 * PROCESS_KINDS.length * PHASES.length)
    expect(of('hostile')).toBeGreaterThanOrEqual(2 * 2 * HOSTILE_KINDS.length)
  })

  test('of one kind has nothing else', () => {
    expect(familyOf('memory limit')).toBe('process')
    expect(drawCampaign(1, 4, 'random bytes').every(({ family }) => family === 'hostile')).toBe(true)
  })
})

describe('figures', () => {
  test('count what went wrong, each in its column', () => {
    const bad: Outcome[] = [
      { ...good, wrongTokens: 2 },
      { ...good, leaks: ['1 byte'] },
      { ...good, hang: true, recoverySeconds: null },
      { ...good, documentedError: 'E_DEADLINE', recoverySeconds: 2 },
      { ...good, problems: ['odd'] },
    ]
    expect(bad.map(isGood)).toEqual([false, false, false, true, false])
    const row = ['drop', 'decode', '5', '2', '1', '0.500 s', '2.000 s', '1', '1']
    expect(rowOf('drop', 'decode', bad)).toEqual(row)
    const process = bad.map((outcome) => ({ ...outcome, leaks: null }))
    expect(rowOf('drop', 'decode', process)).toEqual(row.with(7, '-'))
    expect(rowOf('all', '', [...bad, ...process])?.[7]).toBe('1')
    expect(isGood({ ...good, leaks: null })).toBe(true)
    const text = '5 faults in 3 s: 2 wrong tokens, 2 leaks, 1 hangs, 1 other failures, 1 documented errors'
    expect(summaryOf({ outcomes: bad, leaks: ['a socket'], seconds: 3 })).toBe(text)
    expect(isClean({ outcomes: [good], leaks: [] })).toBe(true)
    expect(isClean({ outcomes: [good], leaks: ['a socket'] })).toBe(false)
    expect(tableOf(bad).map(([kind]) => kind)).toEqual(['drop', 'all'])
  })

  test('have no times where nothing was measured', () => {
    expect(quantile([], 0.5)).toBe('-')
    expect(quantile([3, 1, 2], 0.5)).toBe('2.000 s')
  })

  test('go between the markers of the page, again and again', () => {
    const facts = { seed: 1, command: 'c', machine: 'm', outcomes: [good], leaks: [], seconds: 1 }
    const once = withFigures(`a\n${BEGIN}\nold\n${END}\nb\n`, figuresOf(facts))
    expect(once).toContain('| drop | decode |')
    expect(once).not.toContain('old')
    expect(withFigures(once, figuresOf(facts))).toBe(once)
    expect(() => withFigures('a page', '')).toThrow('expected')
  })

  test('of the page say that all was well', () => {
    const page = join(resolve(import.meta.dirname, '../..'), 'docs', 'reliability.md')
    expect(existsSync(page)).toBe(true)
    const text = readFileSync(page, 'utf8')
    expect(text).toMatch(/\*\*1000 faults in \d+ s: 0 wrong tokens, 0 leaks, 0 hangs, 0 other failures/)
    for (const kind of [...WIRE_KINDS, ...PROCESS_KINDS, ...HOSTILE_KINDS])
      expect(text).toContain(`| ${kind} `)
  })
})

test('gaps are the longest time without a token, from the fault on', () => {
  let now = 0
  const gaps = new Gaps(() => now)
  const tell = (at: number, request: number): void => {
    now = at
    gaps.token(request)
  }
  tell(1, 0)
  tell(9, 0)
  expect(gaps.longest).toBeNull()
  now = 10
  gaps.fault()
  tell(11, 0)
  tell(14, 1)
  tell(13, 0)
  expect(gaps.longest).toBe(4)
})
