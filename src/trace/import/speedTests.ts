import { z } from 'zod'
import { InputError } from '../../core/errors.ts'
import { check, parseJson } from '../../core/schema.ts'
import { parseStamp } from '../delimited.ts'
import { Column, emptyError, linesOf } from '../lines.ts'
import { makeTrace } from '../table.ts'
import type { Trace } from '../table.ts'
import type { Direction } from '../types.ts'
import { findDocuments } from './iperfDocuments.ts'
import { rateColumn, sourceMeta } from './source.ts'
import type { SourceInfo } from './source.ts'

/** Whether a text holds NDT7's measurements, one in each line. */
export function isNdt7(text: string): boolean {
  return /^\ufeff?\s*\{[^\n]{0,2000}"(?:AppInfo|TCPInfo|BBRInfo)"\s*:/.test(text.slice(0, 4000))
}

/** Whether a text holds results of Ookla's Speedtest in JSON. */
export function isOokla(text: string): boolean {
  return (
    /^\ufeff?\s*\{\s*"type"\s*:\s*"(?:testStart|ping|download|upload|result)"/.test(text.slice(0, 400)) ||
    /^\ufeff?\s*\{[^]{0,4000}"(?:download|upload)"\s*:\s*\{[^{}]{0,400}"bandwidth"\s*:/.test(
      text.slice(0, 8000),
    )
  )
}

const microseconds = z.number().min(0).max(1e13)
const measurementSchema = z.object({
  Origin: z.string().optional(),
  Test: z.enum(['download', 'upload']),
  AppInfo: z.object({ ElapsedTime: microseconds, NumBytes: z.number().min(0) }).nullish(),
  TCPInfo: z.object({ RTT: microseconds.optional() }).nullish(),
  BBRInfo: z.object({ MinRTT: microseconds.optional() }).nullish(),
})
type Measurement = z.infer<typeof measurementSchema>

/**
 * Reads the measurements of NDT7 (M-Lab), one in each line: bytes are counted from the test's beginning, times are
 * microseconds. What the receiver counted is used where it is there: the client of a download, the server of an upload.
 */
export function importNdt7(text: string, source: SourceInfo): Trace {
  const { where } = source
  const all: Measurement[] = []
  for (const line of linesOf(text)) {
    const place = `${where}:${line.number}`
    const value = parseJson(line.text, place) as { Key?: unknown; Value?: unknown } | null
    if (value?.Key !== undefined && value.Key !== 'measurement') continue
    all.push(check(measurementSchema, value?.Value ?? value, place))
  }
  const tests = new Set(all.map(({ Test }) => Test))
  if (tests.size > 1) {
    throw new InputError({ where, expected: 'one test a file', found: 'a download and an upload' })
  }
  const direction: Direction = tests.has('download') ? 'down' : 'up'
  const receiver = direction === 'down' ? 'client' : 'server'
  const counted = all.filter(({ AppInfo }) => (AppInfo ?? null) !== null)
  const received = counted.filter(({ Origin }) => Origin === receiver)
  const rows = received.length > 1 ? received : counted
  const [times, rates, rtt] = [new Column(), new Column(), new Column()]
  times.push(0)
  let bytesBefore = 0
  for (const { AppInfo, TCPInfo, BBRInfo } of rows) {
    const seconds = AppInfo!.ElapsedTime / 1e6
    const bytes = AppInfo!.NumBytes
    if (!(seconds > times.last()) || bytes < bytesBefore) continue
    rates.push((8 * (bytes - bytesBefore)) / (seconds - times.last()))
    const roundTrip = TCPInfo?.RTT ?? BBRInfo?.MinRTT ?? 0
    rtt.push(roundTrip > 0 ? roundTrip / 1e6 : NaN)
    times.push(seconds)
    bytesBefore = bytes
  }
  if (rates.length === 0)
    throw emptyError(where, 'measurements with AppInfo, or a direction that was measured')
  const notes = [`NDT7 ${direction}, as the ${received.length > 1 ? 'receiver' : 'sender'} counted`]
  const meta = sourceMeta(source, text, 'ndt7', 'tcp-goodput', notes, received.length > 1 ? 0 : 1)
  const columns = { [rateColumn(direction)]: rates.toArray(), rttSeconds: rtt.toArray() }
  return makeTrace({ meta, timeSeconds: times.toArray(), ...columns }, where)
}

const laneSchema = z.object({
  /** Bytes a second, of the steady part of the test: not bytes over elapsed. */
  bandwidth: z.number().min(0),
  /** Milliseconds. */
  elapsed: z.number().min(1).max(1e7).optional(),
})
const resultSchema = z.object({
  timestamp: z.string().optional(),
  ping: z.object({ latency: z.number().min(0) }).optional(),
  download: laneSchema.optional(),
  upload: laneSchema.optional(),
  /** Percent. */
  packetLoss: z.number().min(0).max(100).nullish(),
})
/** Length of a test that does not say its own. */
const TEST_SECONDS = 10
const BETWEEN_TESTS_SECONDS = 60

/**
 * Reads results of Ookla's Speedtest in JSON (`speedtest --format json` or `jsonl`): one row for each test, with the
 * average of its download and of its upload, which came one after the other. Rows of progress are skipped.
 */
export function importOokla(text: string, source: SourceInfo): Trace {
  const { where } = source
  const names = ['downlinkBitsPerSecond', 'uplinkBitsPerSecond', 'rttSeconds', 'lossRatio'] as const
  const columns = names.map(() => new Column())
  const times = new Column()
  const push = (until: number, values: readonly number[]): void => {
    times.push(until)
    values.forEach((value, i) => columns[i].push(value))
  }
  for (const document of findDocuments(text).documents) {
    const value = parseJson(document, where) as { type?: unknown }
    if (value.type !== undefined && value.type !== 'result') continue
    const { timestamp = '', ping, download, upload, packetLoss } = check(resultSchema, value, where)
    if (download === undefined && upload === undefined) continue
    const stamp = parseStamp(timestamp)
    const said = stamp === null ? NaN : stamp.wholeSeconds + stamp.fraction
    if (times.length === 0) times.push(Number.isNaN(said) ? 0 : said)
    const begin = times.last() > said || Number.isNaN(said) ? times.last() + BETWEEN_TESTS_SECONDS : said
    if (columns[0].length > 0 && begin > times.last()) push(begin, [NaN, NaN, NaN, NaN])
    const lengths = [download?.elapsed, upload?.elapsed].map((elapsed) => (elapsed ?? 0) / 1000)
    push(times.last() + (Math.max(...lengths) || TEST_SECONDS), [
      8 * (download?.bandwidth ?? NaN),
      8 * (upload?.bandwidth ?? NaN),
      (ping?.latency ?? NaN) / 1000,
      (packetLoss ?? NaN) / 100,
    ])
  }
  if (times.length === 0) throw emptyError(where, 'a result with a download or an upload')
  const notes = ['one average for each test; download and upload came one after the other']
  const meta = sourceMeta(source, text, 'ookla', 'tcp-goodput', notes, 0)
  const measured = Object.fromEntries(names.map((name, i) => [name, columns[i].toArray()]))
  return makeTrace({ meta, timeSeconds: times.toArray(), ...measured }, where)
}
