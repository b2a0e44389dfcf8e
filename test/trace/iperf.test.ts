import { describe, expect, it } from 'vitest'
import { importTrace } from '../../src/trace/import/detect.ts'

const load = (text: string) => importTrace(text, { where: 'x.json', origin: 'test', licence: 'own' })
const values = (column: Float64Array) => [...column].map((rate) => Math.round(rate / 1e5) / 10)

const interval = (start: number, mbps: number, more: object = {}, other: object = {}) => ({
  streams: [{ rtt: 30_000 }],
  sum: { start, end: start + 1, bits_per_second: mbps * 1e6, ...more },
  ...other,
})
const file = (start: object, intervals: object[], more: object = {}) =>
  JSON.stringify({ start: { test_start: { protocol: 'TCP', reverse: 0 }, ...start }, intervals, ...more })
const server = { accepted_connection: { host: '10.0.0.9', port: 5 } }

describe('iperf3 JSON', () => {
  it("is the same direction in the server's file, whose rates under -R are the sender's", () => {
    const down = load(
      file({ ...server, test_start: { protocol: 'TCP', reverse: 1 } }, [interval(0, 3, { sender: true })]),
    )
    expect(values(down.downlinkBitsPerSecond)).toEqual([3])
    expect(down.meta.minBinSeconds).toBe(1)
    const up = load(file(server, [interval(0, 3, { sender: false })]))
    expect(values(up.uplinkBitsPerSecond)).toEqual([3])
    expect(up.meta.minBinSeconds).toBe(0)
  })

  it('has both directions of --bidir in a file of the server, too', () => {
    const other = { sum_bidir_reverse: { start: 0, end: 1, bits_per_second: 7e6, sender: true } }
    const trace = load(file(server, [interval(0, 3, { sender: false }, other)]))
    expect(values(trace.uplinkBitsPerSecond)).toEqual([3])
    expect(values(trace.downlinkBitsPerSecond)).toEqual([7])
  })

  it('leaves out an interval that is there twice, and one that has no length', () => {
    const last = interval(1, 5)
    const stub = { streams: [], sum: { start: 2, end: 2.000_01, bits_per_second: 9e9 } }
    const trace = load(file({}, [interval(0, 4), last, last, stub]))
    expect(values(trace.uplinkBitsPerSecond)).toEqual([4, 5])
    expect(trace.meta.notes.join()).toContain('2 repeated or empty intervals')
  })

  it('reads tests that were appended, by their clocks, and lines between them', () => {
    const at = (timesecs: number) => ({ timestamp: { timesecs } })
    const text = `warning: x\n${file(at(100), [interval(0, 4)])}\niperf3: interrupt\n${file(at(160), [interval(0, 6)], { error: 'interrupt - the client has terminated' })}\n`
    const trace = load(`\ufeff${text}`.replace('warning: x\n', ''))
    expect([...trace.timeSeconds]).toEqual([0, 1, 60, 61])
    expect(values(trace.uplinkBitsPerSecond)).toEqual([4, NaN, 6])
    expect(trace.meta.notes.join('\n')).toMatch(/iperf3 said: interrupt[^]*2 tests[^]*iperf3: interrupt/)
  })

  it('reads a log to which a test was appended each hour, however many notes that makes', () => {
    const at = (hour: number) => ({ timestamp: { timesecs: 3600 * hour } })
    const error = (hour: number) => ({ error: `interrupt ${hour}` })
    const tests = Array.from({ length: 60 }, (_, hour) => file(at(hour), [interval(0, 4)], error(hour)))
    const { timeSeconds, meta } = load(tests.join('\n'))
    expect(timeSeconds.at(-1)).toBe(59 * 3600 + 1)
    expect(meta.notes.slice(0, 2)).toEqual(['iperf3 TCP, up', 'iperf3 said: interrupt 0'])
    expect(meta.notes).toHaveLength(20)
    expect(meta.notes.at(-1)).toBe('and 43 more notes')
  })

  it('refuses UDP that filled no link, also at the receiver, and uses what the server sent along', () => {
    const udp = (more: object = {}) => ({ test_start: { protocol: 'UDP', reverse: 0, ...more } })
    const received = interval(0, 1, { sender: false, lost_packets: 0 })
    const slow = file(udp({ reverse: 1, target_bitrate: 1_000_000 }), [received])
    expect(() => load(slow)).toThrow(/no loss[^]*-b asked for, 1 Mbit/)
    const lossy = interval(0, 8, { sender: false, lost_packets: 9 })
    const both = file(udp(), [interval(0, 50, { sender: true })], {
      server_output_json: { intervals: [lossy] },
    })
    expect(values(load(both).uplinkBitsPerSecond)).toEqual([8])
    expect(() => load(file(udp(), [interval(0, 50, { sender: true })]))).toThrow(/nothing of what arrived/)
  })

  it('of UDP --bidir takes the direction that was received: the other has the rate that -b asked for', () => {
    const udp = { test_start: { protocol: 'UDP', reverse: 0, target_bitrate: 50_000_000 } }
    const received = { sum_bidir_reverse: { start: 0, end: 1, bits_per_second: 8e6, lost_packets: 9 } }
    const trace = load(file(udp, [interval(0, 50, { sender: true }, received)]))
    expect(values(trace.uplinkBitsPerSecond)).toEqual([NaN])
    expect(values(trace.downlinkBitsPerSecond)).toEqual([8])
    expect(trace.meta.notes.join()).toContain('left out')
  })
})

describe('iperf text', () => {
  const row = (id: string, from: number, rate: string, after = '') =>
    `[${id}]   ${from}.00-${from + 1}.00   sec  1.88 MBytes  ${rate}/sec${after}`
  const text = (...lines: string[]) => load(lines.join('\n'))

  it('reads reverse mode, units, sums, omitted rows, and a second test behind the first', () => {
    const head = ['Connecting to host h, port 1', 'Reverse mode, remote host h is sending']
    const header = '[ ID] Interval           Transfer     Bitrate'
    const first = [...head, header, row('  5', 0, '9.0 Mbits', ' (omitted)'), row('  5', 0, '500 Kbits')]
    const sums = ['- - - - - - -', header, row('  5', 0, '7 Mbits', '  sender'), row('  5', 0, '6 Mbits')]
    const second = [
      ...head,
      header,
      row('  5', 0, '1 Gbits'),
      row('  7', 0, '1 Gbits'),
      row('SUM', 0, '2 Gbits'),
    ]
    const trace = text(...first, ...sums, 'iperf Done.', ...second)
    expect(values(trace.downlinkBitsPerSecond)).toEqual([0.5, NaN, 2000])
    expect(trace.meta).toMatchObject({ minBinSeconds: 0, rateKind: 'tcp-goodput' })
  })

  it('reads both directions of --bidir, bytes, and refuses a UDP sender', () => {
    const both = ['Connecting to host h, port 1', '[ ID][Role] Interval', '[ ID] Interval  Transfer']
    const trace = text(...both, row('  5][TX-C', 0, '1.0 MBytes'), row('  7][RX-C', 0, '20 Mbits'))
    expect(values(trace.uplinkBitsPerSecond)).toEqual([8.4])
    expect(values(trace.downlinkBitsPerSecond)).toEqual([20])
    const udp = '[ ID] Interval  Transfer  Bitrate  Total Datagrams'
    expect(() => text('Connecting to host h', udp, row(' 5', 0, '1 Mbits', '  91'))).toThrow(/UDP sender/)
  })
})
