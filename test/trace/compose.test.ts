import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { InputError } from '../../src/core/errors.ts'
import { randomStream } from '../../src/core/random.ts'
import { composeLink } from '../../src/trace/compose.ts'
import type { LinkComposition } from '../../src/trace/compose.ts'
import { createLink } from '../../src/trace/link.ts'
import { mergeTraces } from '../../src/trace/merge.ts'
import { makeTrace } from '../../src/trace/table.ts'
import type { TraceParts } from '../../src/trace/table.ts'

function recorded(name: string, columns: Partial<TraceParts>, seconds = 100, minBinSeconds = 0) {
  const meta = {
    schemaVersion: 1 as const,
    name,
    origin: 'test',
    licence: 'CC0',
    kind: 'recorded' as const,
    rateKind: 'tcp-goodput' as const,
    format: 'test',
    sourceSha256: null,
    minBinSeconds,
    notes: [],
  }
  const timeSeconds = Float64Array.from({ length: seconds + 1 }, (_, i) => 1000 + i)
  return makeTrace({ meta, timeSeconds, ...columns }, name)
}
const ramp = (seconds: number, scale: number) => Float64Array.from({ length: seconds }, (_, i) => scale * i)
const gap = (values: Float64Array, at: number) => values.map((value, i) => (i === at ? NaN : value))

const both = recorded('both', {
  uplinkBitsPerSecond: gap(ramp(100, 1e4), 40),
  downlinkBitsPerSecond: ramp(100, 1e5),
})
const ping = recorded('ping', { rttSeconds: ramp(50, 0.001) }, 50)
const parts: LinkComposition = {
  uplink: { kind: 'recording', trace: both },
  downlink: { kind: 'recording', trace: both },
  rtt: { kind: 'paired', trace: ping },
}

describe('a composed link', () => {
  it('keeps parts that were recorded together in step, inside one stretch without a gap', () => {
    fc.assert(
      fc.property(fc.nat(1000), fc.integer({ min: 1, max: 45 }), (seed, seconds) => {
        const link = composeLink(parts, { seconds, binSeconds: 1 }, randomStream(seed, 'window'))
        expect(link.timeSeconds.length).toBe(seconds + 1)
        createLink(link) // checks that nothing is NaN
        for (let i = 0; i < seconds; i++) {
          const row = link.upBitsPerSecond[i] / 1e4
          expect(link.downBitsPerSecond[i] / 1e5).toBeCloseTo(row, 6)
          expect(row - link.upBitsPerSecond[0] / 1e4).toBeCloseTo(i, 6)
        }
        const first = Math.round(link.upBitsPerSecond[0] / 1e4)
        expect(first > 40 || first + seconds <= 40).toBe(true)
      }),
    )
  })

  it('reaches every window, and says where each part comes from', () => {
    const starts = new Set<number>()
    for (let seed = 0; seed < 400; seed++) {
      const link = composeLink(parts, { seconds: 35, binSeconds: 1 }, randomStream(seed, 'all'))
      starts.add(Math.round(link.upBitsPerSecond[0] / 1e4))
      expect(link.label).toMatch(/uplink: recorded tcp-goodput "both".*rtt: paired tcp-goodput "ping"/)
    }
    expect([...starts].sort((a, b) => a - b)).toEqual([
      0,
      1,
      2,
      3,
      4,
      5,
      ...Array.from({ length: 25 }, (_, i) => 41 + i),
    ])
  })

  it('resamples by time, and without a length takes the longest stretch', () => {
    const constant = { kind: 'constant', value: 0.05 } as const
    const link = composeLink({ ...parts, rtt: constant }, { binSeconds: 2 }, randomStream(1, 'whole'))
    expect(link.upBitsPerSecond.length).toBe(29)
    expect(link.upBitsPerSecond[0]).toBeCloseTo(1e4 * 41.5, 6)
    expect([...new Set(link.rttSeconds)]).toEqual([0.05])
    const fast = composeLink(
      { uplink: parts.uplink, downlink: { kind: 'ratio', value: 3 }, rtt: constant },
      { seconds: 5, binSeconds: 0.5 },
      randomStream(1, 'ratio'),
    )
    expect([...fast.downBitsPerSecond]).toEqual([...fast.upBitsPerSecond].map((rate) => 3 * rate))
    expect(fast.label).toContain('3 x the uplink, declared')
  })

  it.each<[string, Partial<Record<keyof LinkComposition, unknown>>, number, number]>([
    ['never filled in', { rtt: undefined }, 10, 1],
    ['a recording of uplinkBitsPerSecond', { uplink: { kind: 'recording', trace: ping } }, 10, 1],
    ['declare the others paired', { rtt: { kind: 'recording', trace: ping } }, 10, 1],
    ['without a gap', {}, 60, 1],
    ['>= 0', { uplink: { kind: 'constant', value: -1 } }, 10, 1],
    ['a ratio only', { rtt: { kind: 'ratio', value: 2 } }, 10, 1],
    ['bins above 0', {}, 10, 0],
    [
      'wider bins',
      { uplink: { kind: 'paired', trace: recorded('sender', { uplinkBitsPerSecond: ramp(9, 1) }, 9, 1) } },
      5,
      0.1,
    ],
  ])('refuses with "%s"', (message, change, seconds, binSeconds) => {
    const asked = () =>
      composeLink({ ...parts, ...change } as LinkComposition, { seconds, binSeconds }, randomStream(1, 'bad'))
    expect(asked).toThrow(InputError)
    expect(asked).toThrow(message)
  })
})

describe('loss', () => {
  const lossy = (rateKind: 'raw-capacity' | 'tcp-goodput') => {
    const trace = recorded(
      'lossy',
      {
        uplinkBitsPerSecond: new Float64Array(20).fill(1e6),
        lossRatio: new Float64Array(20).fill(0.25),
      },
      20,
    )
    const part = { kind: 'recording' as const, trace: { ...trace, meta: { ...trace.meta, rateKind } } }
    const down = { kind: 'constant' as const, value: 1e6 }
    return composeLink(
      { uplink: part, downlink: down, rtt: down },
      { seconds: 5, binSeconds: 1 },
      randomStream(1, 'loss'),
    )
  }

  it('costs retransmissions on raw capacity only: goodput contains it already', () => {
    expect([...lossy('raw-capacity').upBitsPerSecond]).toEqual([75e4, 75e4, 75e4, 75e4, 75e4])
    expect([...lossy('tcp-goodput').upBitsPerSecond]).toEqual([1e6, 1e6, 1e6, 1e6, 1e6])
    expect([...lossy('raw-capacity').downBitsPerSecond]).toEqual([1e6, 1e6, 1e6, 1e6, 1e6])
  })
})

describe('merged recordings', () => {
  it('share a time axis; what one of them lacks stays a gap', () => {
    const up = recorded('up', { uplinkBitsPerSecond: ramp(3, 1) }, 3)
    const merged = mergeTraces([up, recorded('down', { downlinkBitsPerSecond: ramp(5, 2) }, 5)], 'drive')
    expect([...merged.uplinkBitsPerSecond]).toEqual([0, 1, 2, NaN, NaN])
    expect([...merged.downlinkBitsPerSecond]).toEqual([0, 2, 4, 6, 8])
    expect(() => mergeTraces([up, up], 'drive')).toThrow(/uplinkBitsPerSecond/)
  })
})
