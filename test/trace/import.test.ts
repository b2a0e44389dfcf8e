import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EdgewiseError, InputError } from '../../src/core/errors.ts'
import { detectFormat, importTrace, TRACE_FORMATS } from '../../src/trace/import/detect.ts'
import type { ImportOptions } from '../../src/trace/import/detect.ts'

const source = { where: 'walk.txt', origin: 'test', licence: 'CC0', direction: 'up' } as const
const load = (text: string, options?: ImportOptions, more: object = {}) =>
  importTrace(text, { ...source, ...more }, options)

describe('mahimahi', () => {
  it('"1" alone is 12 Mbit/s; equal stamps are several; the last stamp is the period', () => {
    expect(load('1\n').uplinkBitsPerSecond).toEqual(Float64Array.of(12e6))
    const trace = load('50\n50\n100\r\n250\n')
    expect([...trace.timeSeconds]).toEqual([0, 0.1, 0.2, 0.25])
    expect([...trace.uplinkBitsPerSecond].map(Math.round)).toEqual([360_000, 0, 240_000])
    expect(trace.meta.rateKind).toBe('raw-capacity')
  })

  it('loses no packet', () => {
    const stamps = fc.array(fc.nat(5000), { minLength: 1, maxLength: 200 })
    fc.assert(
      fc.property(stamps, (unsorted) => {
        const sorted = unsorted.sort((a, b) => a - b)
        fc.pre(sorted[sorted.length - 1] > 0)
        const trace = load(sorted.join('\n'), { format: 'mahimahi' })
        const bits = trace.uplinkBitsPerSecond.reduce(
          (sum, rate, i) => sum + rate * (trace.timeSeconds[i + 1] - trace.timeSeconds[i]),
          0,
        )
        expect(bits).toBeCloseTo(12_000 * sorted.length, 3)
      }),
    )
  })

  it('needs a direction, takes it from .up and .down, and never guesses', () => {
    const none = { direction: undefined }
    expect(() => load('1\n', {}, none)).toThrow(/direction/)
    expect(load('1\n', {}, { ...none, where: 'a.down' }).downlinkBitsPerSecond[0]).toBe(12e6)
  })

  it.each([
    ['5\n4\n', 'walk.txt:2'],
    ['5\n\n6x\n', 'walk.txt:3'],
    ['99999999999999\n', 'walk.txt:1'],
    ['0\n', 'period'],
  ])('%j is refused at %s', (text, message) => {
    expect(() => load(text, { format: 'mahimahi' })).toThrow(message)
  })
})

describe('Pensieve', () => {
  it('line i holds over (t[i-1], t[i]], from wherever it starts; Solis stamps the start', () => {
    const text = '300.0\t9\n301\t2\n303 0\n'
    const ends = load(text, { format: 'pensieve' })
    expect([...ends.timeSeconds]).toEqual([300, 301, 303])
    expect([...ends.uplinkBitsPerSecond]).toEqual([2e6, 0])
    const starts = load(text, { format: 'pensieve', stamp: 'start' })
    expect([...starts.timeSeconds]).toEqual([300, 301, 303, 305])
    expect([...starts.uplinkBitsPerSecond]).toEqual([9e6, 2e6, 0])
  })

  it('takes a long silence between lines as a gap', () => {
    expect([...load('0 1\n1 1\n500 1\n501 2\n', { format: 'pensieve' }).uplinkBitsPerSecond]).toEqual([
      1e6,
      NaN,
      2e6,
    ])
  })

  it.each([
    ['1 2\n0 2\n', 'walk.txt:2'],
    ['1 2\n2 -1\n', 'walk.txt:2'],
    ['1 2\n2 3 4\n', 'walk.txt:2'],
    ['1 2\n2 1e9\n', 'Mbit/s'],
    ['1 2\n', 'two lines'],
  ])('%j is refused at %s', (text, message) => {
    expect(() => load(text, { format: 'pensieve' })).toThrow(message)
  })
})

describe('CSV', () => {
  it('knows our own headers, keeps empty cells apart from zeros, and lists what it does not use', () => {
    const trace = load('time_s,uplink_mbps,rtt_ms,cell\n0,1.5,20,"a,b"\n1,0,-,c\n2,,30,d\n')
    expect([...trace.timeSeconds]).toEqual([0, 1, 2, 3])
    expect([...trace.uplinkBitsPerSecond]).toEqual([1.5e6, 0, NaN])
    expect([...trace.rttSeconds]).toEqual([0.02, NaN, 0.03])
    expect(trace.meta.notes).toEqual(['columns not used: cell'])
  })

  it('reads declared columns: dates, ends, units, gaps between intervals', () => {
    const text =
      'from,to,dl\n2024-01-11 10:06:39,2024-01-11 10:06:40,8\n2024-01-11 10:07:00,2024-01-11 10:07:02,0\n'
    const columns = {
      time: { column: 'from', unit: 'datetime' },
      end: { column: 2, unit: 'datetime' },
      downlink: { column: 'dl', unit: 'byte/s' },
    }
    const trace = load(text, { columns })
    expect([...trace.timeSeconds].map((t) => t - trace.timeSeconds[0])).toEqual([0, 1, 21, 23])
    expect([...trace.downlinkBitsPerSecond]).toEqual([64, NaN, 0])
    expect([...load(text, { columns, zeroIsMissing: true }).downlinkBitsPerSecond]).toEqual([64, NaN, NaN])
  })

  it.each([
    ['time_s,rtt_ms\n1,1\n2,1\n0,2\n', undefined, 'walk.txt:4'],
    ['time_s,rtt_ms\n0,x\n', undefined, 'walk.txt:2'],
    ['time_s,rtt_ms\n0\n', undefined, 'walk.txt:2'],
    ['time_s,foo\n0,1\n', undefined, 'walk.txt:1'],
    ['time_s,loss\n0,2\n', undefined, 'walk.txt:2'],
    ['a,b\n0,1\n', { time: { column: 'a', unit: 's' }, uplink: { column: 'c', unit: 'bit/s' } }, '"c"'],
    ['a,b\n0,1\n', { time: { column: 'a', unit: 's' }, uplink: { column: 'b', unit: 'mph' } }, 'Mbit/s'],
  ])('%j is refused at %s', (text, columns, message) => {
    expect(() => load(text, { format: 'csv', ...(columns ? { columns } : {}) })).toThrow(message)
  })

  it('takes the smallest of several round trips for one, not for minutes', () => {
    const text = 't_ms,rtt_min\n0,20\n1,21\n'
    const columns = { time: { column: 't_ms' }, rtt: { column: 'rtt_min' } }
    expect(() => load(text, { columns })).toThrow(/column rtt[^]*its header "rtt_min" names none/)
    expect(load(text, { columns: { ...columns, rtt: { column: 2, unit: 'ms' } } }).rttSeconds[0]).toBe(0.02)
  })

  it('refuses ends of intervals that have no beginning', () => {
    const [end, uplink] = [
      { column: 2, unit: 's' },
      { column: 3, unit: 'bit/s' },
    ]
    const text = '0,1,5\n1,2,6\n'
    const ending = { columns: { time: { column: 1, unit: 's' }, end, uplink }, stamp: 'end' } as const
    expect(() => load(text, ending)).toThrow(/column end[^]*--stamp end/)
    expect(() => load(text, { columns: { end, uplink }, everySeconds: 1 })).toThrow(
      /column end[^]*column time/,
    )
  })
})

describe('lists', () => {
  const rtt = { column: 1, unit: 'ms' }
  const uplink = { column: 2, unit: 'Mbit/s' }
  const lists = (columns: ImportOptions['columns']) =>
    load('20,30\n1,2\n1,2\n', { format: 'lists', everySeconds: 1, columns })

  it('are columns by their numbers, as a table has them', () => {
    const trace = lists({ rtt, uplink })
    expect([...trace.rttSeconds]).toEqual([0.02, 0.03])
    expect([...trace.uplinkBitsPerSecond]).toEqual([1e6, 2e6])
    expect(trace.meta.notes).toEqual(['1 lists not used'])
  })

  it.each<[ImportOptions['columns'], RegExp]>([
    [{ rtt: { ...rtt, unit: 'datetime' } }, /rtt[^]*a length of time/],
    [{ end: rtt, duration: rtt, uplink }, /at most one of end and duration[^]*end, duration, uplink/],
    [{ uplink: { column: 'a', unit: 'bit/s' } }, /a list by its number/],
    [{ uplink: { column: 1 } }, /a unit among/],
    [{ time: rtt }, /a declared list of values/],
  ])('%j is refused', (columns, message) => {
    expect(() => lists(columns)).toThrow(message)
  })
})

describe('iperf3', () => {
  const interval = (start: number, end: number, mbps: number, more = {}) => ({
    streams: [{ rtt: 30_000 }, { rtt: 50_000 }],
    sum: { start, end, bits_per_second: mbps * 1e6, ...more },
  })
  const file = (test: object, intervals: object[]) =>
    JSON.stringify({ start: { test_start: { protocol: 'TCP', ...test } }, intervals })
  const any = { direction: undefined }

  it('reads sums and microseconds, skips what was omitted, and keeps gaps', () => {
    const rows = [
      interval(0, 1, 99, { omitted: true }),
      interval(1, 2, 5),
      interval(2.001, 3, 0),
      interval(5, 6, 7),
    ]
    const trace = load(file({ reverse: 0 }, rows), {}, any)
    expect([...trace.timeSeconds]).toEqual([1, 2, 3, 5, 6])
    expect([...trace.uplinkBitsPerSecond]).toEqual([5e6, 0, NaN, 7e6])
    expect([...trace.rttSeconds]).toEqual([0.04, 0.04, NaN, 0.04])
    expect(trace.meta.minBinSeconds).toBe(1)
  })

  it('reverse is the downlink; a declaration that says otherwise is refused', () => {
    const text = file({ reverse: 1 }, [interval(0, 1, 3)])
    expect([...load(text, {}, any).downlinkBitsPerSecond]).toEqual([3e6])
    expect(() => load(text)).toThrow(/reverse/)
  })

  it.each([
    ['{', 'JSON'],
    ['{}', 'start'],
    [file({}, []), 'interval'],
    [file({}, [interval(0, 2, 1), interval(1, 2, 1)]), 'intervals[1]'],
    [file({}, [interval(0, 1, -1)]), 'bits_per_second'],
  ])('%j is refused at %s', (text, message) => {
    expect(() => load(text, {}, any)).toThrow(message)
  })
})

describe('nuttcp and ping', () => {
  it('count intervals, not wall clocks; a sequence number without a reply is a loss', () => {
    const nuttcp = load('[x] nuttcp-t: v8\n[y]  1 MB / 0.50 sec = 16.8 Mbps\n[y] 0 MB / 0.50 sec = 0 Mbps\n')
    expect([...nuttcp.timeSeconds]).toEqual([0, 0.5, 1])
    expect([...nuttcp.uplinkBitsPerSecond]).toEqual([16.8e6, 0])
    expect(() => load('nuttcp-r: v8\n 1 MB / 0.50 sec = 16.8 Mbps\n')).toThrow(/down/)
    const reply = (seq: number, ms: number) => `46 bytes from 1.2.3.4: icmp_seq=${seq} ttl=48 time=${ms} ms\n`
    const ping = load(
      `PING x\n${reply(1, 20)}${reply(3, 30)}4 packets transmitted, 2 received, 50% packet loss, time 600ms\n`,
    )
    expect([...ping.rttSeconds]).toEqual([0.02, NaN, 0.03, NaN])
    expect([...ping.lossRatio]).toEqual([0, 1, 0, 1])
    expect(ping.timeSeconds[2]).toBeCloseTo(0.4)
  })
})

describe('any importer', () => {
  it('detects formats by content', () => {
    const ping = 'PING 1.2.3.4 (1.2.3.4) 38(66) bytes of data.'
    const texts = [
      '12\n13\n',
      '{ "start": 1 }',
      '15.0 3168.6\n474.0 3168.6\n515.0 2410.2\n1020.0 2410.2\n',
      '1285675666 310761 59.889623 10.763866 288648 1008\n',
      'time_s,rtt_ms\n',
      'nuttcp-t: v8.1.4: socket',
      ping,
      '{"Key": "measurement", "Value": {"AppInfo": {}}}',
      '{"type": "result", "ping": {}}',
      '{"kind":"header","version":1}',
    ]
    expect(texts.map((text) => detectFormat(text, 'x'))).toEqual(
      TRACE_FORMATS.filter((name) => name !== 'pensieve' && name !== 'lists'),
    )
    expect(() => detectFormat('hello\n', 'x')).toThrow(InputError)
    expect(() => detectFormat('', 'x')).toThrow(/empty/)
  })

  it('turns whatever it is given into a trace or one clear error', () => {
    const number = fc.oneof(
      fc.integer().map(String),
      fc.double().map(String),
      fc.constantFrom('', '-', '1e308', '0'),
    )
    const line = fc.tuple(number, fc.constantFrom(' ', ',', '\t', ''), number).map((parts) => parts.join(''))
    const text = fc.oneof(
      fc.string({ maxLength: 200 }),
      fc.array(line, { maxLength: 20 }).map((lines) => lines.join('\n')),
      fc.array(line, { maxLength: 20 }).map((lines) => ['time_s,uplink_bps', ...lines].join('\r\n')),
      fc.json(),
      fc
        .array(fc.tuple(number, number), { maxLength: 9 })
        .map((pairs) =>
          pairs
            .map(([a, b]) => `nuttcp-t: ${a} MB / ${b} sec = ${a} Mbps\nicmp_seq=${a} time=${b} ms`)
            .join('\n'),
        ),
      fc
        .json()
        .map(
          (inner) =>
            `{"start":{"test_start":{"protocol":"TCP"}},"intervals":[{"streams":[],"sum":${inner}}]}`,
        ),
    )
    const format = fc.constantFrom(undefined, ...TRACE_FORMATS)
    fc.assert(
      fc.property(text, format, fc.constantFrom('start' as const, 'end' as const), (input, chosen, stamp) => {
        try {
          load(input, { stamp, ...(chosen ? { format: chosen } : {}) })
        } catch (error) {
          expect(error).toBeInstanceOf(EdgewiseError)
          expect((error as Error).message).toContain('walk.txt')
        }
      }),
      { numRuns: 1500 },
    )
  })
})
