import { InputError } from '../../core/errors.ts'
import { emptyError, lineError, linesOf } from '../lines.ts'
import type { Line } from '../lines.ts'
import { makeTrace } from '../table.ts'
import type { Trace } from '../table.ts'
import type { Direction } from '../types.ts'
import { IperfTimeline, udpSenderError } from './iperfRows.ts'
import { sourceMeta } from './source.ts'
import type { SourceInfo } from './source.ts'

const ROW =
  /\[\s*(SUM|\d+)\](?:\[([TR])X-[CS]\])?\s+(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s+sec\s+[\d.]+ +[KMGT]?Bytes\s+([\d.]+)\s+([KMGT]?)(bits|Bytes)\/sec(.*)$/
const SCALE: Readonly<Record<string, number>> = { '': 1, K: 1e3, M: 1e6, G: 1e9, T: 1e12 }
/** Bytes are counted in powers of 1024. */
const BYTE_SCALE: Readonly<Record<string, number>> = { '': 8, K: 2 ** 13, M: 2 ** 23, G: 2 ** 33, T: 2 ** 43 }

/** Whether a text is what iperf3 or iperf 2 prints. */
export function isIperfText(text: string): boolean {
  const head = text.slice(0, 4000)
  return /^\s*\[ *ID\] Interval +Transfer/m.test(head) && !/^\s*\{/.test(head)
}

/** Who is who, as the lines before the first interval say it. */
interface Roles {
  isServer: boolean
  isReverse: boolean
  isUdp: boolean
  /** The header's columns `Retr` and `Total Datagrams` are of a sender. */
  isSender: boolean | null
}

/** Intervals that end together: rates of single streams, and of their sum, by direction. */
interface Group {
  readonly start: number
  readonly end: number
  readonly line: number
  readonly streams: Record<Direction, number>
  readonly sums: Record<Direction, number>
}

/**
 * Reads the text that iperf3 and iperf 2 print for each interval. A client's test is an uplink, in reverse mode a
 * downlink; `[TX-C]` and `[RX-C]` tell the directions of `--bidir` apart. The line of the sum is used where there is one.
 */
export function importIperfText(text: string, source: SourceInfo): Trace {
  const { where } = source
  const reader = new IperfTextReader(where)
  for (const line of linesOf(text)) reader.read(line)
  const parts = reader.finish()
  const { isUdp } = reader.roles
  if (reader.tests === 0) throw emptyError(where, 'intervals "0.00-1.00 sec ... Mbits/sec" (iperf -i 1)')
  const notes = [`iperf text, ${isUdp ? 'UDP' : 'TCP'}`]
  if (reader.tests > 1) notes.push(`${reader.tests} tests, one after another`)
  const rateKind = isUdp ? 'raw-capacity' : 'tcp-goodput'
  const meta = sourceMeta(source, text, 'iperf text', rateKind, notes, reader.hasSent && !isUdp ? 1 : 0)
  checkDeclared(source, parts)
  return makeTrace({ meta, ...parts }, where)
}

class IperfTextReader {
  readonly roles: Roles = { isServer: false, isReverse: false, isUdp: false, isSender: null }
  private readonly timeline: IperfTimeline
  private readonly where: string
  private group: Group | null = null
  /** Behind the intervals of a test come its sums, which look like intervals. */
  private phase: 'before' | 'intervals' | 'sums' = 'before'
  tests = 0
  hasSent = false

  constructor(where: string) {
    this.where = where
    this.timeline = new IperfTimeline(where)
  }

  read(line: Line): void {
    const { text } = line
    if (readRoles(text, this.roles) || (this.phase === 'sums' && / connected (?:to|with) /.test(text))) {
      this.flush()
      this.phase = 'before'
      return
    }
    if (/^\[ *ID\] Interval/.test(text)) readHeader(text, this.roles)
    if (/^(?:- - - -|-+$)/.test(text) && this.phase === 'intervals') this.phase = 'sums'
    const match = ROW.exec(text)
    if (match === null || /omitted|\b(?:sender|receiver)\b/.test(match[8])) return
    if (this.phase !== 'sums') this.addInterval(match, line)
  }

  private addInterval(match: RegExpExecArray, line: Line): void {
    const [start, end] = [Number(match[3]), Number(match[4])]
    if (this.phase === 'before') {
      this.timeline.beginTest(NaN)
      this.tests++
      this.phase = 'intervals'
    } else if (this.group !== null && start < this.group.start) {
      // iperf 2 prints the sum of the whole test as one more interval.
      this.phase = 'sums'
      return
    }
    if (this.group !== null && (this.group.start !== start || this.group.end !== end)) this.flush()
    this.group ??= {
      start,
      end,
      line: line.number,
      streams: { up: NaN, down: NaN },
      sums: { up: NaN, down: NaN },
    }
    const { isServer, isReverse, isUdp, isSender } = this.roles
    const isSent = match[2] === undefined ? (isSender ?? isServer === isReverse) : match[2] === 'T'
    if (isUdp && isSent) throw udpSenderError(`${this.where}:${line.number}`, 'intervals of the sender')
    this.hasSent ||= isSent
    const rate = Number(match[5]) * (match[7] === 'bits' ? SCALE : BYTE_SCALE)[match[6]]
    if (!(rate >= 0)) throw lineError(this.where, line.number, 'a rate', line.text)
    const { sums, streams } = this.group
    const direction = isSent === isServer ? 'down' : 'up'
    if (match[1] === 'SUM') sums[direction] = rate
    else streams[direction] = (Number.isNaN(streams[direction]) ? 0 : streams[direction]) + rate
  }

  private flush(): void {
    if (this.group !== null) this.timeline.add(rowOf(this.group), `line ${this.group.line}`)
    this.group = null
  }

  finish(): ReturnType<IperfTimeline['finish']> {
    this.flush()
    return this.timeline.finish()
  }
}

/** Takes up what a line says of the test to come; false if it says nothing. */
function readRoles(line: string, roles: Roles): boolean {
  if (/^(?:Connecting to host|Client connecting to)/.test(line)) {
    Object.assign(roles, { isServer: false, isReverse: false, isSender: null, isUdp: /\bUDP\b/.test(line) })
  } else if (/^(?:Server listening on|Accepted connection from)/.test(line)) {
    Object.assign(roles, { isServer: true, isReverse: false, isSender: null })
    roles.isUdp ||= /\bUDP\b/.test(line)
  } else if (/^Reverse mode, remote host .* is sending/.test(line)) roles.isReverse = true
  else return false
  return true
}

function readHeader(line: string, roles: Roles): void {
  if (/Retr\b|Cwnd/.test(line)) roles.isSender = true
  else if (/Jitter/.test(line)) Object.assign(roles, { isUdp: true, isSender: false })
  else if (/Total Datagrams/.test(line)) Object.assign(roles, { isUdp: true, isSender: true })
}

function rowOf({ start, end, streams, sums }: Group) {
  const rate = (way: Direction): number => (Number.isNaN(sums[way]) ? streams[way] : sums[way])
  return {
    startSeconds: start,
    endSeconds: end,
    upBitsPerSecond: rate('up'),
    downBitsPerSecond: rate('down'),
    rttSeconds: NaN,
  }
}

function checkDeclared({ direction, where }: SourceInfo, parts: ReturnType<IperfTimeline['finish']>): void {
  if (direction === undefined) return
  const column = direction === 'up' ? parts.uplinkBitsPerSecond : parts.downlinkBitsPerSecond
  if (column?.some((rate) => !Number.isNaN(rate)) === true) return
  throw new InputError({
    where,
    expected: `a test ${direction}, as the direction was declared`,
    found: `one ${direction === 'up' ? 'down' : 'up'}`,
    remedy: 'leave the direction out: this format says it',
  })
}
