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
    const note = `one request each ${interval.seconds.toFixed(4)} s${interval.isAssumed ? ' (assumed: no summary and no stamps)' : ''}`
    if (!notes.includes(note) && notes.length < 10) notes.push(note)
    rows.addRun(run, interval.seconds)
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

function intervalOf(run: Run): { seconds: number; isAssumed: boolean } {
  const stamped = [...run.replies.values()].filter(({ stampSeconds }) => !Number.isNaN(stampSeconds))
  // The median over neighbours: a machine that slept, or one late reply, changes nothing.
  const steps: number[] = []
  for (let i = 1; i < stamped.length; i++) {
    const [a, b] = [stamped[i - 1], stamped[i]]
    const step = (sentSeconds(b) - sentSeconds(a)) / (b.sequence - a.sequence)
    if (step > 0) steps.push(step)
  }
  if (steps.length > 0) {
    return { seconds: Float64Array.from(steps).sort()[(steps.length - 1) >>> 1], isAssumed: false }
  }
  const { sent, summarySeconds } = run
  if (sent > 1 && summarySeconds > 0) return { seconds: summarySeconds / (sent - 1), isAssumed: false }
  return { seconds: DEFAULT_INTERVAL_SECONDS, isAssumed: true }
}

const sentSeconds = ({ stampSeconds, rttSeconds }: Reply): number => stampSeconds - rttSeconds

/** Rows of all runs on one time axis, from 0 s, or from the first stamp. */
class PingRows {
  private readonly times = new Column()
  private readonly rtt = new Column()
  private readonly loss = new Column()

  /** The first reply begins a row where its request went out; the rows before and after are losses, or gaps. */
  addRun(run: Run, interval: number): void {
    const replies = [...run.replies.values()].sort((a, b) => a.sequence - b.sequence)
    const first = run.hasBeginning
      ? Math.min(replies[0].sequence, run.isWindows || run.replies.has(0) ? 0 : 1)
      : replies[0].sequence
    const lostBefore = replies[0].sequence - first
    const begin = this.beginning(sentSeconds(replies[0]) - lostBefore * interval)
    if (this.times.length === 0) this.times.push(begin)
    else if (begin > this.times.last()) this.push(begin, NaN, NaN)
    if (lostBefore > 0) this.push(begin + lostBefore * interval, NaN, 1)
    // Stamps count from the first reply, wherever on the axis the run was put.
    const shift = this.times.last() - sentSeconds(replies[0])
    for (const [i, { sequence, rttSeconds }] of replies.entries()) {
      const at = this.times.last()
      if (i + 1 === replies.length) {
        this.push(at + interval, rttSeconds, 0)
        const lost = Math.max(run.highest, run.sent > 0 ? first + run.sent - 1 : 0) - sequence
        if (lost > 0) this.push(at + (1 + lost) * interval, NaN, 1)
        return
      }
      const steps = replies[i + 1].sequence - sequence
      const stamped = sentSeconds(replies[i + 1]) + shift
      const next = Number.isNaN(stamped)
        ? at + steps * interval
        : Math.max(stamped, at + 0.01 * steps * interval)
      const isGap = next - at > steps * interval * GAP_INTERVALS && next - at > MIN_GAP_SECONDS
      const own = isGap ? interval : (next - at) / steps
      this.push(steps === 1 && !isGap ? next : at + own, rttSeconds, 0)
      if (steps > 1) this.push(isGap ? at + steps * interval : next, NaN, 1)
      if (isGap) this.push(next, NaN, NaN)
    }
  }

  /** Where a run begins: by its stamp if that is behind the last run, otherwise some way behind it. */
  private beginning(stampedSeconds: number): number {
    if (this.times.length === 0) return Number.isNaN(stampedSeconds) ? 0 : stampedSeconds
    const end = this.times.last()
    return stampedSeconds >= end ? stampedSeconds : end + BETWEEN_RUNS_SECONDS
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
