import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { recordIo } from './io.ts'

/** Files of forms that people have, reduced from public reports; each with the figures that are right. */
const field = join(import.meta.dirname, '../fixtures/field/traces')

async function stats(...argv: string[]) {
  const io = recordIo({ clock: systemClock })
  const code = await runCli(['trace', 'stats', '--json', ...argv], io, COMMANDS, '0.0.0')
  return { code, err: io.err(), out: io.out() }
}

interface Lane {
  readonly meanBitsPerSecond: number
  readonly hours: number
}

/** Mbit/s up and down, seconds of the first lane that was measured, RTT in ms at p50 and samples; null: not measured. */
interface Right {
  readonly up?: number
  readonly down?: number
  readonly seconds?: number
  readonly rttMs?: number
  readonly samples?: number
}

async function expectStats(args: readonly string[], right: Right): Promise<void> {
  const { code, err, out } = await stats(...args)
  expect(code, err).toBe(0)
  const { uplink, downlink, rtt } = JSON.parse(out).all as {
    uplink: Lane | null
    downlink: Lane | null
    rtt: { p50Seconds: number; count: number } | null
  }
  const near = (found: number | undefined, expected: number | undefined, what: string): void => {
    if (expected === undefined) expect(found, what).toBeUndefined()
    else expect(found! / expected, `${what}: ${found}`).toBeCloseTo(1, 2)
  }
  near(uplink === null ? undefined : uplink.meanBitsPerSecond / 1e6, right.up, 'up')
  near(downlink === null ? undefined : downlink.meanBitsPerSecond / 1e6, right.down, 'down')
  const lane = uplink ?? downlink
  if (right.seconds !== undefined)
    near(lane === null ? undefined : 3600 * lane.hours, right.seconds, 'seconds')
  if (right.rttMs !== undefined) near(1000 * rtt!.p50Seconds, right.rttMs, 'rtt')
  if (right.samples !== undefined) expect(rtt?.count).toBe(right.samples)
}

describe('tables', () => {
  const time = 'time=time:datetime'
  it.each<[string, string[], Right]>([
    ['t14-csv-two-day-gaps.csv', [time, 'uplink=throughput:Mbit/s'], { up: 24.3, seconds: 360 }],
    [
      't15-csv-doubled-second.csv',
      ['time=Timestamp:datetime', 'downlink=DL_bitrate:kbit/s'],
      { down: 12.125, seconds: 4 },
    ],
    ['t16a-csv-semicolon-comma.csv', [], { up: 12.5, seconds: 3 }],
    ['t16b-csv-tab.csv', [], { up: 12.5, seconds: 3 }],
    ['t16c-csv-headerless.csv', ['time=1:s', 'uplink=2:bit/s'], { up: 25, seconds: 4 }],
    ['t16d-csv-na.csv', [], { up: 12.2, seconds: 2 }],
    ['t16e-csv-bom-crlf.csv', [], { up: 12.5, seconds: 3 }],
    [
      't19d-speedtest-cli.csv',
      ['time=Timestamp:datetime', 'downlink=Download:bit/s', 'uplink=Upload:bit/s', 'rtt=Ping:ms'],
      { down: 91.77, up: 10.436, rttMs: 14.9, samples: 2 },
    ],
  ])('%s', async (file, columns, right) => {
    await expectStats([join(field, file), ...columns.flatMap((column) => ['--column', column])], right)
  })

  it('keep a longer step where --max-step allows it, and say what is a gap', async () => {
    const columns = ['--column', time, '--column', 'uplink=throughput:Mbit/s']
    await expectStats([join(field, 't14-csv-two-day-gaps.csv'), ...columns, '--max-step', '1e6'], {
      up: 59.9,
      seconds: 48 * 3600,
    })
  })
})

describe('two columns of numbers', () => {
  const kilobits = join(field, 't13b-time-kbps.txt')
  const bytes = join(field, 't13c-time-bytes.txt')
  it.each([kilobits, bytes])('%s is refused with the choices', async (file) => {
    const { code, err } = await stats(file, '--direction', 'down')
    expect(code).toBe(2)
    expect(err).toMatch(
      /declared units[^]*--format pensieve[^]*--column time=1:s --column downlink=2:kbit\/s/,
    )
  })

  it('are read as declared, and Oboe by its pairs of lines', async () => {
    const declared = (rate: string): string[] => ['--column', 'time=1:s', '--column', `downlink=2:${rate}`]
    await expectStats([kilobits, ...declared('kbit/s')], { down: 2.6, seconds: 6 })
    await expectStats([bytes, ...declared('byte/s')], { down: 3.504, seconds: 4 })
    await expectStats([bytes, ...declared('byte')], { down: 3.504, seconds: 4 })
    const oboe = ['t13a-oboe-ms-kbps.txt', '--direction', 'down'] as const
    await expectStats([join(field, oboe[0]), ...oboe.slice(1)], { down: 2.15, seconds: 1.921 })
  })
})

describe('Riiser and Ghent', () => {
  it('count bytes over the milliseconds that they took', async () => {
    const file = join(field, 't17-riiser-ghent.log')
    await expectStats([file, '--direction', 'down'], { down: 1.7849, seconds: 3.002 })
  })
})

describe('iperf', () => {
  it.each<[string, Right]>([
    // The mean of what arrived; the intervals are the sender's own rate.
    ['t01-iperf3-udp-client-overdriven.json', { up: 9.76, seconds: 6.087 }],
    ['t02-iperf3-3.12-bidir.json', { up: 10.25, down: 23.66 }],
    ['t03-iperf3-3.9-bidir-duplicate-sum.json', { up: 10.24, down: 25.2 }],
    ['t04-iperf3-json-stream.jsonl', { up: 12.23, seconds: 3 }],
    ['t07a-iperf3-trailing-error.json', { up: 11.11, seconds: 5 }],
    ['t07c-iperf3-nan.json', { down: 29.0, seconds: 6 }],
    ['t08-iperf3-text.txt', { up: 12.9, seconds: 3 }],
    ['t08b-iperf2-text.txt', { up: 9.97, seconds: 2 }],
  ])('%s', async (file, right) => {
    await expectStats([join(field, file)], right)
  })

  it.each([
    ['t01b-iperf3-udp-default-1M.json', /sender states its own rate[^]*-b above/],
    ['t05-iperf3-connection-refused.json', /unable to connect to server: Connection refused/],
  ])('%s is refused', async (file, message) => {
    const { code, err } = await stats(join(field, file))
    expect(code).toBe(2)
    expect(err).toMatch(message)
  })
})

describe('ping', () => {
  it.each<[string, Right]>([
    ['t12a-ping-windows.txt', { rttMs: 16, samples: 4 }],
    ['t12c-ping-macos.txt', { rttMs: 3.2, samples: 5 }],
  ])('%s', async (file, right) => {
    await expectStats([join(field, file)], right)
  })
})

describe('mahimahi', () => {
  it.each<[string, Right]>([
    ['t18-mahimahi-zero-based.down', { down: 2.107, seconds: 0.131 }],
    ['t18b-mahimahi-all-zero-end.up', { up: 0.1216, seconds: 0.691 }],
    ['t18c-mahimahi-12mbps.up', { up: 12, seconds: 0.001 }],
  ])('%s', async (file, right) => {
    await expectStats([join(field, file)], right)
  })
})

describe('speed tests', () => {
  it.each<[string, Right]>([
    ['t19b-ookla.json', { up: 10.486, down: 92.27, rttMs: 14.3, samples: 1, seconds: 8 }],
    ['t19c-ndt7.jsonl', { down: 16, seconds: 1 }],
  ])('%s', async (file, right) => {
    await expectStats([join(field, file)], right)
  })
})

describe('text of Windows', () => {
  it('is read in UTF-16, and its hash is that of the file', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'edgewise-utf16-'))
    try {
      const text = readFileSync(join(field, 't02-iperf3-3.12-bidir.json'), 'utf8')
      const bytes = Buffer.from(`\ufeff${text}`, 'utf16le')
      writeFileSync(join(folder, 'a.json'), bytes)
      await expectStats([join(folder, 'a.json')], { up: 10.25, down: 23.66 })
      const io = recordIo({ clock: systemClock })
      await runCli(['trace', 'show', join(folder, 'a.json'), '--json'], io, COMMANDS, '0.0.0')
      expect(JSON.parse(io.out()).meta.sourceSha256).toBe(createHash('sha256').update(bytes).digest('hex'))
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
