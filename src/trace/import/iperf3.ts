import { z } from 'zod'
import { InputError } from '../../core/errors.ts'
import { check, parseJson } from '../../core/schema.ts'
import { makeTrace } from '../table.ts'
import type { Trace } from '../table.ts'
import { Column, emptyError } from '../lines.ts'
import { sourceMeta } from './source.ts'
import type { SourceInfo } from './source.ts'

const sumSchema = z.object({
  start: z.number().min(0).max(1e7),
  end: z.number().min(0).max(1e7),
  bits_per_second: z.number().min(0),
  omitted: z.boolean().optional(),
})

const fileSchema = z.object({
  start: z.object({
    test_start: z.object({
      protocol: z.string(),
      reverse: z.number().optional(),
      bidir: z.number().optional(),
    }),
  }),
  intervals: z.array(
    z.object({
      /** Microseconds; only a TCP sender measures it. */
      streams: z.array(z.object({ rtt: z.number().min(0).optional() })),
      sum: sumSchema,
      sum_bidir_reverse: sumSchema.optional(),
    }),
  ),
})
type Interval = z.infer<typeof fileSchema>['intervals'][number]

/** Intervals that are at most this far apart count as touching. */
const TOUCH_SECONDS = 0.05

/**
 * Reads the output of `iperf3 -J`. `reverse: 1` is a downlink; by default the client sends, an uplink. Omitted rows are
 * skipped; sums are used instead of single streams. The loss of a UDP test is ignored: it says how far the sender
 * overdrove the link.
 * The first bytes of an upload measured by its sender fill the socket buffer. Bins finer than 1 s would show that, so
 * the trace's `minBinSeconds` is 1.
 */
export function importIperf3(text: string, source: SourceInfo): Trace {
  const { where } = source
  const remedy = 'record with `iperf3 --json`'
  const file = check(fileSchema, parseJson(text, where), where, remedy)
  const test = file.start.test_start
  const reverse = test.reverse === 1
  if (source.direction !== undefined && test.bidir !== 1 && (source.direction === 'down') !== reverse) {
    throw new InputError({
      where: `${where}: start.test_start.reverse`,
      expected: `${source.direction === 'down' ? 1 : 0}, as the direction was declared ${source.direction}`,
      found: String(test.reverse ?? 0),
      remedy: 'leave the direction out: this format says it',
    })
  }
  const rows = file.intervals.filter((interval) => interval.sum.omitted !== true)
  if (rows.length === 0) throw emptyError(where, 'at least one interval that is not omitted')
  const { timeSeconds, forward, backward, rtt } = readRows(rows, where)
  const udp = test.protocol.toUpperCase() === 'UDP'
  const senderSide = !reverse && !udp
  const notes = [`iperf3 ${test.protocol}, ${reverse ? 'reverse' : 'forward'}`]
  const rateKind = udp ? 'raw-capacity' : 'tcp-goodput'
  const meta = sourceMeta(source, text, 'iperf3', rateKind, notes, senderSide ? 1 : 0)
  const rates =
    test.bidir === 1
      ? { uplinkBitsPerSecond: forward, downlinkBitsPerSecond: backward }
      : { [reverse ? 'downlinkBitsPerSecond' : 'uplinkBitsPerSecond']: forward }
  return makeTrace({ meta, timeSeconds, ...rates, rttSeconds: rtt }, where)
}

/** One row for each interval, and a row of NaN between two that do not touch. */
function readRows(rows: readonly Interval[], where: string) {
  const times = new Column()
  const forward = new Column()
  const backward = new Column()
  const rtt = new Column()
  const push = (sum: number, reverse: number, roundTrip: number) => {
    forward.push(sum)
    backward.push(reverse)
    rtt.push(roundTrip)
  }
  times.push(rows[0].sum.start)
  rows.forEach(({ sum, streams, sum_bidir_reverse: reverse }, i) => {
    const before = times.last()
    if (sum.start > before + TOUCH_SECONDS) {
      push(NaN, NaN, NaN)
      times.push(sum.start)
    }
    if (sum.end <= times.last() || sum.start < before - TOUCH_SECONDS) {
      throw new InputError({
        where: `${where}: intervals[${i}].sum`,
        expected: `an interval that begins at ${before} s or later`,
        found: `${sum.start}..${sum.end} s`,
        remedy: 'one test a file',
      })
    }
    push(sum.bits_per_second, reverse?.bits_per_second ?? NaN, meanRtt(streams))
    times.push(sum.end)
  })
  return {
    timeSeconds: times.toArray(),
    forward: forward.toArray(),
    backward: backward.toArray(),
    rtt: rtt.toArray(),
  }
}

/** Seconds, averaged over the streams that measured it; NaN if none did. */
function meanRtt(streams: Interval['streams']): number {
  const known = streams.flatMap(({ rtt }) => (rtt !== undefined && rtt > 0 ? [rtt] : []))
  return known.length === 0 ? NaN : known.reduce((sum, value) => sum + value, 0) / known.length / 1e6
}
