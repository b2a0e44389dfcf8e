import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { LogRecord } from '../../src/core/journal/types.ts'
import { encodeLine } from '../../src/core/journal/line.ts'
import { readTrace, writeTrace } from '../../src/trace/file.ts'
import { importTrace, importTraceFile } from '../../src/trace/import/detect.ts'
import { formatWorkload, readServedRequests } from '../../src/trace/import/edgewiseRequests.ts'
import { parseWorkload } from '../../src/trace/import/workload.ts'
import { rateStatistics, rttStatistics } from '../../src/trace/statistics.ts'
import { makeTrace } from '../../src/trace/table.ts'
import { HEADER, inFolder } from '../core/journal/support.ts'
import { servedDay, textOf } from './served.ts'

const source = { where: 'log.jsonl', origin: 'test', licence: 'own' }

describe('a served day, read back', () => {
  it('has the name of its folder, also where a slash ends the path', () =>
    inFolder((folder) => {
      const transfer = { kind: 'transfer', atSeconds: 1, direction: 'up', bytes: 9999, seconds: 1 } as const
      writeFileSync(join(folder, 'decisions.00001.jsonl'), [HEADER, transfer].map(encodeLine).join(''))
      const name = (path: string) => importTraceFile(path, { origin: 'test', licence: 'own' }).meta.name
      expect(name(`${folder}/`)).toBe(name(folder))
    }))

  it('has the statistics of the link that was put in, bin for bin', () =>
    inFolder(async (folder) => {
      const day = servedDay(24 * 3600, 5)
      const path = join(folder, 'decisions.00001.jsonl')
      writeFileSync(path, textOf(day.records))
      const trace = importTraceFile(folder, { origin: 'test', licence: 'own' }, { format: 'edgewise' })
      const put = makeTrace({ meta: trace.meta, ...day.link }, 'put in')
      for (const column of ['uplinkBitsPerSecond', 'downlinkBitsPerSecond'] as const) {
        const [found, expected] = [trace, put].map((each) => rateStatistics([each], column)!)
        expect(expected.silentShare).toBeGreaterThan(0.001)
        for (const [name, value] of Object.entries(expected)) {
          expect(found[name as keyof typeof found] / value, name).toBeCloseTo(1, 9)
        }
        const off = trace[column].map((rate, i) => Math.abs(rate - put[column][i]) / Math.max(1, rate))
        expect(Math.max(...off)).toBeLessThan(1e-9)
      }
      const rtt = rttStatistics([trace])!
      expect(rtt.count).toBe(day.seconds)
      expect(rtt.p50Seconds).toBeCloseTo(rttStatistics([put])!.p50Seconds, 9)
      expect(trace.meta.notes.join('\n')).toMatch(/up: \d+ transfers of .* depends on their size/)
      expect(trace.meta.sourceSha256).toMatch(/^[0-9a-f]{64}$/)
      writeTrace(join(folder, 'served.parquet'), trace)
      expect(await readTrace(join(folder, 'served.parquet'))).toEqual(trace)
      // Its requests.
      const requests = readServedRequests(folder)
      const workload = parseWorkload(formatWorkload(requests, source), 'served.csv')
      expect(workload.arrivalSeconds!.length).toBe(day.requests.length)
      for (const [i, [at, prompt, output]] of day.requests.entries()) {
        expect(workload.arrivalSeconds![i]).toBeCloseTo(at - day.requests[0][0], 5)
        expect([workload.promptTokens[i], workload.outputTokens[i]]).toEqual([prompt, output])
      }
      expect(requests).toMatchObject({ leftOut: day.unanswered, damagedLines: 0 })
      expect(formatWorkload(requests, source).split('\n').slice(0, 2).join()).toContain(
        trace.meta.sourceSha256,
      )
    }))
})

const up = (atSeconds: number, bytes: number, seconds: number): LogRecord => ({
  kind: 'transfer',
  direction: 'up',
  atSeconds,
  bytes,
  seconds,
})
const event = (atSeconds: number, name: string): LogRecord => ({
  kind: 'event',
  atSeconds,
  name,
  request: null,
  detail: '',
})
const load = (records: readonly object[], binMilliseconds = 1000) =>
  importTrace([HEADER, ...records].map(encodeLine).join(''), source, { binMilliseconds })

describe('the link of a log', () => {
  it('is found by its header and counts bits over the time that they held the link', () => {
    const trace = load([up(0.5, 10_000, 0.1), up(0.9, 30_000, 0.1), up(1.9, 1023, 0.001), up(3, 10_000, 1)])
    expect([...trace.uplinkBitsPerSecond].map(Math.round)).toEqual([1_600_000, 1_600_000, 80_000])
    expect([...trace.downlinkBitsPerSecond].every(Number.isNaN)).toBe(true)
    expect(trace.meta).toMatchObject({ format: 'edgewise', rateKind: 'tcp-goodput', minBinSeconds: 1 })
  })

  it('knows nothing a minute after the last transfer, and nothing before the first', () => {
    const trace = load([up(3, 10_000, 1), up(100, 10_000, 1)])
    const known = [...trace.uplinkBitsPerSecond].map((rate) => !Number.isNaN(rate))
    expect(known.indexOf(true)).toBe(2)
    expect(known.slice(2, 63).every(Boolean)).toBe(true)
    expect(known.slice(63, 99).some(Boolean)).toBe(false)
    expect(known[99]).toBe(true)
  })

  it('is zero while it was down, and what travelled across an outage travelled outside of it', () => {
    // 40,000 bytes asked for at 1 s, down from 2 s to 5.5 s, through at 6.5 s: two seconds of link.
    const trace = load([
      event(2, 'link-down'),
      event(5.5, 'link-up'),
      up(6.5, 40_000, 5.5),
      up(7, 10_000, 0.5),
    ])
    const rates = [...trace.uplinkBitsPerSecond].map(Math.round)
    expect(rates).toEqual([NaN, 160_000, 0, 0, 0, 80_000, 160_000])
  })

  it('ends an outage that nobody saw the end of with the session, and leaves a gap between sessions', () => {
    const later = { ...HEADER, startedAt: '2026-03-01T12:05:00.000Z' }
    const trace = load([up(1, 2000, 1), event(2, 'link-down'), event(4, 'tick'), later, up(1, 4000, 1)])
    expect(trace.timeSeconds).toHaveLength(302)
    const rates = [...trace.uplinkBitsPerSecond]
    expect(rates.slice(0, 4)).toEqual([16_000, 16_000, 0, 0])
    expect(rates[200]).toBeNaN()
    expect(rates[300]).toBe(32_000)
    // A next file of the same start changes nothing; a clock that was set back does not fold sessions together.
    expect(load([up(1, 2000, 1), HEADER, up(3, 2000, 1)]).timeSeconds).toHaveLength(4)
    const earlier = { ...HEADER, startedAt: '2026-03-01T11:00:00.000Z' }
    expect(load([up(10, 2000, 1), earlier, up(1, 4000, 1)]).timeSeconds).toHaveLength(73)
  })

  it('is refused in more bins than a trace may have', () => {
    expect(() => load([up(24 * 3600, 2000, 1)], 1)).toThrow(/larger --bin-ms/)
  })

  it('needs something of a link; damaged lines are counted in its notes', () => {
    expect(() => load([event(1, 'tick')])).toThrow(/a transfer or a heartbeat/)
    const text = [HEADER, up(1, 2000, 1), up(2, 2000, 1)].map(encodeLine).join('').replace('2000', '2001')
    expect(importTrace(text, source).meta.notes.at(-1)).toBe('1 damaged lines left out')
  })
})

describe('the workload of a log', () => {
  it('leaves out what was not answered, tells two sessions apart, and needs a request', () =>
    inFolder((folder) => {
      const arrival = (atSeconds: number, request: number, promptTokens: number): LogRecord => ({
        kind: 'arrival',
        atSeconds,
        request,
        promptTokens,
        maxNewTokens: 99,
      })
      const outcome = (atSeconds: number, request: number, end: string, outputTokens: number) => ({
        kind: 'outcome',
        atSeconds,
        request,
        end,
        outputTokens,
        detail: '',
        queueSeconds: 0,
        ttftSeconds: null,
        tpotSeconds: null,
        endToEndSeconds: 1,
        upBytes: 0,
        downBytes: 0,
        edgeSeconds: null,
      })
      const records = [
        HEADER,
        arrival(0.25, 1, 10),
        arrival(1, 2, 20),
        arrival(2, 3, 30),
        arrival(3, 4, 40),
        outcome(4, 2, 'cancelled', 5),
        outcome(5, 1, 'stop', 6),
        outcome(6, 3, 'error', 7),
        { ...HEADER, startedAt: '2026-03-01T13:00:00.000Z' },
        outcome(1, 4, 'stop', 9),
        arrival(2, 1, 50),
        outcome(3, 1, 'length', 8),
      ]
      const path = join(folder, 'decisions.00001.jsonl')
      writeFileSync(path, records.map(encodeLine).join(''))
      const requests = readServedRequests(path)
      expect([...requests.arrivalSeconds]).toEqual([0, 0.75, 3601.75])
      expect([...requests.promptTokens]).toEqual([10, 20, 50])
      expect([...requests.outputTokens]).toEqual([6, 5, 8])
      expect(requests).toMatchObject({ leftOut: 2, cancelled: 1, startedAt: '2026-03-01T12:00:00.250Z' })
      writeFileSync(path, encodeLine(HEADER))
      expect(() => readServedRequests(path)).toThrow(/at least one request/)
    }))
})
