import { Column } from '../lines.ts'

/** Rows of a recording as they were read: each has a time or an interval, and values. */
export interface RecordedRows {
  /** Start of each row's interval (stamp `start`), or its end; seconds, ascending. */
  readonly timeSeconds: Float64Array
  /** The interval's other end; NaN where the file does not have it. */
  readonly otherSeconds: Float64Array
  /** Whether a row's time is the start or the end of its interval. */
  readonly stamp: 'start' | 'end'
}

/** Edges of intervals, and which row each interval shows; -1: a gap. */
export interface RowIntervals {
  readonly edgeSeconds: Float64Array
  readonly row: Int32Array
  /** Gaps, and the time that they take. */
  readonly gaps: number
  readonly gapSeconds: number
  /** Rows that share their interval with another row of the same time. */
  readonly sharedRows: number
  /** What was taken for the longest step that is no gap. */
  readonly maxStepSeconds: number
}

/** Without `--max-step`, a step is a gap if it is longer than this many usual ones, ... */
const USUAL_STEPS = 10
/** ... and than this: a logger that comes late was not silent. */
const MIN_GAP_SECONDS = 5
/** Intervals that are apart by less than this share of the usual step touch: loggers have jitter. */
const TOUCH_SHARE = 0.1

/**
 * Lays rows out as intervals that touch, with gaps where nothing is known. A row that has only a time covers the time to
 * the next one; across a gap, and at the end, the usual (median) step. Rows of the same time share their interval
 * equally: a stamp of whole seconds holds two rows in one and none in another. Recordings come one after another; one
 * that would begin before the end of the last is moved behind it, after a gap.
 * @param maxStepSeconds a longer step or stated interval is a gap; default: 10 times the usual step, at least 5 s, and any
 * interval that a row states
 */
export function layOut(recordings: readonly RecordedRows[], maxStepSeconds?: number): RowIntervals {
  const step = usualStep(recordings)
  const limit = maxStepSeconds ?? Math.max(USUAL_STEPS * step, MIN_GAP_SECONDS)
  // A row that states its own length is taken at its word.
  const longest = maxStepSeconds ?? Infinity
  const layout = new Layout(TOUCH_SHARE * step)
  let before = 0
  for (const rows of recordings) {
    const { timeSeconds, otherSeconds } = rows
    const count = timeSeconds.length
    layout.beginRecording(spanOf(rows, 0, 1, step, limit)[0], step, limit)
    for (let first = 0; first < count;) {
      let end = first + 1
      while (end < count && timeSeconds[end] === timeSeconds[first] && isSame(otherSeconds, first, end)) end++
      const [from, to] = spanOf(rows, first, end, step, limit)
      const share = (to - from) / (end - first)
      for (let row = first; row < end; row++) {
        const until = row + 1 === end ? to : from + (row + 1 - first) * share
        layout.add(from + (row - first) * share, until, to - from > longest ? -1 : before + row)
      }
      if (end - first > 1) layout.sharedRows += end - first
      first = end
    }
    before += count
  }
  return { ...layout.finish(), maxStepSeconds: limit }
}

const isSame = (values: Float64Array, a: number, b: number): boolean => Object.is(values[a], values[b])

/** The interval of rows first..end - 1, which have the same time. */
function spanOf(
  { timeSeconds, otherSeconds, stamp }: RecordedRows,
  first: number,
  end: number,
  step: number,
  limit: number,
): [number, number] {
  const at = timeSeconds[first]
  const other = otherSeconds[first]
  const next = end < timeSeconds.length ? timeSeconds[end] : Infinity
  if (stamp === 'end') {
    const before = Number.isNaN(other) ? (first === 0 ? -Infinity : timeSeconds[first - 1]) : other
    return [Number.isNaN(other) && at - before > limit ? at - step : before, at]
  }
  if (!Number.isNaN(other)) return [at, Math.min(other, next)]
  return [at, next - at > limit ? at + step : next]
}

/** The median length of the intervals that the rows state, or of the steps between different times; 1 s without any. */
function usualStep(recordings: readonly RecordedRows[]): number {
  const steps = new Column()
  for (const { timeSeconds, otherSeconds } of recordings) {
    for (let i = 0; i < timeSeconds.length; i++) {
      const stated = Math.abs(otherSeconds[i] - timeSeconds[i])
      if (!Number.isNaN(stated)) steps.push(stated)
      else if (i > 0 && timeSeconds[i] > timeSeconds[i - 1]) steps.push(timeSeconds[i] - timeSeconds[i - 1])
    }
  }
  return steps.length === 0 ? 1 : lowerMedian(steps.toArray())
}

/** Of two in the middle the smaller: among few steps, a longer one is the exception. */
function lowerMedian(steps: Float64Array): number {
  return steps.sort()[(steps.length - 1) >>> 1]
}

class Layout {
  private readonly edges = new Column()
  private readonly shown = new Column()
  private readonly touchSeconds: number
  private shift = 0
  private gaps = 0
  private gapSeconds = 0
  sharedRows = 0

  constructor(touchSeconds: number) {
    this.touchSeconds = touchSeconds
  }

  /** A recording that begins a step or more before the last one ended has a clock of its own. */
  beginRecording(from: number, stepSeconds: number, gapSeconds: number): void {
    const end = this.edges.length === 0 ? -Infinity : this.edges.last()
    this.shift = from > end - stepSeconds ? 0 : end + gapSeconds - from
  }

  add(fromSeconds: number, toSeconds: number, row: number): void {
    const [from, to] = [fromSeconds + this.shift, toSeconds + this.shift]
    if (this.edges.length === 0) this.edges.push(from)
    else if (from > this.edges.last() + this.touchSeconds) this.push(from, -1)
    if (to > this.edges.last()) this.push(to, row)
  }

  private push(edge: number, row: number): void {
    if (row < 0) {
      this.gaps++
      this.gapSeconds += edge - this.edges.last()
    }
    this.edges.push(edge)
    this.shown.push(row)
  }

  finish(): Omit<RowIntervals, 'maxStepSeconds'> {
    const { gaps, gapSeconds, sharedRows } = this
    return {
      edgeSeconds: this.edges.toArray(),
      row: Int32Array.from(this.shown.toArray()),
      gaps,
      gapSeconds,
      sharedRows,
    }
  }
}
