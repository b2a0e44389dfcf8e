/** How late events were, in seconds; null before the first. */
export interface Lateness {
  readonly p50: number | null
  readonly p95: number | null
  readonly p99: number | null
  readonly max: number | null
}

/** How many of the latest events the quantiles cover. */
const SAMPLES = 8192

/** Records lateness: quantiles over the latest events, and the largest of all. */
export class LatenessRecord {
  private readonly samples = new Float64Array(SAMPLES)
  private count = 0
  private largest = -Infinity

  add(seconds: number): void {
    this.samples[this.count++ % SAMPLES] = seconds
    if (seconds > this.largest) this.largest = seconds
  }

  read(): Lateness {
    const kept = this.samples.slice(0, Math.min(this.count, SAMPLES)).sort()
    if (kept.length === 0) return { p50: null, p95: null, p99: null, max: null }
    const at = (share: number): number => kept[Math.round(share * (kept.length - 1))]
    return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: this.largest }
  }
}
