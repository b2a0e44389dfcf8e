import type { Clock } from '../base/clock.ts'
import type { Engine } from '../engine/types.ts'
import type { SegmentFiles } from '../execute/sessions.ts'
import type { WeightPrecision } from '../model/segmentTypes.ts'
import type { WeightSource } from '../model/source.ts'
import type { BoundaryBits } from '../plan/plan.ts'
import { EXIT_THRESHOLDS } from '../profile/published.ts'
import { CrossingMeter, exactPass, natsThrough } from './crossings.ts'
import { ExitMeter } from './exits.ts'
import { Passes } from './passes.ts'
import { Tally } from './tally.ts'
import type { Additivity, Assessment, CrossingLoss, PrecisionQuality, RankedLoss } from './types.ts'
import { rankedWidths } from './widths.ts'
import type { Window } from './windows.ts'

export const MEASURED_BITS: readonly BoundaryBits[] = [16, 8, 4]
const PRECISIONS: readonly WeightPrecision[] = ['fp32', 'int8', 'int4']

export interface AssessOptions {
  readonly engine: Engine
  readonly source: WeightSource
  /** Of the weights; goes into what the result says of itself. */
  readonly fingerprint: string
  /** The text in words, e.g. `held-out tales (test stream, seed 1)`. */
  readonly text: string
  readonly windows: readonly Window[]
  /** Where the segments of a precision lie. */
  readonly files: (precision: WeightPrecision) => SegmentFiles
  readonly clock: Clock
  /** Weights that may be loaded at once. */
  readonly budgetBytes: number
  /** Widths of single crossings; default 16, 8 and 4. With 4 among them. */
  readonly bits?: readonly BoundaryBits[]
  readonly onProgress?: (done: number, total: number, note: string) => void
  /** Asked between steps; once true, the measurement ends without a result. */
  readonly stopped?: () => boolean
}

/**
 * What quantised boundaries, early exits and quantised weights lose on a text, teacher-forced: every token is predicted
 * from the true ones before it, all of which crossed alike. Equal arguments and engine give equal results.
 * Null where it was stopped.
 */
export async function assess(options: AssessOptions): Promise<Assessment | null> {
  try {
    return await new Measurement(options).run()
  } catch (error) {
    if (error instanceof Stopped) return null
    throw error
  }
}

class Stopped extends Error {}

class Measurement {
  private readonly options: AssessOptions
  private readonly bits: readonly BoundaryBits[]
  private readonly base: Float64Array[] = []
  private done = 0
  private readonly total: number

  constructor(options: AssessOptions) {
    this.options = options
    this.bits = options.bits ?? MEASURED_BITS
    const { layers } = options.source.model
    const combinations = 2 * this.bits.length + 1
    this.total = options.windows.length * (layers + 2 + combinations + PRECISIONS.length - 1)
  }

  async run(): Promise<Assessment> {
    const { source, fingerprint, text, windows, engine } = this.options
    const passes = this.passes('fp32')
    try {
      const crossings = new CrossingMeter(passes, this.bits)
      const exits = source.exitLayers.map((layer) => new ExitMeter(passes, layer, EXIT_THRESHOLDS))
      for (const window of windows) await this.single(passes, window, crossings, exits)
      const boundaries = crossings.boundaryLosses()
      const [additivity, ranked] = [
        await this.together(passes, boundaries),
        await this.ranked(passes, boundaries),
      ]
      const nats = this.baseNats()
      return {
        ...{ modelId: source.model.id, fingerprint, text, windows: windows.length },
        engine: `${engine.info.name} ${engine.info.version}`,
        tokens: this.base.reduce((sum, one) => sum + one.length, 0),
        ...{ nats, perplexity: Math.exp(nats), boundaries, additivity, ranked },
        partials: crossings.partialLosses(),
        exits: exits.flatMap((meter) => meter.qualities()),
        units: crossings.unitSensitivities(),
        precisions: await this.precisions(),
      }
    } finally {
      await passes.close()
    }
  }

  /** One window: everything exact, then each crossing and exit alone. */
  private async single(
    passes: Passes,
    window: Window,
    crossings: CrossingMeter,
    exits: readonly ExitMeter[],
  ): Promise<void> {
    const exact = await exactPass(passes, window)
    this.base.push(exact.nats)
    for (let layer = 0; layer < passes.model.layers; layer++) {
      await crossings.boundary(exact, layer)
      await crossings.partial(exact, layer)
      await crossings.everyUnit(exact, layer)
      this.step('single crossings')
    }
    await crossings.boundary(exact, passes.model.layers)
    this.step('single crossings')
    for (const exit of exits) await exit.add(exact)
    this.step('exits')
  }

  /** All boundaries crossed, and every second one. */
  private async together(passes: Passes, alone: readonly CrossingLoss[]): Promise<Additivity[]> {
    const places = passes.model.layers + 1
    const found: Additivity[] = []
    for (const bits of this.bits) {
      for (const stride of [1, 2]) {
        const widths = Array.from({ length: places }, (_, i) => (i % stride === 0 ? bits : 32))
        const { nats } = await this.through(passes, widths, `every ${stride === 1 ? '' : 'second '}boundary`)
        const parts = alone.filter((loss) => loss.bits === bits && loss.layer % stride === 0)
        const summedNats = parts.reduce((sum, loss) => sum + loss.nats, 0)
        const noise = 2 * Math.hypot(...parts.map(({ standardError }) => standardError))
        const ratio = summedNats > noise ? nats / summedNats : null
        found.push({ bits, crossings: parts.length, nats, summedNats, ratio })
      }
    }
    return found
  }

  private async ranked(passes: Passes, alone: readonly CrossingLoss[]): Promise<RankedLoss> {
    const least = Math.min(...this.bits)
    const bits = rankedWidths(alone.filter((loss) => loss.bits === least).map(({ nats }) => nats))
    const loss = await this.through(passes, bits, 'ranked widths')
    return { ...loss, bits, meanBits: bits.reduce((sum, one) => sum + one, 0) / bits.length }
  }

  private async through(passes: Passes, widths: readonly BoundaryBits[], note: string) {
    const tally = new Tally()
    for (const [i, window] of this.options.windows.entries()) {
      tally.addDifferences(await natsThrough(passes, window, widths), this.base[i])
      this.step(note)
    }
    return tally.loss()
  }

  private async precisions(): Promise<PrecisionQuality[]> {
    const found: PrecisionQuality[] = []
    for (const precision of PRECISIONS) {
      const { nats, standardError } =
        precision === 'fp32' ? { nats: 0, standardError: 0 } : await this.precision(precision)
      found.push({ precision, nats, standardError, perplexity: Math.exp(this.baseNats() + nats) })
    }
    return found
  }

  private async precision(precision: WeightPrecision) {
    const passes = this.passes(precision)
    try {
      const exact = new Array<BoundaryBits>(passes.model.layers + 1).fill(32)
      return await this.through(passes, exact, `${precision} weights`)
    } finally {
      await passes.close()
    }
  }

  private passes(precision: WeightPrecision): Passes {
    const { engine, files, source, clock, budgetBytes } = this.options
    return new Passes({ engine, files: files(precision), model: source.model, clock, budgetBytes })
  }

  private baseNats(): number {
    const tokens = this.base.reduce((sum, one) => sum + one.length, 0)
    return this.base.reduce((sum, one) => sum + one.reduce((a, b) => a + b, 0), 0) / tokens
  }

  private step(note: string): void {
    this.options.onProgress?.(++this.done, this.total, note)
    if (this.options.stopped?.() === true) throw new Stopped()
  }
}
