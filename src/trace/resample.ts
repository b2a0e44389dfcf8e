import { indexAt } from './step.ts'
import type { GapFreeSpan, Trace, TraceColumn } from './table.ts'

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

/** Resamples a gap-free span; a last bin that is less than half covered is dropped. */
export function resampleSpan(
  trace: Trace,
  column: TraceColumn,
  span: GapFreeSpan,
  binSeconds: number,
): Float64Array {
  const seconds = span.endSeconds - span.startSeconds
  const count = Math.floor(seconds / binSeconds + 0.5 + 1e-9)
  const bins = resample(trace, column, span.startSeconds, binSeconds, count)
  return bins.length > 0 && Number.isNaN(bins[bins.length - 1]) ? bins.subarray(0, bins.length - 1) : bins
}
