import fc from 'fast-check'
import { stripVTControlCharacters } from 'node:util'
import { describe, expect, it } from 'vitest'
import { renderTimeline, timelineLegend, type TimelineLane } from '../../src/report/timeline.ts'

const lanes: readonly TimelineLane[] = [
  {
    name: 'edge',
    colour: 'cyan',
    spans: [
      { fromSeconds: 1, toSeconds: 1.01, kind: 'load' },
      { fromSeconds: 1.01, toSeconds: 1.02, kind: 'work' },
    ],
  },
  { name: 'up', colour: 'green', spans: [{ fromSeconds: 1.02, toSeconds: 1.04, kind: 'transfer' }] },
]
const PLAIN = { colour: false, columns: 26 }

describe('a timeline', () => {
  it('draws lanes over a scale in milliseconds', () => {
    expect(renderTimeline(lanes, [1, 1.04], PLAIN)).toBe(
      ['edge  ░░░░░█████··········', '  up  ··········━━━━━━━━━━', '      0 ms'].join('\n'),
    )
  })

  it('sets ticks at round milliseconds', () => {
    const scale = renderTimeline(lanes, [1, 1.04], { colour: false, columns: 66 }).split('\n')[2]
    expect(scale).toBe('      0 ms           |10            |20            |30')
  })

  it('has colour only where asked', () => {
    const coloured = renderTimeline(lanes, [1, 1.04], { ...PLAIN, colour: true })
    expect(coloured).toContain('\u001b[36m█████')
    expect(stripVTControlCharacters(coloured)).toBe(renderTimeline(lanes, [1, 1.04], PLAIN))
    expect(timelineLegend()).toContain('█')
  })

  it('shows every span that touches its stretch, in a cell at least, and none beyond', () => {
    const time = fc.double({ min: -10, max: 20, noNaN: true })
    fc.assert(
      fc.property(time, time, (a, b) => {
        const span = { fromSeconds: Math.min(a, b), toSeconds: Math.max(a, b), kind: 'work' } as const
        const lane = { name: 'edge', colour: 'cyan', spans: [span] } as const
        const row = renderTimeline([lane], [0, 10], { colour: false, columns: 46 }).split('\n')[0].slice(6)
        expect(row).toHaveLength(40)
        const inside = span.toSeconds >= 0 && span.fromSeconds < 10
        const full = row.split('█').length - 1
        expect(full > 0).toBe(inside)
        const seen = Math.max(0, Math.min(10, span.toSeconds) - Math.max(0, span.fromSeconds))
        expect(Math.abs(full - 4 * seen)).toBeLessThanOrEqual(2)
      }),
    )
  })

  it('survives a stretch of no length', () => {
    expect(() => renderTimeline(lanes, [1, 1], PLAIN)).not.toThrow()
  })
})
