import type { LoadedSubgraph } from './blocks.ts'
import type { Clock } from '../../core/clock.ts'
import { interpolatedMedian } from '../../core/quantile.ts'
import { summarise, timeRuns } from './timing.ts'
import type { Run, Timing } from './timing.ts'

/** Progress of a measurement. */
export interface MeasureProgress {
  /** Points done, and in total. */
  readonly done: number
  readonly total: number
  /** The point that was measured last, e.g. `attention decode, 256 tokens, 12 units`. */
  readonly label: string
  /** Time of one block; of a whole call where calls are measured. */
  readonly timing: Timing
}

const MIN_REPEATS = 3
const MAX_REPEATS = 400
/** Smallest plausible time of a block, as a share of its run; used where noise gives less. */
const LEAST_SHARE = 0.01

/** Settings of the measurement of points. */
interface PointsOptions {
  readonly clock: Clock
  readonly total: number
  readonly budgetSeconds: number
  readonly onProgress?: ((progress: MeasureProgress) => void) | undefined
}

/**
 * Times points one after the other, each alternating with a trivial call with as many rows, whose time is subtracted
 * because it belongs to no block.
 */
export class Points {
  private readonly options: PointsOptions
  private readonly trivial: LoadedSubgraph
  private readonly besides = new Map<number, Run>()
  /** Seconds of trivial calls with one row. */
  private readonly calls: number[] = []
  private done = 0

  constructor(trivial: LoadedSubgraph, options: PointsOptions) {
    this.trivial = trivial
    this.options = options
  }

  /**
   * Measures the seconds of one block: `runs` (one after the other) contain `copies` of it each, and read or return
   * `rows` rows.
   */
  async time(label: string, runs: readonly Run[], copies: number, rows: number): Promise<Timing> {
    const { clock, total, budgetSeconds, onProgress } = this.options
    const seconds = await timeRuns(runs, await this.beside(rows), clock, {
      secondsPerPoint: budgetSeconds / total,
      minRepeats: MIN_REPEATS,
      maxRepeats: MAX_REPEATS,
    })
    if (rows === 1) this.calls.push(...seconds.beside)
    const whole = summarise(seconds.runs)
    const call = interpolatedMedian(seconds.beside)
    const blocks = Math.max(LEAST_SHARE * whole.medianSeconds, whole.medianSeconds - call)
    const timing = { ...whole, medianSeconds: blocks / copies }
    this.done++
    onProgress?.({ done: this.done, total, label, timing })
    return timing
  }

  /** Cost of a call without its blocks, over all points with one row. */
  get dispatch(): Timing {
    return summarise(this.calls)
  }

  private async beside(rows: number): Promise<Run> {
    const known = this.besides.get(rows)
    if (known !== undefined) return known
    const run = await this.trivial.runner({ tokens: rows, position: 0 })
    this.besides.set(rows, run)
    return run
  }
}
