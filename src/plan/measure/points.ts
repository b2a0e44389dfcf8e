import type { LoadedSubgraph } from './blocks.ts'
import type { Clock } from '../../core/clock.ts'
import { quantile, summarise, timeRuns } from './timing.ts'
import type { Run, Timing } from './timing.ts'

export interface MeasureProgress {
  /** Points done and to do. */
  readonly done: number
  readonly total: number
  /** The point just measured, e.g. `attention decode, 256 tokens, 12 units`. */
  readonly label: string
  /** Of one block; of a whole call where calls are what is measured. */
  readonly timing: Timing
}

const MIN_REPEATS = 3
const MAX_REPEATS = 400
/** A block takes time: where the noise says otherwise, this share of the run it was in. */
const LEAST_SHARE = 0.01

export interface PointsOptions {
  readonly clock: Clock
  readonly total: number
  readonly budgetSeconds: number
  readonly onProgress?: ((progress: MeasureProgress) => void) | undefined
}

/** Times points one after the other, each beside a trivial call with as many rows: what that takes is no block's. */
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

  /** Seconds of one block: `runs` (one after the other) hold `copies` of it each, and take in or give `rows` rows. */
  async time(label: string, runs: readonly Run[], copies: number, rows: number): Promise<Timing> {
    const { clock, total, budgetSeconds, onProgress } = this.options
    const seconds = await timeRuns(runs, await this.beside(rows), clock, {
      secondsPerPoint: budgetSeconds / total,
      minRepeats: MIN_REPEATS,
      maxRepeats: MAX_REPEATS,
    })
    if (rows === 1) this.calls.push(...seconds.beside)
    const whole = summarise(seconds.runs)
    const call = median(seconds.beside)
    const blocks = Math.max(LEAST_SHARE * whole.medianSeconds, whole.medianSeconds - call)
    const timing = { ...whole, medianSeconds: blocks / copies }
    this.done++
    onProgress?.({ done: this.done, total, label, timing })
    return timing
  }

  /** What a call takes beside its blocks, over all points with one row. */
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

function median(samples: readonly number[]): number {
  return quantile(
    [...samples].sort((a, b) => a - b),
    0.5,
  )
}
