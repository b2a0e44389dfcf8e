import { InputError } from '../../core/errors.ts'
import type { LogRecord } from '../../core/journal/types.ts'
import { MAX_TRACE_ROWS } from '../table.ts'
import type { Direction } from '../types.ts'
import { Column } from '../lines.ts'

/** How long the last known value holds while nothing is sent, in seconds; after that the value is unknown. */
const HOLD_SECONDS = 60
/** Smaller transfers measure latency rather than rate, and are ignored; the observer ignores them too. */
const RATE_SAMPLE_BYTES = 1024
/** Shortest gap between two starts, whatever the wall clock says. */
const RESTART_SECONDS = HOLD_SECONDS + 1

interface Transfers {
  count: number
  readonly startSeconds: Column
  readonly endSeconds: Column
  readonly bytes: Column
}

/** What a log says about its link, with all sessions on one time axis from the first header. */
export interface LinkEvidence {
  readonly software: string
  readonly startedAt: string
  readonly sessions: number
  readonly endSeconds: number
  readonly transfers: Readonly<Record<Direction, Transfers>>
  /** [time, round trip], seconds. */
  readonly heartbeats: readonly (readonly [number, number])[]
  /** [from, to), seconds: the link was down. */
  readonly outages: readonly (readonly [number, number])[]
}

/** Equal bins on the common time axis. */
export interface Grid {
  readonly binSeconds: number
  readonly count: number
}

/** Places the sessions of a log on one time axis, as far apart as their starts were. */
export class SessionClock {
  /** Position of the current session's zero on the common axis, seconds. */
  private offset = 0
  private origin = NaN
  private startedAt = ''
  private latest = 0
  sessions = 0

  /** True for the header of another start, false for one that continues a start in the next file. */
  begins(startedAt: string): boolean {
    if (startedAt === this.startedAt) return false
    const wall = Date.parse(startedAt) / 1000
    if (this.sessions === 0) this.origin = wall
    // If the wall clock was set back, the sessions must not overlap.
    else this.offset = Math.max(wall - this.origin, this.latest + RESTART_SECONDS)
    this.startedAt = startedAt
    this.sessions++
    return true
  }

  place(atSeconds: number): number {
    const at = this.offset + atSeconds
    this.latest = Math.max(this.latest, at)
    return at
  }

  get endSeconds(): number {
    return this.latest
  }
}

/**
 * Collects what a log says about its link: times in seconds from the first header, sizes in bytes. Ignores transfers of
 * less than 1024 bytes.
 * @throws InputError if the log is longer than a trace may be
 */
export function collectLink(records: Iterable<LogRecord>, where: string): LinkEvidence {
  const clock = new SessionClock()
  const transfers = { up: noTransfers(), down: noTransfers() }
  const heartbeats: [number, number][] = []
  const outages: [number, number][] = []
  let first: { software: string; startedAt: string } | null = null
  let down = NaN
  for (const record of records) {
    if (record.kind === 'header') {
      first ??= record
      const { endSeconds } = clock
      // If the link was down when the device stopped, the end of the outage is unknown.
      if (clock.begins(record.startedAt) && !Number.isNaN(down)) {
        outages.push([down, endSeconds])
        down = NaN
      }
      continue
    }
    const at = clock.place(record.atSeconds)
    if (record.kind === 'transfer') addTransfer(transfers[record.direction], at, record)
    else if (record.kind === 'heartbeat') heartbeats.push([at, record.rttSeconds])
    else if (record.kind === 'event' && record.name === 'link-down' && Number.isNaN(down)) down = at
    else if (record.kind === 'event' && record.name === 'link-up' && !Number.isNaN(down)) {
      outages.push([down, at])
      down = NaN
    }
  }
  const { endSeconds, sessions } = clock
  if (!Number.isNaN(down)) outages.push([down, endSeconds])
  checkExtent(endSeconds, where)
  const { software = 'unknown', startedAt = 'unknown' } = first ?? {}
  return { software, startedAt, sessions, endSeconds, transfers, heartbeats, outages }
}

function checkExtent(endSeconds: number, where: string): void {
  if (endSeconds <= MAX_TRACE_ROWS) return
  throw new InputError({
    where,
    expected: `a log of at most ${MAX_TRACE_ROWS} s`,
    found: `${endSeconds} s`,
    remedy: 'import its files one by one',
  })
}

const noTransfers = (): Transfers => ({
  count: 0,
  startSeconds: new Column(),
  endSeconds: new Column(),
  bytes: new Column(),
})

function addTransfer(
  to: Transfers,
  endSeconds: number,
  { bytes, seconds }: { bytes: number; seconds: number },
) {
  if (bytes < RATE_SAMPLE_BYTES || seconds <= 0) return
  to.count++
  to.startSeconds.push(Math.max(0, endSeconds - seconds))
  to.endSeconds.push(endSeconds)
  to.bytes.push(bytes)
}

/** bit/s of each bin; NaN where unknown. */
export function ratesOf(evidence: LinkEvidence, direction: Direction, grid: Grid): Float64Array {
  const { bits, busy } = traffic(evidence, direction, grid)
  const outage = outageSeconds(evidence.outages, grid)
  const rates = new Float64Array(grid.count)
  let held = NaN
  let since = Infinity
  for (let bin = 0; bin < grid.count; bin++) {
    if (busy[bin] > 0) {
      held = bits[bin] / busy[bin]
      since = 0
    } else since += grid.binSeconds
    const downShare = Math.min(1, outage[bin] / grid.binSeconds)
    // An outage is known even if nothing was sent before it.
    if (downShare > 1 - 1e-9) rates[bin] = 0
    else rates[bin] = since <= HOLD_SECONDS ? (1 - downShare) * held : NaN
  }
  return rates
}

/** Bits in each bin, and the seconds of transfer while the link was not down. */
function traffic({ transfers, outages }: LinkEvidence, direction: Direction, grid: Grid) {
  const bits = new Float64Array(grid.count)
  const busy = new Float64Array(grid.count)
  const { count, startSeconds, endSeconds, bytes } = transfers[direction]
  const [starts, ends, sizes] = [startSeconds, endSeconds, bytes].map((column) => column.toArray())
  for (let i = 0; i < count; i++) {
    const stretches = without(starts[i], ends[i], outages)
    const total = stretches.reduce((sum, [from, to]) => sum + to - from, 0)
    // The whole transfer lies within an outage: the clocks of the two records disagree, and no rate follows.
    if (total <= 0) continue
    const rate = (8 * sizes[i]) / total
    for (const [from, to] of stretches) {
      overBins(from, to, grid, (bin, seconds) => {
        bits[bin] += rate * seconds
        busy[bin] += seconds
      })
    }
  }
  return { bits, busy }
}

/** The parts of [from, to) outside the outages, which are in ascending order. */
function without(from: number, to: number, outages: LinkEvidence['outages']): [number, number][] {
  const parts: [number, number][] = []
  let at = from
  for (let i = firstEndingAfter(outages, from); i < outages.length && outages[i][0] < to; i++) {
    const [down, up] = outages[i]
    if (down > at) parts.push([at, down])
    at = Math.max(at, up)
  }
  if (at < to) parts.push([at, to])
  return parts
}

function firstEndingAfter(outages: LinkEvidence['outages'], seconds: number): number {
  let low = 0
  let high = outages.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (outages[middle][1] > seconds) high = middle
    else low = middle + 1
  }
  return low
}

function outageSeconds(outages: LinkEvidence['outages'], grid: Grid): Float64Array {
  const seconds = new Float64Array(grid.count)
  for (const [from, to] of outages) overBins(from, to, grid, (bin, part) => (seconds[bin] += part))
  return seconds
}

/** Calls `add` with the part of [from, to) in each bin. */
function overBins(
  from: number,
  to: number,
  { binSeconds, count }: Grid,
  add: (bin: number, seconds: number) => void,
): void {
  let at = from
  for (let bin = Math.floor(from / binSeconds + 1e-9); at < to && bin < count; bin++) {
    const until = Math.min(to, (bin + 1) * binSeconds)
    if (until > at) add(bin, until - at)
    at = Math.max(at, until)
  }
}

/**
 * Mean round trip of each bin. Unknown bins hold the last value as rates do, but also through outages, because an
 * episode needs a value in every bin.
 */
export function rttOf({ heartbeats, outages }: LinkEvidence, grid: Grid): Float64Array {
  const sums = new Float64Array(grid.count)
  const counts = new Float64Array(grid.count)
  for (const [at, rtt] of heartbeats) {
    const bin = Math.min(grid.count - 1, Math.floor(at / grid.binSeconds + 1e-9))
    sums[bin] += rtt
    counts[bin]++
  }
  const down = outageSeconds(outages, grid)
  const values = new Float64Array(grid.count)
  let held = NaN
  let since = Infinity
  for (let bin = 0; bin < grid.count; bin++) {
    // During an outage the last round trip does not age: no newer one could be measured.
    if (counts[bin] > 0) {
      held = sums[bin] / counts[bin]
      since = 0
    } else since += Math.max(0, grid.binSeconds - down[bin])
    values[bin] = since <= HOLD_SECONDS ? held : NaN
  }
  return values
}
