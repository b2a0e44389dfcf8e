import type { Clock } from '../../core/clock.ts'
import type { Engine } from '../../core/engine/types.ts'
import type { SubgraphFiles } from '../../run/executor/sessionCache.ts'
import { RUNTIME_PRECISIONS } from '../../model/precision.ts'
import type { RuntimePrecision } from '../../model/precision.ts'
import type { WeightSource } from '../../model/graphs/source.ts'
import type { BoundaryBits } from '../../plan/plan.ts'
import { EXIT_THRESHOLDS } from '../../plan/profile/published.ts'
import { addLosses, BoundaryLossMeter, referencePass, logitsThrough } from './boundaryLoss.ts'
import { ExitMeter } from './exits.ts'
import { LayerwiseModel } from './layerwiseModel.ts'
import { LossAccumulator } from './lossAccumulator.ts'
import type { Additivity, Assessment, BoundaryLoss, Loss } from './types.ts'
import { rankedWidths } from './widths.ts'
import type { Window } from './windows.ts'

/** Bits that are measured. */
const MEASURED_BITS: readonly BoundaryBits[] = [16, 8, 4]
const QUANTISED = RUNTIME_PRECISIONS.filter((precision) => precision !== 'fp32')
const NO_LOSS: Loss = { nats: 0, standardError: 0, divergence: 0 }

/** What `assess` measures, and with what. */
export interface AssessOptions {
  readonly engine: Engine
  readonly source: WeightSource
  /** Fingerprint of the weights; copied to the result. */
  readonly fingerprint: string
  /** Description of the text, e.g. `held-out tales (test stream, seed 1)`. */
  readonly text: string
  readonly windows: readonly Window[]
  /** Where the subgraphs of a precision are stored. */
  readonly files: (precision: RuntimePrecision) => SubgraphFiles
  readonly clock: Clock
  /** Bytes of weights that may be loaded at once. */
  readonly budgetBytes: number
  /** Bits of single crossings; default 16, 8 and 4. Must contain 4. */
  readonly bits?: readonly BoundaryBits[]
  readonly onProgress?: (done: number, total: number, note: string) => void
  /** Called between steps; true ends the measurement without a result. */
  readonly stopped?: () => boolean
}

/**
 * Measures what quantised boundaries, early exits and quantised weights lose on a text with teacher forcing: every
 * token is predicted from the true tokens before it, which all crossed the same boundaries. Equal arguments and engine
 * give equal results. Resolves to null if it was stopped.
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

/** A combination of several crossings, or other weights; measured after the single crossings. */
interface Combination {
  readonly note: string
  readonly passes: LayerwiseModel
  /** Bits of the crossing into each layer, then of the one before the lm_head. */
  readonly widths: readonly BoundaryBits[]
  readonly tally: LossAccumulator
}

class Measurement {
  private readonly options: AssessOptions
  private readonly bits: readonly BoundaryBits[]
  private readonly places: number
  private readonly opened: LayerwiseModel[] = []
  private readonly base = new LossAccumulator()
  private tokens = 0
  private done = 0
  private readonly total: number

  constructor(options: AssessOptions) {
    this.options = options
    this.bits = options.bits ?? MEASURED_BITS
    this.places = options.source.model.layers + 1
    const combinations = 2 * this.bits.length + 1 + QUANTISED.length
    this.total = options.windows.length * (this.places + 1 + combinations)
  }

  async run(): Promise<Assessment> {
    const { source, fingerprint, text, windows, engine } = this.options
    try {
      const passes = this.passes('fp32')
      const crossings = new BoundaryLossMeter(passes, this.bits)
      const exits = source.exitLayers.map((layer) => new ExitMeter(passes, layer, EXIT_THRESHOLDS))
      for (const window of windows) await this.single(passes, window, crossings, exits)
      const boundaries = crossings.boundaryLosses()
      const { nats } = this.base.loss()
      return {
        modelId: source.model.id,
        fingerprint,
        text,
        windows: windows.length,
        engine: `${engine.info.name} ${engine.info.version}`,
        tokens: this.tokens,
        nats,
        perplexity: Math.exp(nats),
        boundaries,
        partials: crossings.partialLosses(),
        ...(await this.combinations(passes, boundaries, nats)),
        exits: exits.flatMap((meter) => meter.qualities()),
        units: crossings.unitSensitivities(),
      }
    } finally {
      for (const passes of this.opened) await passes.close()
    }
  }

  /** Measures one window: unquantised, then each crossing and exit alone. */
  private async single(
    passes: LayerwiseModel,
    window: Window,
    crossings: BoundaryLossMeter,
    exits: readonly ExitMeter[],
  ): Promise<void> {
    const exact = await referencePass(passes, window)
    this.tokens += exact.nats.length
    for (const nats of exact.nats) this.base.add(nats, 0)
    for (let layer = 0; layer < this.places; layer++) {
      await crossings.boundary(exact, layer)
      if (layer < passes.model.layers) {
        await crossings.partial(exact, layer)
        await crossings.everyUnit(exact, layer)
      }
      this.step('single crossings')
    }
    for (const exit of exits) await exit.add(exact)
    this.step('exits')
  }

  private async combinations(passes: LayerwiseModel, alone: readonly BoundaryLoss[], nats: number) {
    const uniform = this.bits.flatMap((bits) =>
      [1, 2].map((stride) => ({ bits, stride, run: this.uniform(passes, bits, stride) })),
    )
    const widths = this.widths(alone)
    const ranked = { note: 'widths by sensitivity', passes, widths, tally: new LossAccumulator() }
    const exact = new Array<BoundaryBits>(this.places).fill(32)
    const quantised = QUANTISED.map((precision) => ({
      precision,
      run: {
        note: `${precision} weights`,
        passes: this.passes(precision),
        widths: exact,
        tally: new LossAccumulator(),
      },
    }))
    const all = [...uniform, { run: ranked }, ...quantised].map(({ run }) => run)
    for (const window of this.options.windows) await this.together(passes, window, all)
    const losses = quantised.map(({ precision, run }) => ({ precision, ...run.tally.loss() }))
    return {
      additivity: uniform.map(({ bits, stride, run }) => additivity(bits, stride, run.tally.loss(), alone)),
      ranked: {
        ...ranked.tally.loss(),
        bits: widths,
        meanBits: widths.reduce((sum, one) => sum + one, 0) / widths.length,
      },
      precisions: [{ precision: 'fp32' as const, ...NO_LOSS }, ...losses].map((row) => ({
        ...row,
        perplexity: Math.exp(nats + row.nats),
      })),
    }
  }

  private uniform(passes: LayerwiseModel, bits: BoundaryBits, stride: number): Combination {
    const widths = Array.from({ length: this.places }, (_, i) => (i % stride === 0 ? bits : 32))
    return { note: `many crossings, ${bits} bits`, passes, widths, tally: new LossAccumulator() }
  }

  private async together(passes: LayerwiseModel, window: Window, all: readonly Combination[]): Promise<void> {
    const exact = await referencePass(passes, window)
    for (const { note, passes: its, widths, tally } of all) {
      addLosses(tally, exact, await logitsThrough(its, window, widths))
      this.step(note)
    }
  }

  /** Bits by each boundary's sensitivity to the fewest bits. */
  private widths(alone: readonly BoundaryLoss[]): BoundaryBits[] {
    const coarsest = Math.min(...this.bits)
    return rankedWidths(alone.filter(({ bits }) => bits === coarsest).map(({ divergence }) => divergence))
  }

  private passes(precision: RuntimePrecision): LayerwiseModel {
    const { engine, files, source, clock, budgetBytes } = this.options
    const made = new LayerwiseModel({
      engine,
      files: files(precision),
      model: source.model,
      clock,
      budgetBytes,
    })
    this.opened.push(made)
    return made
  }

  private step(note: string): void {
    this.options.onProgress?.(++this.done, this.total, note)
    if (this.options.stopped?.() === true) throw new Stopped()
  }
}

/** Loss of every `stride`-th boundary together, compared with the sum of each alone. */
function additivity(
  bits: BoundaryBits,
  stride: number,
  loss: Loss,
  alone: readonly BoundaryLoss[],
): Additivity {
  const parts = alone.filter((row) => row.bits === bits && row.layer % stride === 0)
  const sum = (of: (row: BoundaryLoss) => number) => parts.reduce((total, row) => total + of(row), 0)
  const summedDivergence = sum(({ divergence }) => divergence)
  return {
    ...loss,
    bits,
    crossings: parts.length,
    summedNats: sum(({ nats }) => nats),
    summedDivergence,
    ratio: summedDivergence > 0 ? loss.divergence / summedDivergence : null,
  }
}
