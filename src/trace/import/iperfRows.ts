import { InputError } from '../../core/errors.ts'
import { Column } from '../lines.ts'
import type { TraceColumn } from '../table.ts'

/** One interval of a test; NaN: not measured. */
interface IperfRow {
  readonly startSeconds: number
  readonly endSeconds: number
  readonly upBitsPerSecond: number
  readonly downBitsPerSecond: number
  readonly rttSeconds: number
}

/** Intervals that are at most this far apart count as touching. */
const TOUCH_SECONDS = 0.05
/** iperf3 ends some tests with an interval of a few microseconds: bytes that no time passed for. */
const SHORTEST_SECONDS = 1e-3
/** Between tests in one file that do not say when they began. */
const BETWEEN_TESTS_SECONDS = 1

/** Puts the intervals of one or more tests on one time axis, with a row of NaN between two that do not touch. */
export class IperfTimeline {
  private readonly times = new Column()
  private readonly columns = {
    uplinkBitsPerSecond: new Column(),
    downlinkBitsPerSecond: new Column(),
    rttSeconds: new Column(),
  }
  private readonly where: string
  private origin = NaN
  private shift = 0
  /** Intervals that were left out because they repeat the one before, or have no length. */
  repeated = 0

  constructor(where: string) {
    this.where = where
  }

  get length(): number {
    return this.columns.rttSeconds.length
  }

  /** Begins the next test in the file. @param epochSeconds when it began, as it says; NaN: it does not say */
  beginTest(epochSeconds: number): void {
    if (this.times.length === 0) {
      this.origin = epochSeconds
      return
    }
    const end = this.times.last()
    const said = epochSeconds - this.origin
    this.shift = said >= end ? said : end + BETWEEN_TESTS_SECONDS
  }

  /** @throws InputError if an interval begins before the last one ended */
  add(row: IperfRow, place: string): void {
    const [start, end] = [row.startSeconds + this.shift, row.endSeconds + this.shift]
    if (this.times.length === 0) this.times.push(start)
    const before = this.times.last()
    const isRepeated = end === before && start === this.lastStart
    if (isRepeated || end - start < SHORTEST_SECONDS) {
      this.repeated++
      return
    }
    if (end <= before || start < before - TOUCH_SECONDS) {
      throw new InputError({
        where: `${this.where}: ${place}`,
        expected: `an interval that begins at ${before} s or later`,
        found: `${start}..${end} s`,
        remedy: 'one test a file, or tests one after another',
      })
    }
    if (start > before + TOUCH_SECONDS) this.push(start, NaN, NaN, NaN)
    this.push(end, row.upBitsPerSecond, row.downBitsPerSecond, row.rttSeconds)
    this.lastStart = start
  }

  private lastStart = NaN

  private push(end: number, up: number, down: number, rtt: number): void {
    this.times.push(end)
    this.columns.uplinkBitsPerSecond.push(up)
    this.columns.downlinkBitsPerSecond.push(down)
    this.columns.rttSeconds.push(rtt)
  }

  finish(): { timeSeconds: Float64Array } & Partial<Record<TraceColumn, Float64Array>> {
    const { uplinkBitsPerSecond, downlinkBitsPerSecond, rttSeconds } = this.columns
    return {
      timeSeconds: this.times.toArray(),
      uplinkBitsPerSecond: uplinkBitsPerSecond.toArray(),
      downlinkBitsPerSecond: downlinkBitsPerSecond.toArray(),
      rttSeconds: rttSeconds.toArray(),
    }
  }
}

/** The error for a UDP test of which only the sender's rates are known. */
export function udpSenderError(where: string, found: string): InputError {
  return new InputError({
    where,
    expected:
      'rates that the receiver measured: a UDP sender states its own rate, which is what its -b asked for',
    found,
    remedy: `record with -R or in the server (-s), with a -b above the link's rate, or without -u`,
  })
}
