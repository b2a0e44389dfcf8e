import { z } from 'zod'
import { InputError, show } from '../../core/errors.ts'
import { check, parseJson } from '../../core/schema.ts'
import { makeTrace } from '../table.ts'
import type { Trace } from '../table.ts'
import { emptyError } from '../lines.ts'
import type { Direction } from '../types.ts'
import { findDocuments } from './iperfDocuments.ts'
import { IperfTimeline, udpSenderError } from './iperfRows.ts'
import { importIperfText, isIperfText } from './iperfText.ts'
import { sourceMeta } from './source.ts'
import type { SourceInfo } from './source.ts'

const sumSchema = z.object({
  start: z.number().min(0).max(1e7),
  end: z.number().min(0).max(1e7),
  bits_per_second: z.number().min(0),
  omitted: z.boolean().optional(),
  /** Whether the side that wrote this file sent these bytes. */
  sender: z.boolean().optional(),
  lost_packets: z.number().nullish(),
})
const intervalSchema = z.object({
  /** Microseconds; only a TCP sender measures it. */
  streams: z.array(z.object({ rtt: z.number().min(0).nullish() })),
  sum: sumSchema,
  sum_bidir_reverse: sumSchema.optional(),
  /** The second `sum` of iperf3 3.7 to 3.10 under --bidir. */
  'sum#2': sumSchema.optional(),
})
const testSchema = z.object({
  protocol: z.string(),
  reverse: z.number().optional(),
  target_bitrate: z.number().optional(),
})
const endSchema = z.object({
  sum_received: z
    .object({
      start: z.number().min(0),
      end: z.number().min(0).max(1e7),
      bits_per_second: z.number().min(0),
      lost_percent: z.number().nullish(),
    })
    .optional(),
})
const fileSchema = z.object({
  start: z.object({
    test_start: testSchema,
    timestamp: z.object({ timesecs: z.number() }).optional(),
    /** A client's file has the first, a server's the second. */
    connecting_to: z.unknown().optional(),
    accepted_connection: z.unknown().optional(),
  }),
  intervals: z.array(intervalSchema),
  end: endSchema.optional().catch(undefined),
  error: z.string().optional(),
  /** What the server saw, under --get-server-output --json. */
  server_output_json: z
    .object({ intervals: z.array(intervalSchema) })
    .optional()
    .catch(undefined),
})
type IperfFile = z.infer<typeof fileSchema>
type Sum = z.infer<typeof sumSchema>

const REMEDY = 'record with `iperf3 --json`'
/** A UDP test that lost less than this did not fill the link: its rate is what `-b` asked for. */
const FILLED_LOSS_PERCENT = 1

/**
 * Reads what iperf3 writes: a JSON file, several appended ones, a stream of events (`--json-stream`), or text (also of
 * iperf 2). A client's test is an uplink, with `-R` a downlink, with `--bidir` both; in a server's file it is the same.
 * Omitted rows are skipped; sums are used instead of single streams.
 * The first bytes of an upload measured by its sender fill the socket buffer. Bins finer than 1 s would show that, so
 * the trace's `minBinSeconds` is then 1. Of UDP only the receiver's rate is the link's: the sender's is its own `-b`.
 */
export function importIperf3(text: string, source: SourceInfo): Trace {
  if (isIperfText(text)) return importIperfText(text, source)
  const { where } = source
  const { documents, strayLines } = findDocuments(text)
  if (documents.length === 0) parseJson(text, where)
  const files = filesOf(documents, where)
  const timeline = new IperfTimeline(where)
  const notes: string[] = []
  const facts: TestFacts[] = []
  for (const [i, file] of files.entries()) {
    const place = files.length === 1 ? where : `${where}: test ${i + 1}`
    timeline.beginTest(file.start.timestamp?.timesecs ?? NaN)
    facts.push(addTest(file, place, source.direction, timeline, notes))
    if (file.error !== undefined) notes.push(`iperf3 said: ${file.error}`.slice(0, 400))
  }
  if (files.length > 1) notes.push(`${files.length} tests, one after another`)
  if (strayLines.length > 0) notes.push(`lines beside the JSON: ${strayLines.join(' / ')}`.slice(0, 600))
  if (timeline.repeated > 0) notes.push(`${timeline.repeated} repeated or empty intervals left out`)
  const isUdp = facts.some((fact) => fact.isUdp)
  if (isUdp && facts.some((fact) => !fact.isUdp)) {
    throw new InputError({ where, expected: 'tests of one protocol in a file', found: 'TCP and UDP' })
  }
  const minBinSeconds = facts.some((fact) => fact.isSender && !fact.isUdp) ? 1 : 0
  const rateKind = isUdp ? 'raw-capacity' : 'tcp-goodput'
  const meta = sourceMeta(source, text, 'iperf3', rateKind, notes, minBinSeconds)
  return makeTrace({ meta, ...timeline.finish() }, where)
}

/** The documents as files: events are put together, from each `start` on. */
function filesOf(documents: readonly string[], where: string): IperfFile[] {
  const whole: unknown[] = []
  const streamed: Record<string, unknown>[] = []
  for (const document of documents) {
    const value = parseJson(document, where)
    const { event, data } = value as { event?: unknown; data?: unknown }
    if (typeof event !== 'string') whole.push(value)
    else if (event === 'start') streamed.push({ start: data, intervals: [] })
    else if (streamed.length > 0) {
      const file = streamed[streamed.length - 1]
      if (event === 'interval') (file.intervals as unknown[]).push(data)
      else file[event] = data
    }
  }
  // `--json-stream-full-output` has the whole file once more behind its events.
  const found = whole.length > 0 ? whole : streamed
  return found.map((value, i) => {
    const { error, intervals } = value as { error?: unknown; intervals?: unknown }
    const isEmpty = !Array.isArray(intervals) || intervals.length === 0
    if (typeof error === 'string' && isEmpty) {
      const expected = 'a test that ran'
      throw new InputError({
        where,
        expected,
        found: `iperf3 said: ${show(error, 200)}`,
        remedy: 'run it again',
      })
    }
    const place = found.length === 1 ? where : `${where}: test ${i + 1}`
    return check(fileSchema, value, place, REMEDY)
  })
}

interface TestFacts {
  readonly isUdp: boolean
  /** Whether a rate is that of the side that sent. */
  readonly isSender: boolean
}

/** A direction's sums, and whether they are of the side that sent. */
interface Lane {
  readonly direction: Direction
  readonly isSender: boolean
  readonly of: (interval: IperfFile['intervals'][number]) => Sum | undefined
}

function addTest(
  file: IperfFile,
  where: string,
  declared: Direction | undefined,
  timeline: IperfTimeline,
  notes: string[],
): TestFacts {
  const { protocol, reverse, target_bitrate: target = 0 } = file.start.test_start
  const isUdp = protocol.toUpperCase() === 'UDP'
  let intervals = file.intervals.filter(({ sum }) => sum.omitted !== true)
  if (intervals.length === 0) throw emptyError(where, 'at least one interval that is not omitted')
  let lanes = lanesOf(file, intervals)
  if (isUdp && lanes.length > 1) {
    lanes = lanes.filter(({ isSender }) => !isSender)
    notes.push('UDP --bidir: the direction in which this side sent is left out, as its rate is its own -b')
  }
  checkDirection(lanes, declared, reverse, where)
  notes.push(`iperf3 ${protocol}, ${lanes.map(({ direction }) => direction).join(' and ')}`)
  const server = file.server_output_json?.intervals.filter(({ sum }) => sum.omitted !== true) ?? []
  if (isUdp && lanes.length === 1 && lanes[0].isSender) {
    if (server.length > 0) {
      intervals = server
      lanes = [{ ...lanes[0], isSender: false }]
      notes.push('rates as the server received them')
    } else {
      addAverage(file, lanes[0].direction, where, timeline, notes)
      return { isUdp, isSender: false }
    }
  }
  if (isUdp) checkFilled(intervals, lanes, target, where)
  if (!isUdp && target > 0) notes.push(`limited by its own -b to ${target / 1e6} Mbit/s`)
  intervals.forEach((interval, i) => {
    const { start, end } = interval.sum
    const rate = (way: Direction): number =>
      lanes.find(({ direction }) => direction === way)?.of(interval)?.bits_per_second ?? NaN
    timeline.add(
      {
        startSeconds: start,
        endSeconds: end,
        upBitsPerSecond: rate('up'),
        downBitsPerSecond: rate('down'),
        rttSeconds: meanRtt(interval.streams),
      },
      `intervals[${i}].sum`,
    )
  })
  return { isUdp, isSender: lanes.some(({ isSender }) => isSender) }
}

/** Which sums are the uplink and which the downlink: from who sent, and from whether this is the client's file. */
function lanesOf(file: IperfFile, intervals: IperfFile['intervals']): Lane[] {
  const { start } = file
  const isServer = start.accepted_connection !== undefined && start.connecting_to === undefined
  const isReverse = start.test_start.reverse === 1
  const lane = (of: Lane['of'], isSenderByFlags: boolean): Lane => {
    const isSender = of(intervals[0])?.sender ?? isSenderByFlags
    return { direction: isSender === isServer ? 'down' : 'up', isSender, of }
  }
  const first = lane(({ sum }) => sum, isReverse === isServer)
  const second = (interval: IperfFile['intervals'][number]): Sum | undefined =>
    interval.sum_bidir_reverse ?? interval['sum#2']
  // 3.11 and 3.12 do not write that the test was --bidir.
  if (intervals.every((interval) => second(interval) === undefined)) return [first]
  const other = first.direction === 'up' ? 'down' : 'up'
  return [first, { direction: other, isSender: !first.isSender, of: second }]
}

function checkDirection(
  lanes: readonly Lane[],
  declared: Direction | undefined,
  reverse: number | undefined,
  where: string,
): void {
  if (declared === undefined || lanes.some(({ direction }) => direction === declared)) return
  throw new InputError({
    where: `${where}: start.test_start.reverse`,
    expected: `${declared === 'down' ? 1 : 0}, as the direction was declared ${declared}`,
    found: `${reverse ?? 0}, and a test ${lanes[0].direction}`,
    remedy: 'leave the direction out: this format says it',
  })
}

/** Of a UDP test whose sender wrote the file, only the end says what arrived: one row, the mean of the whole test. */
function addAverage(
  file: IperfFile,
  direction: Direction,
  where: string,
  timeline: IperfTimeline,
  notes: string[],
): void {
  const received = file.end?.sum_received
  const lost = received?.lost_percent ?? 0
  if (received === undefined || !(lost >= FILLED_LOSS_PERCENT) || !(received.end > received.start)) {
    const arrived = received === undefined ? 'and nothing of what arrived' : `of which ${lost} % were lost`
    throw udpSenderError(`${where}: intervals`, `sums of the sender, ${arrived}`)
  }
  const rate = received.bits_per_second
  timeline.add(
    {
      startSeconds: received.start,
      endSeconds: received.end,
      upBitsPerSecond: direction === 'up' ? rate : NaN,
      downBitsPerSecond: direction === 'down' ? rate : NaN,
      rttSeconds: NaN,
    },
    'end.sum_received',
  )
  notes.push(`one mean of what arrived (end.sum_received): the intervals are the sender's own rate`)
}

/** A UDP receiver without losses got what was offered, not what the link can carry. */
function checkFilled(
  intervals: IperfFile['intervals'],
  lanes: readonly Lane[],
  target: number,
  where: string,
): void {
  const isFilled = intervals.some((interval) =>
    lanes.some((lane) => {
      const sum = lane.of(interval)
      const lost = sum?.lost_packets ?? null
      return lost === null ? target === 0 : lost > 0
    }),
  )
  if (isFilled) return
  throw new InputError({
    where: `${where}: intervals`,
    expected: 'a UDP test that lost packets: only then did it fill the link',
    found: `no loss: the rate is what its own -b asked for${target > 0 ? `, ${target / 1e6} Mbit/s` : ''}`,
    remedy: `record with a -b above the link's rate, or without -u`,
  })
}

/** Seconds, averaged over the streams that measured it; NaN if none did. */
function meanRtt(streams: IperfFile['intervals'][number]['streams']): number {
  const known = streams.flatMap(({ rtt }) => (typeof rtt === 'number' && rtt > 0 ? [rtt] : []))
  return known.length === 0 ? NaN : known.reduce((sum, value) => sum + value, 0) / known.length / 1e6
}
