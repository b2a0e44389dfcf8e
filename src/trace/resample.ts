import { InputError } from '../core/errors.ts'
import { indexAt } from './step.ts'
import type { GapFreeSpan, Trace, TraceColumn } from './table.ts'

/** Share of a bin by which a stamp may miss its edge. */
const ROUNDING = 1e-9
/** Bins that any recording may be cut into (a day of 0.1 s), and more than that for each of its rows. */
const MIN_BINS = 1_000_000
const BINS_PER_ROW = 64

/**
 * Time-weighted means of a column over equal bins from `fromSeconds` on. A bin of which less than half was measured is
 * NaN; otherwise its value is the mean of the measured part.
 * @returns length `count`, in the column's unit
 */
export function resample(
  trace: Trace,
  column: TraceColumn,
  fromSeconds: number,
  binSeconds: number,
  count: number,
): Float64Array {
  const { timeSeconds } = trace
  const values = trace[column]
  checkCount(trace, values.length, count, binSeconds)
  const sums = new Float64Array(count)
  const covered = new Float64Array(count)
  for (let row = indexAt(timeSeconds, fromSeconds, values.length - 1); row < values.length; row++) {
    const value = values[row]
    let at = Math.max(timeSeconds[row] - fromSeconds, 0)
    const end = timeSeconds[row + 1] - fromSeconds
    // The 1e-9 assigns stamps such as 0.30000000000000004 to the intended bin.
    let bin = Math.floor(at / binSeconds + 1e-9)
    if (bin >= count) break
    if (Number.isNaN(value)) continue
    for (; at < end && bin < count; bin++) {
      const until = Math.min(end, (bin + 1) * binSeconds)
      if (until > at) {
        sums[bin] += value * (until - at)
        covered[bin] += until - at
        at = until
      }
    }
  }
  return sums.map((sum, bin) => (covered[bin] >= 0.5 * binSeconds * (1 - 1e-9) ? sum / covered[bin] : NaN))
}

/** A recording of a few rows may say that years went by: bins are bounded by rows, before they are allocated. */
function checkCount(trace: Trace, rows: number, count: number, binSeconds: number): void {
  const most = Math.max(MIN_BINS, BINS_PER_ROW * rows)
  if (count <= most) return
  throw new InputError({
    where: trace.meta.name,
    expected: `at most ${most} bins, for a recording of ${rows} rows`,
    found: `${count} bins of ${binSeconds} s`,
    remedy: 'take wider bins, or a shorter stretch of the recording',
  })
}

/**
 * Visits the bins of a gap-free span with their time-weighted means, and how many neighbours share one: a row that is
 * longer than a bin takes one visit, so that the work follows from the rows and not from the time that they say. A last
 * bin that is less than half covered is left out.
 */
export function visitBins(
  trace: Trace,
  column: TraceColumn,
  span: GapFreeSpan,
  binSeconds: number,
  visit: (value: number, count: number) => void,
): void {
  const { timeSeconds } = trace
  const values = trace[column]
  let at = 0
  let bin = 0
  let [sum, covered] = [0, 0]
  for (let row = span.first; row < span.end; row++) {
    const end = timeSeconds[row + 1] - span.startSeconds
    while (end - at > ROUNDING * binSeconds) {
      const whole = covered === 0 ? Math.floor((end - at) / binSeconds + ROUNDING) : 0
      if (whole > 0) {
        visit(values[row], whole)
        bin += whole
        at = Math.max(at, bin * binSeconds)
        continue
      }
      const edge = (bin + 1) * binSeconds
      // The tolerance assigns stamps such as 0.30000000000000004 to the intended bin.
      const isFull = end >= edge - ROUNDING * binSeconds
      const until = isFull ? edge : end
      sum += values[row] * (until - at)
      covered += until - at
      at = until
      if (!isFull) continue
      visit(sum / covered, 1)
      bin++
      sum = covered = 0
    }
  }
  if (covered >= 0.5 * binSeconds * (1 - ROUNDING)) visit(sum / covered, 1)
}
