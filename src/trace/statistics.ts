import { quantile } from '../core/quantile.ts'
import { Column } from './lines.ts'
import { visitBins } from './resample.ts'
import { gapFreeSpans } from './table.ts'
import type { Trace } from './table.ts'

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
 * Statistics over 1 s bins of all covered time of several traces; null if none measured the column. A trace of which no
 * stretch fills half a bin counts as one bin: a mahimahi trace may last a millisecond.
 */
export function rateStatistics(
  traces: readonly Trace[],
  column: 'uplinkBitsPerSecond' | 'downlinkBitsPerSecond',
): RateStatistics | null {
  const bins = new CountedValues()
  const steps = new Column()
  let measured = 0
  let seconds = 0
  for (const trace of traces) {
    const { timeSeconds } = trace
    const spans = gapFreeSpans(trace, [column])
    if (spans.length > 0) measured++
    const before = bins.total
    let [bits, covered] = [0, 0]
    for (const span of spans) {
      visitBins(trace, column, span, 1, (value, count) => bins.add(value, count))
      for (let row = span.first; row < span.end; row++) {
        const step = timeSeconds[row + 1] - timeSeconds[row]
        steps.push(step)
        bits += trace[column][row] * step
      }
      covered += span.endSeconds - span.startSeconds
    }
    if (spans.length > 0 && bins.total === before) bins.add(bits / covered, 1)
    seconds += covered
  }
  if (measured === 0) return null
  const quantiles = bins.quantiles([0.05, 0.5, 0.95])
  const mean = bins.mean((value) => value)
  return {
    traces: measured,
    hours: seconds / 3600,
    dtSeconds: quantile(steps.toArray().sort(), 0.5),
    meanBitsPerSecond: mean,
    sdBitsPerSecond: Math.sqrt(bins.mean((value) => (value - mean) ** 2)),
    p5BitsPerSecond: quantiles[0],
    p50BitsPerSecond: quantiles[1],
    p95BitsPerSecond: quantiles[2],
    silentShare: bins.mean((value) => (value < SILENT_BITS_PER_SECOND ? 1 : 0)),
  }
}

/** Values of which each stands for several: as many as there are rows, whatever the time that they cover. */
class CountedValues {
  private readonly values = new Column()
  private readonly counts = new Column()
  total = 0

  add(value: number, count: number): void {
    this.values.push(value)
    this.counts.push(count)
    this.total += count
  }

  mean(of: (value: number) => number): number {
    let sum = 0
    for (let i = 0; i < this.values.length; i++) sum += this.counts.at(i) * of(this.values.at(i))
    return sum / this.total
  }

  /** Order statistics floor(q n), as `quantile` has them, for ascending shares. */
  quantiles(shares: readonly number[]): number[] {
    const order = Uint32Array.from({ length: this.values.length }, (_, i) => i)
    order.sort((a, b) => this.values.at(a) - this.values.at(b))
    const found: number[] = []
    let before = 0
    for (const i of order) {
      before += this.counts.at(i)
      while (found.length < shares.length) {
        const rank = Math.min(this.total - 1, Math.floor(shares[found.length] * this.total))
        if (rank >= before) break
        found.push(this.values.at(i))
      }
    }
    return found
  }
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
