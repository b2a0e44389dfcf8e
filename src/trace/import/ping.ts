import { parseStamp } from '../delimited.ts'
import { Column, decimal, emptyError, linesOf } from '../lines.ts'
import { makeTrace } from '../table.ts'
import type { Trace } from '../table.ts'
import { sourceMeta } from './source.ts'
import type { SourceInfo } from './source.ts'

/** Linux and macOS say icmp_seq, old Linux icmp_req, BusyBox seq. */
const SEQUENCE = /\b(?:icmp_seq|icmp_req|seq)[= ](\d{1,10})\b/
const TIME = /\btime[=<]\s?(\d+(?:\.\d+)?) ?ms/
/** Windows, in any of its languages: a time in whole ms and a TTL, and no number. */
const WINDOWS_REPLY = /[=<]\s?(\d+) ?ms\b.*\bTTL=\d+/
const SUMMARY = /(\d{1,10}) packets transmitted(?:.* time (\d+)ms)?/
const BEGINS = /^(?:\[[^\]]*\] )?PING \S/
const WINDOWS_BEGINS = /^Pinging \S/
/** ICMP has 16 bits for a number; what ping prints after 65535 is 0 again. */
const NUMBERS = 65_536
/** ping's own interval, where neither a summary nor stamps say another. */
const DEFAULT_INTERVAL_SECONDS = 1
/** A step between two replies that is this much longer than the interval is a gap: the machine slept. */
const GAP_INTERVALS = 10
const MIN_GAP_SECONDS = 5
/** A machine that did not ask for this long slept; a busy radio holds requests back for less. */
const SLEEP_SECONDS = 60
/** Between two runs in one file that do not say when they were. */
const BETWEEN_RUNS_SECONDS = 60

/** Whether a text is what some ping prints. */
export function isPing(head: string): boolean {
  return /^(?:\[[^\]]*\] )?PING |\bicmp_[sr]eq[= ]\d|\bseq=\d+ ttl=|^Pinging |[=<]\d+ ?ms TTL=\d/m.test(head)
}

/**
 * Reads the text that `ping` prints (Linux, macOS, BusyBox, Windows), of one run or several: one row for each reply, and
 * one for each stretch of requests without any, which are losses with an RTT that was not measured. A row is as long as
 * the interval between requests, which follows from the stamps of `ping -D`, or from the summary, or is 1 s. Of
 * duplicate replies the first is used.
 */
export function importPing(text: string, source: SourceInfo): Trace {
  const runs = readRuns(text)
  if (runs.length === 0) throw emptyError(source.where, 'replies with a number and a time')
  const rows = new PingRows()
  const notes: string[] = []
  for (const run of runs) {
    const interval = intervalOf(run)
    const assumed = interval.isAssumed ? ' (assumed: no summary and no stamps)' : ''
    notes.push(`one request each ${interval.seconds.toFixed(4)} s${assumed}`)
    rows.addRun(run, interval)
  }
  if (runs.length > 1) notes.push(`${runs.length} runs, one after another`)
  const meta = sourceMeta(source, text, 'ping', null, notes)
  return makeTrace({ meta, ...rows.finish() }, source.where)
}

interface Reply {
  /** Counted on where the 16 bits begin again. */
  readonly sequence: number
  readonly rttSeconds: number
  /** When it came; NaN without a stamp. */
  readonly stampSeconds: number
}

class Run {
  readonly replies = new Map<number, Reply>()
  /** The first request's number, if the run's beginning was seen: 1, or 0 on macOS and BusyBox. */
  readonly hasBeginning: boolean
  readonly isWindows: boolean
  private latest = NaN
  highest = -1
  sent = 0
  summarySeconds = NaN
  isOver = false

  constructor(hasBeginning: boolean, isWindows: boolean) {
    this.hasBeginning = hasBeginning
    this.isWindows = isWindows
  }

  /** The number of a request, counted on from the last one: the nearest that has these 16 bits. */
  private unwrap(number: number): number {
    if (Number.isNaN(this.latest) || number >= NUMBERS) return number
    return number + NUMBERS * Math.round((this.latest - number) / NUMBERS)
  }

  request(number: number): number {
    const sequence = this.unwrap(number)
    this.latest = sequence
    this.highest = Math.max(this.highest, sequence)
    return sequence
  }

  reply(number: number, rttSeconds: number, stampSeconds: number): void {
    const sequence = this.request(number)
    if (!this.replies.has(sequence)) this.replies.set(sequence, { sequence, rttSeconds, stampSeconds })
  }
}

/** The runs that have replies. */
function readRuns(text: string): Run[] {
  const runs: Run[] = []
  let run: Run | null = null
  const begin = (hasBeginning: boolean, isWindows: boolean): Run => {
    run = new Run(hasBeginning, isWindows)
    runs.push(run)
    return run
  }
  for (const { text: line } of linesOf(text)) {
    const open = run as Run | null
    if (BEGINS.test(line) || WINDOWS_BEGINS.test(line)) {
      begin(true, WINDOWS_BEGINS.test(line))
      continue
    }
    const number = SEQUENCE.exec(line)
    const time = TIME.exec(line)
    const summary = number === null ? SUMMARY.exec(line) : null
    if (number !== null) {
      const current: Run = open === null || open.isOver ? begin(false, false) : open
      if (time === null) current.request(Number(number[1]))
      else current.reply(Number(number[1]), Number(time[1]) / 1000, stampOf(line))
    } else if (summary !== null && open !== null) {
      open.sent = Number(summary[1])
      open.summarySeconds = summary[2] === undefined ? NaN : Number(summary[2]) / 1000
      open.isOver = true
    } else readWindows(line, open, begin)
  }
  return runs.filter(({ replies }) => replies.size > 0)
}

/** Windows numbers nothing: each line between the first and the statistics is a request, answered or not. */
function readWindows(line: string, open: Run | null, begin: (has: boolean, isWindows: boolean) => Run): void {
  const reply = WINDOWS_REPLY.exec(line)
  if (reply !== null) {
    const current = open === null || open.isOver ? begin(true, true) : open
    current.reply(current.highest + 1, Number(reply[1]) / 1000, stampOf(line))
  } else if (open?.isWindows === true && !open.isOver) {
    if (/[:：]\s*$/.test(line) || line.includes(' = ')) open.isOver = true
    else open.request(open.highest + 1)
  }
}

/** Seconds since 1970 in brackets at the start of a line, as `ping -D` has it, or a date; NaN without. */
function stampOf(line: string): number {
  const cell = /^\[([^\]]{1,40})\]/.exec(line)?.[1]
  if (cell === undefined) return NaN
  const seconds = decimal(cell)
  if (!Number.isNaN(seconds)) return seconds
  const stamp = parseStamp(cell)
  return stamp === null ? NaN : stamp.wholeSeconds + stamp.fraction
}

interface Interval {
  readonly seconds: number
  readonly isAssumed: boolean
  /** Whether requests are placed at equal distances, and not each by its stamp. */
  readonly isEven: boolean
}

function intervalOf(run: Run): Interval {
  const stamped = [...run.replies.values()].filter(({ stampSeconds }) => !Number.isNaN(stampSeconds))
  const steps: { readonly seconds: number; readonly requests: number }[] = []
  for (let i = 1; i < stamped.length; i++) {
    const requests = stamped[i].sequence - stamped[i - 1].sequence
    const seconds = sentSeconds(stamped[i]) - sentSeconds(stamped[i - 1])
    if (requests > 0) steps.push({ seconds, requests })
  }
  const each = steps.map(({ seconds, requests }) => seconds / requests)
  const median = Float64Array.from(each).sort()[(each.length - 1) >>> 1]
  const awake = steps.filter(
    ({ seconds, requests }) => seconds <= MIN_GAP_SECONDS || seconds < GAP_INTERVALS * median * requests,
  )
  const { sent, summarySeconds } = run
  // The summary counts the time that the machine slept, too: it is no clock then.
  const hasSlept = steps.some(
    ({ seconds, requests }) => seconds > SLEEP_SECONDS + GAP_INTERVALS * median * requests,
  )
  if (sent > 1 && summarySeconds > 0 && !hasSlept) {
    return { seconds: summarySeconds / (sent - 1), isAssumed: false, isEven: true }
  }
  if (median > 0) {
    const sum = (of: 'seconds' | 'requests') => awake.reduce((total, step) => total + step[of], 0)
    const seconds = Math.max(sum('seconds') / sum('requests'), 0.1 * median)
    return { seconds, isAssumed: false, isEven: false }
  }
  return { seconds: DEFAULT_INTERVAL_SECONDS, isAssumed: true, isEven: true }
}

const sentSeconds = ({ stampSeconds, rttSeconds }: Reply): number => stampSeconds - rttSeconds

/** Rows of all runs on one time axis, from 0 s on. */
class PingRows {
  private readonly times = new Column()
  private readonly rtt = new Column()
  private readonly loss = new Column()
  /** The stamp of 0 s. */
  private originSeconds = NaN

  /** A reply begins a row where its request went out; between replies that do not follow each other are losses, or gaps. */
  addRun(run: Run, { seconds: interval, isEven }: Interval): void {
    const replies = [...run.replies.values()].sort((a, b) => a.sequence - b.sequence)
    const first = run.hasBeginning
      ? Math.min(replies[0].sequence, run.isWindows || run.replies.has(0) ? 0 : 1)
      : replies[0].sequence
    const begin = this.beginRun(sentSeconds(replies[0]) - (replies[0].sequence - first) * interval)
    const evenly = (sequence: number): number => begin + (sequence - first) * interval
    if (replies[0].sequence > first) this.push(evenly(replies[0].sequence), NaN, 1)
    // Stamps count from the first reply, wherever on the axis the run was put.
    const shift = this.times.last() - sentSeconds(replies[0])
    for (let i = 0; i + 1 < replies.length; i++) {
      const { sequence, rttSeconds } = replies[i]
      const after = replies[i + 1].sequence
      if (isEven) {
        this.push(evenly(sequence + 1), rttSeconds, 0)
        if (after > sequence + 1) this.push(evenly(after), NaN, 1)
      } else this.addStamped(rttSeconds, after - sequence, sentSeconds(replies[i + 1]) + shift, interval)
    }
    const { sequence, rttSeconds } = replies[replies.length - 1]
    const end = isEven ? evenly(sequence + 1) : this.times.last() + interval
    this.push(end, rttSeconds, 0)
    const lost = Math.max(run.highest, run.sent > 0 ? first + run.sent - 1 : 0) - sequence
    if (lost > 0) this.push(isEven ? evenly(sequence + 1 + lost) : end + lost * interval, NaN, 1)
  }

  /** A reply, and what came until the next one, which was `steps` requests later. */
  private addStamped(rttSeconds: number, steps: number, stampedSeconds: number, interval: number): void {
    const at = this.times.last()
    const next = Number.isNaN(stampedSeconds)
      ? at + steps * interval
      : Math.max(stampedSeconds, at + 0.01 * steps * interval)
    const isGap = next - at > steps * interval * GAP_INTERVALS && next - at > MIN_GAP_SECONDS
    const own = isGap ? interval : (next - at) / steps
    this.push(steps === 1 && !isGap ? next : at + own, rttSeconds, 0)
    if (steps > 1) this.push(isGap ? at + steps * interval : next, NaN, 1)
    if (isGap) this.push(next, NaN, NaN)
  }

  /** Where a run begins: by its stamp if that is behind the last run, otherwise some way behind it. */
  private beginRun(stampedSeconds: number): number {
    if (this.times.length === 0) {
      this.originSeconds = stampedSeconds
      this.times.push(0)
      return 0
    }
    const end = this.times.last()
    const said = stampedSeconds - this.originSeconds
    const begin = said >= end ? said : end + BETWEEN_RUNS_SECONDS
    if (begin > end) this.push(begin, NaN, NaN)
    return begin
  }

  private push(until: number, rttSeconds: number, lossRatio: number): void {
    this.times.push(until)
    this.rtt.push(rttSeconds)
    this.loss.push(lossRatio)
  }

  finish(): { timeSeconds: Float64Array; rttSeconds: Float64Array; lossRatio: Float64Array } {
    return {
      timeSeconds: this.times.toArray(),
      rttSeconds: this.rtt.toArray(),
      lossRatio: this.loss.toArray(),
    }
  }
}
