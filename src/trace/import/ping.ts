import { makeTrace } from '../table.ts'
import type { Trace } from '../table.ts'
import { emptyError, lineError, linesOf } from '../lines.ts'
import { sourceMeta } from './source.ts'
import type { SourceInfo } from './source.ts'

const REPLY = /icmp_seq=(\d{1,9}) .*time=(\d+(?:\.\d+)?) ms/
const SUMMARY = /(\d+) packets transmitted.* time (\d+)ms/
/** Largest number of requests that is accepted; more count as damage. */
const MAX_REQUESTS = 10_000_000

/**
 * Reads the text that `ping` prints: one row for each request, at its number times the interval, which follows from the
 * summary (1 s without one, ping's default). A number without a reply is a loss, with RTT not measured. Of duplicate
 * replies the first is used.
 */
export function importPing(text: string, source: SourceInfo): Trace {
  const replies = new Map<number, number>()
  let highest = 0
  let interval = 1
  for (const line of linesOf(text)) {
    const reply = REPLY.exec(line.text)
    if (reply !== null) {
      const sequence = Number(reply[1])
      if (sequence > MAX_REQUESTS)
        throw lineError(source.where, line.number, `icmp_seq to ${MAX_REQUESTS}`, line.text)
      if (!replies.has(sequence)) replies.set(sequence, Number(reply[2]) / 1000)
      highest = Math.max(highest, sequence)
      continue
    }
    const summary = SUMMARY.exec(line.text)
    if (summary === null) continue
    const [sent, milliseconds] = [Number(summary[1]), Number(summary[2])]
    if (sent > 1 && milliseconds > 0) interval = milliseconds / 1000 / (sent - 1)
    if (sent <= MAX_REQUESTS) highest = Math.max(highest, sent)
  }
  if (replies.size === 0) throw emptyError(source.where, 'replies with icmp_seq and time')
  const first = replies.has(0) ? 0 : 1
  const count = highest - first + 1
  const rttSeconds = Float64Array.from({ length: count }, (_, i) => replies.get(first + i) ?? NaN)
  return makeTrace(
    {
      meta: sourceMeta(source, text, 'ping', null, [`one request each ${interval.toFixed(4)} s`]),
      timeSeconds: Float64Array.from({ length: count + 1 }, (_, i) => i * interval),
      rttSeconds,
      lossRatio: rttSeconds.map((rtt) => (Number.isNaN(rtt) ? 1 : 0)),
    },
    source.where,
  )
}
