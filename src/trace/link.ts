import { InputError, show } from '../core/errors.ts'
import { RangeExtremum } from './range.ts'
import type { Direction, Link, LinkSeries } from './types.ts'

/** Bins searched linearly for the end of a transfer before bisection; nearly all transfers end within these. */
const WALK_BINS = 6

/**
 * A link that replays `series` in an endless loop. The end of a transfer is found by bisection over cumulative bits, in
 * O(log n) for any duration; the last bin is remembered, so that queries that move forward cost O(1).
 * @throws InputError if the series is not valid
 */
export function createLink(series: LinkSeries): Link {
  checkLinkSeries(series)
  return series.upBitsPerSecond.length === 1
    ? constantLink(series.upBitsPerSecond[0], series.downBitsPerSecond[0], series.rttSeconds[0])
    : new ReplayedLink(series)
}

/** A link that never changes: bit/s up and down, seconds of RTT. */
export function constantLink(upBitsPerSecond: number, downBitsPerSecond: number, rttSeconds: number): Link {
  for (const [name, value] of Object.entries({ upBitsPerSecond, downBitsPerSecond, rttSeconds })) {
    if (!(value >= 0 && value < Infinity)) {
      throw new InputError({ where: `link: ${name}`, expected: 'a finite number >= 0', found: show(value) })
    }
  }
  const rateOf = (direction: Direction) => (direction === 'up' ? upBitsPerSecond : downBitsPerSecond)
  return {
    sentSeconds: (direction, start, bytes) => {
      checkTransfer(start, bytes)
      return bytes === 0 ? start : start + (8 * bytes) / rateOf(direction)
    },
    rttSeconds: () => rttSeconds,
    bitsPerSecond: rateOf,
    bestBitsPerSecond: rateOf,
    bestRttSeconds: () => rttSeconds,
    nextChangeSeconds: () => Infinity,
  }
}

/** The series of a link that never changes, as one bin of `seconds`. */
export function constantSeries(
  upBitsPerSecond: number,
  downBitsPerSecond: number,
  rttSeconds: number,
  seconds = 1,
): LinkSeries {
  return {
    timeSeconds: Float64Array.of(0, seconds),
    upBitsPerSecond: Float64Array.of(upBitsPerSecond),
    downBitsPerSecond: Float64Array.of(downBitsPerSecond),
    rttSeconds: Float64Array.of(rttSeconds),
    label: `constant ${upBitsPerSecond / 1e6} Mbit/s up, ${downBitsPerSecond / 1e6} down, ${rttSeconds * 1000} ms`,
  }
}

/** Throws InputError unless bin edges ascend from 0 and all rates and RTTs are finite and at least 0. */
function checkLinkSeries(series: LinkSeries): void {
  const { timeSeconds, upBitsPerSecond, downBitsPerSecond, rttSeconds } = series
  const count = timeSeconds.length - 1
  const where = `link ${show(series.label)}`
  if (count < 1 || timeSeconds[0] !== 0) {
    throw new InputError({
      where: `${where}: timeSeconds`,
      expected: 'at least two bin edges, the first 0',
      found: `${count + 1} edges, the first ${timeSeconds[0]}`,
    })
  }
  for (const [name, values] of Object.entries({ upBitsPerSecond, downBitsPerSecond, rttSeconds })) {
    if (values.length !== count) {
      throw new InputError({
        where: `${where}: ${name}`,
        expected: `${count} bins`,
        found: `${values.length}`,
      })
    }
  }
  for (let i = 0; i < count; i++) {
    const good =
      timeSeconds[i + 1] > timeSeconds[i] &&
      timeSeconds[i + 1] < Infinity &&
      isFigure(upBitsPerSecond[i]) &&
      isFigure(downBitsPerSecond[i]) &&
      isFigure(rttSeconds[i])
    if (good) continue
    throw new InputError({
      where: `${where}: bin ${i}`,
      expected: 'ascending edges, and finite rates and RTT >= 0 (a gap is not a zero: cut the series there)',
      found: `[${timeSeconds[i]}, ${timeSeconds[i + 1]}) s, up ${upBitsPerSecond[i]}, down ${downBitsPerSecond[i]} bit/s, RTT ${rttSeconds[i]} s`,
    })
  }
}

const isFigure = (value: number) => value >= 0 && value < Infinity

function checkTransfer(startSeconds: number, bytes: number): void {
  if (startSeconds >= 0 && bytes >= 0 && bytes < Infinity) return
  throw new RangeError(
    `transfer: expected a start >= 0 s and finite bytes >= 0, found start ${startSeconds}, bytes ${bytes}`,
  )
}

/** Rates of one direction, with the bits carried before each edge: rate [n], before [n + 1]. */
interface Lane {
  readonly rate: Float64Array
  readonly before: Float64Array
  readonly total: number
  best: RangeExtremum | null
}

class ReplayedLink implements Link {
  private readonly edges: Float64Array
  private readonly count: number
  private readonly period: number
  private readonly up: Lane
  private readonly down: Lane
  private readonly rtt: Float64Array
  /**
   * For each bin, the index of the next edge at which rate or RTT changes; count + 1 + e is edge e of the next cycle.
   */
  private readonly changeEdge: Int32Array
  private lowestRtt: RangeExtremum | null = null
  private cycle = 0
  private bin = 0
  private binStart = 0
  private binEnd: number

  constructor(series: LinkSeries) {
    this.edges = series.timeSeconds
    this.count = series.rttSeconds.length
    this.period = this.edges[this.count]
    this.up = lane(series.upBitsPerSecond, this.edges)
    this.down = lane(series.downBitsPerSecond, this.edges)
    this.rtt = series.rttSeconds
    this.changeEdge = changes(series)
    this.binEnd = this.edges[1]
  }

  sentSeconds(direction: Direction, startSeconds: number, bytes: number): number {
    checkTransfer(startSeconds, bytes)
    if (bytes === 0) return startSeconds
    const lane = direction === 'up' ? this.up : this.down
    if (lane.total === 0 || startSeconds === Infinity) return Infinity
    this.seek(startSeconds)
    const { rate } = lane
    const cycleStart = this.cycle * this.period
    let remaining = 8 * bytes
    let from = startSeconds
    let bin = this.bin
    const last = Math.min(bin + WALK_BINS, this.count)
    for (; bin < last; bin++) {
      const end = this.edge(this.cycle, bin + 1)
      const carried = rate[bin] * (end - from)
      if (remaining <= carried) return Math.min(from + remaining / rate[bin], end)
      remaining -= carried
      from = end
    }
    // The remaining bits are compared with sums from this bin's edge on, so that an outage adds exactly 0.
    const ahead = bin < this.count ? lane.total - lane.before[bin] : 0
    if (remaining <= ahead) return this.finish(lane, cycleStart, bin, remaining, startSeconds)
    remaining -= ahead
    const whole = Math.max(0, Math.ceil(remaining / lane.total) - 1)
    remaining = Math.min(Math.max(remaining - whole * lane.total, 0), lane.total)
    return this.finish(lane, (this.cycle + 1 + whole) * this.period, 0, remaining, startSeconds)
  }

  /** When `bits` > 0, counted from edge `first`, have been carried within one cycle. */
  private finish(lane: Lane, cycleStart: number, first: number, bits: number, notBefore: number): number {
    const { before, rate } = lane
    const base = before[first]
    let low = first
    let high = this.count - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (before[middle + 1] - base >= bits) high = middle
      else low = middle + 1
    }
    // Rounding may leave a few ulps for a silent last bin; the transfer then ended where the last bit was carried.
    while (rate[low] === 0 && low > 0) low--
    const within = Math.min((bits - (before[low] - base)) / rate[low], this.edges[low + 1] - this.edges[low])
    return Math.max(notBefore, cycleStart + (this.edges[low] + Math.max(within, 0)))
  }

  rttSeconds(atSeconds: number): number {
    if (!(atSeconds >= this.binStart && atSeconds < this.binEnd)) this.seek(atSeconds)
    return this.rtt[this.bin]
  }

  bitsPerSecond(direction: Direction, atSeconds: number): number {
    if (!(atSeconds >= this.binStart && atSeconds < this.binEnd)) this.seek(atSeconds)
    return (direction === 'up' ? this.up : this.down).rate[this.bin]
  }

  bestBitsPerSecond(direction: Direction, fromSeconds: number, toSeconds: number): number {
    const lane = direction === 'up' ? this.up : this.down
    lane.best ??= new RangeExtremum(lane.rate, 'max')
    return this.extremum(lane.best, fromSeconds, toSeconds)
  }

  bestRttSeconds(fromSeconds: number, toSeconds: number): number {
    this.lowestRtt ??= new RangeExtremum(this.rtt, 'min')
    return this.extremum(this.lowestRtt, fromSeconds, toSeconds)
  }

  private extremum(table: RangeExtremum, fromSeconds: number, toSeconds: number): number {
    if (!(toSeconds >= fromSeconds)) {
      throw new RangeError(`interval: expected from <= to, found [${fromSeconds}, ${toSeconds}] s`)
    }
    if (toSeconds - fromSeconds >= this.period) return table.over(0, this.count - 1)
    this.seek(toSeconds)
    const lastCycle = this.cycle
    const lastBin = this.bin
    this.seek(fromSeconds)
    if (this.cycle === lastCycle) return table.over(this.bin, lastBin)
    return table.better(table.over(this.bin, this.count - 1), table.over(0, lastBin))
  }

  nextChangeSeconds(atSeconds: number): number {
    this.seek(atSeconds)
    const edge = this.changeEdge[this.bin]
    if (edge < 0) return Infinity
    return edge <= this.count ? this.edge(this.cycle, edge) : this.edge(this.cycle + 1, edge - this.count - 1)
  }

  /**
   * Time of an edge. Every comparison uses this same rounding, so that a returned time of change is never before the
   * change.
   */
  private edge(cycle: number, index: number): number {
    return index === this.count ? (cycle + 1) * this.period : cycle * this.period + this.edges[index]
  }

  /** Moves the cursor to the bin that contains `atSeconds`. */
  private seek(atSeconds: number): void {
    if (atSeconds >= this.binStart && atSeconds < this.binEnd) return
    if (atSeconds >= this.binEnd && this.bin + 1 < this.count) {
      const end = this.edge(this.cycle, this.bin + 2)
      if (atSeconds < end) {
        this.bin++
        this.binStart = this.binEnd
        this.binEnd = end
        return
      }
    }
    this.search(atSeconds)
  }

  private search(atSeconds: number): void {
    if (!(atSeconds >= 0 && atSeconds < Infinity)) {
      throw new RangeError(`link: expected a finite time >= 0 s, found ${atSeconds}`)
    }
    let cycle = Math.floor(atSeconds / this.period)
    if (cycle * this.period > atSeconds) cycle--
    else if ((cycle + 1) * this.period <= atSeconds) cycle++
    let low = 0
    let high = this.count - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (this.edge(cycle, middle) <= atSeconds) low = middle
      else high = middle - 1
    }
    this.cycle = cycle
    this.bin = low
    this.binStart = this.edge(cycle, low)
    this.binEnd = this.edge(cycle, low + 1)
  }
}

function lane(rate: Float64Array, edges: Float64Array): Lane {
  const before = new Float64Array(rate.length + 1)
  for (let i = 0; i < rate.length; i++) before[i + 1] = before[i] + rate[i] * (edges[i + 1] - edges[i])
  return { rate, before, total: before[rate.length], best: null }
}

/** See ReplayedLink.changeEdge; all -1 if nothing ever changes. */
function changes(series: LinkSeries): Int32Array {
  const { upBitsPerSecond: up, downBitsPerSecond: down, rttSeconds: rtt } = series
  const count = rtt.length
  const differ = (i: number, j: number) => up[i] !== up[j] || down[i] !== down[j] || rtt[i] !== rtt[j]
  let inNextCycle = -1
  for (let i = 1; i < count && inNextCycle < 0; i++) if (differ(i - 1, i)) inNextCycle = count + 1 + i
  const result = new Int32Array(count)
  let next = differ(count - 1, 0) ? count : inNextCycle
  for (let i = count - 1; i >= 0; i--) {
    result[i] = next
    if (i > 0 && differ(i - 1, i)) next = i
  }
  return result
}
