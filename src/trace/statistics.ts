import { quantile } from '../core/quantile.ts'
import { resample, resampleSpan } from './resample.ts'
import { gapFreeSpans } from './table.ts'
import type { Trace, TraceColumn } from './table.ts'

/** Bins below this rate count as silent, as in the published statistics. */
export const SILENT_BITS_PER_SECOND = 10_000

/** Statistics of a rate. */
export interface RateStatistics {
  readonly traces: number
  /** Covered time without gaps. */
  readonly hours: number
  /** Median length of a recorded interval. */
  readonly dtSeconds: number
  readonly meanBitsPerSecond: number
  readonly sdBitsPerSecond: number
  readonly p5BitsPerSecond: number
  readonly p50BitsPerSecond: number
  readonly p95BitsPerSecond: number
  /** Share of 1 s bins below SILENT_BITS_PER_SECOND. */
  readonly silentShare: number
}

/** Statistics of the RTT. */
export interface RttStatistics {
  readonly count: number
  readonly p5Seconds: number
  readonly p50Seconds: number
  readonly p95Seconds: number
}

/**
 * Statistics over 1 s bins of all covered time of several traces; null if none measured the column. Where no stretch
 * lasts half a second, each is a bin of its own length.
 */
export function rateStatistics(
  traces: readonly Trace[],
  column: 'uplinkBitsPerSecond' | 'downlinkBitsPerSecond',
): RateStatistics | null {
  const bins: number[] = []
  const steps: number[] = []
  let measured = 0
  let seconds = 0
  for (const trace of traces) {
    const spans = gapFreeSpans(trace, [column])
    if (spans.length > 0) measured++
    for (const span of spans) {
      for (const value of resampleSpan(trace, column, span, 1)) bins.push(value)
      for (let row = span.first; row < span.end; row++) {
        steps.push(trace.timeSeconds[row + 1] - trace.timeSeconds[row])
      }
      seconds += span.endSeconds - span.startSeconds
    }
  }
  if (bins.length === 0) for (const trace of traces) bins.push(...shortBins(trace, column))
  if (bins.length === 0) return null
  const sorted = Float64Array.from(bins).sort()
  const mean = bins.reduce((sum, value) => sum + value, 0) / bins.length
  const variance = bins.reduce((sum, value) => sum + (value - mean) ** 2, 0) / bins.length
  return {
    traces: measured,
    hours: seconds / 3600,
    dtSeconds: quantile(Float64Array.from(steps).sort(), 0.5),
    meanBitsPerSecond: mean,
    sdBitsPerSecond: Math.sqrt(variance),
    p5BitsPerSecond: quantile(sorted, 0.05),
    p50BitsPerSecond: quantile(sorted, 0.5),
    p95BitsPerSecond: quantile(sorted, 0.95),
    silentShare: bins.filter((value) => value < SILENT_BITS_PER_SECOND).length / bins.length,
  }
}

function shortBins(trace: Trace, column: TraceColumn): number[] {
  return gapFreeSpans(trace, [column]).map(
    ({ startSeconds, endSeconds }) => resample(trace, column, startSeconds, endSeconds - startSeconds, 1)[0],
  )
}

/** Quantiles of RTT over recorded samples (not bins); null if none was measured. */
export function rttStatistics(traces: readonly Trace[]): RttStatistics | null {
  const samples: number[] = []
  for (const trace of traces) for (const rtt of trace.rttSeconds) if (!Number.isNaN(rtt)) samples.push(rtt)
  if (samples.length === 0) return null
  const sorted = Float64Array.from(samples).sort()
  return {
    count: samples.length,
    p5Seconds: quantile(sorted, 0.05),
    p50Seconds: quantile(sorted, 0.5),
    p95Seconds: quantile(sorted, 0.95),
  }
}
