import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../core/clock.ts'
import type { Clock } from '../../core/clock.ts'
import { InputError } from '../../core/errors.ts'
import { canonicalJson } from '../../core/files.ts'
import { randomStream } from '../../core/random.ts'
import type { Engine } from '../../core/engine/types.ts'
import type { Subgraph } from '../../model/graphs/subgraphTypes.ts'
import { BYTES_PER_WEIGHT, type RuntimePrecision } from '../../model/precision.ts'
import type { WeightSource } from '../../model/graphs/source.ts'
import { attentionUnitParameters, attentionUnits, ffnParameters } from '../../model/spec.ts'
import type { FfnPart, ModelSpec } from '../../model/spec.ts'
import { sharedFill } from '../../model/graphs/weights.ts'
import { DEFAULT_MAX_TOKENS, fullGrid, quickGrid } from '../profile/grid.ts'
import type { ProfileGrid } from '../profile/grid.ts'
import type { Profile } from '../profile/types.ts'
import { assembleProfile } from './assemble.ts'
import type { BlockTimings } from './assemble.ts'
import { BATCH_SIZES, batchFits, measureBatch } from './batch.ts'
import { LoadedSubgraph } from './blocks.ts'
import type { Bench, MemoryReading } from './blocks.ts'
import type { Step } from './feeds.ts'
import { joulesBetween, thisHost } from './host.ts'
import type { Host } from './host.ts'
import { Points } from './points.ts'
import type { MeasureProgress } from './points.ts'
import { EMBEDDING, HEAD, TRIVIAL, attentionChain, ffnChain, ffnHalf } from './subgraphs.ts'
import { randomSource } from './source.ts'
import type { Run, Timing } from './timing.ts'
import { isRoomFor, loadBytes, runBytes } from './memory.ts'
import { measureLoads } from './loads.ts'
import { measureWake } from './wake.ts'
import type { Sleep } from './wake.ts'

/** Options of measureProfile. */
interface MeasureOptions {
  readonly engine: Engine
  /** The model's weights; default: random ones. */
  readonly source?: WeightSource
  /** Of the graphs that are timed. Default fp32. */
  readonly precision?: RuntimePrecision
  readonly threads?: number
  /** `quick` (few knots, half a minute for GPT-2), `full`, or an explicit grid. */
  readonly grid?: 'quick' | 'full' | ProfileGrid
  /**
   * Tokens up to which the blocks are measured; the profile is extrapolated above. Default 4096. Where memory does not
   * suffice, fewer.
   */
  readonly maxTokens?: number
  /** Target for the time of the repetitions; long runs and loading take additional time. */
  readonly budgetSeconds?: number
  readonly clock?: Clock
  readonly host?: Host
  /** Folder for temporary weight files; default: a new temporary folder. */
  readonly folder?: string
  /** Time of one decision of the policy; assumed until `edgewise decide` has measured it. */
  readonly decisionSeconds?: number
  /** Handling of one message by both ends, measured by the caller; omitted from the profile if absent. */
  readonly messageSeconds?: number
  readonly seed?: number
  /** Waits between calls; default: the system's timer. */
  readonly sleep?: Sleep
  readonly onProgress?: (progress: MeasureProgress) => void
}

const sleepSeconds: Sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds))

const FULL_BUDGET_SECONDS = 90
const QUICK_BUDGET_SECONDS = 10
/**
 * Layers are chained until their weights fill this many bytes, more than processor caches hold, if the model has enough
 * layers.
 */
const QUICK_CHAIN_BYTES = 64e6
const FULL_CHAIN_BYTES = 128e6
const MAX_CHAIN = 12

/**
 * Profiles `model` on this machine as the runtime runs it: each kind of block at its true shape, in chains of several
 * layers fused into one subgraph, timed over tokens, context and units; the costs of a call, a session and a batch are
 * measured separately. Every figure has its provenance. Throws InputError if `source` belongs to another model.
 */
export async function measureProfile(model: ModelSpec, options: MeasureOptions): Promise<Profile> {
  const host = options.host ?? thisHost()
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'edgewise-measure-'))
  try {
    return await new Measurement(model, options, host, folder).run()
  } finally {
    if (options.folder === undefined) rmSync(folder, { recursive: true, force: true })
  }
}

class Measurement {
  private readonly model: ModelSpec
  private readonly options: MeasureOptions
  private readonly grid: ProfileGrid
  private readonly bench: Bench
  private readonly chainBytes: number
  private readonly budgetSeconds: number
  private readonly residents: MemoryReading[] = []

  constructor(model: ModelSpec, options: MeasureOptions, host: Host, folder: string) {
    const quick = options.grid === 'quick'
    const seed = options.seed ?? 1
    this.model = model
    this.options = options
    const { maxTokens = DEFAULT_MAX_TOKENS } = options
    const wanted =
      typeof options.grid === 'object' ? options.grid : (quick ? quickGrid : fullGrid)(model, maxTokens)
    this.bench = {
      engine: options.engine,
      clock: options.clock ?? systemClock,
      host,
      threads: options.threads ?? 1,
      folder,
      source:
        checkSource(model, options.source) ??
        randomSource(model, sharedFill(randomStream(seed, 'measure weights'))),
      precision: options.precision ?? 'fp32',
      fill: sharedFill(randomStream(seed, 'measure inputs')),
      onLoad: (reading) => this.residents.push(reading),
    }
    this.chainBytes = quick ? QUICK_CHAIN_BYTES : FULL_CHAIN_BYTES
    this.grid = this.fittingGrid(wanted)
    this.budgetSeconds = options.budgetSeconds ?? (quick ? QUICK_BUDGET_SECONDS : FULL_BUDGET_SECONDS)
  }

  async run(): Promise<Profile> {
    const trivial = await this.makeTrivial()
    try {
      return await this.measure(trivial)
    } finally {
      await trivial.dispose()
    }
  }

  private async measure(trivial: LoadedSubgraph): Promise<Profile> {
    const { bench, model, options } = this
    const batchLayers = this.chainLength(
      attentionUnits(model) * attentionUnitParameters(model) + ffnParameters(model, 'whole'),
    )
    const batched = batchFits(bench, batchLayers)
    const points = new Points(trivial, {
      clock: bench.clock,
      total: this.pointCount(batched),
      budgetSeconds: this.budgetSeconds,
      onProgress: options.onProgress,
    })
    const idleWatts = await measureIdleWatts(bench)
    const energy = bench.host.energyCounters()
    const start = bench.clock.nowSeconds()
    const whole = await this.ffn(points)
    const joules = joulesBetween(energy, bench.host.energyCounters())
    const busySeconds = bench.clock.nowSeconds() - start
    const timings: BlockTimings = {
      ffn: {
        whole,
        first: await this.ffnHalves(points, 'first'),
        second: await this.ffnHalves(points, 'second'),
      },
      ...(await this.attention(points)),
      embed: await this.embed(points),
      head: await this.head(points),
    }
    const loads = await measureLoads(bench, batchLayers)
    const wakeSeconds = await measureWake(bench, options.sleep ?? sleepSeconds)
    const batch = batched ? await measureBatch(bench, points, batchLayers) : null
    return assembleProfile({
      model,
      grid: this.grid,
      bench,
      timings,
      dispatch: points.dispatch,
      wakeSeconds,
      batch,
      loads,
      residents: this.residents,
      busyWatts: joules === null || busySeconds <= 0 ? null : joules / busySeconds,
      idleWatts,
      decisionSeconds: options.decisionSeconds ?? null,
      messageSeconds: options.messageSeconds ?? null,
    })
  }

  /** The knots for which there is memory, from the first one on, which is kept: it is refused where it is measured. */
  private fittingGrid({ tokens, contexts, units }: ProfileGrid): ProfileGrid {
    const { model, bench } = this
    const all = units[units.length - 1]
    const attention = [attentionChain(this.chainLength(all * attentionUnitParameters(model)), all)]
    const ffns = (['first', 'second'] as const).map((part) => this.halves(part))
    const whole = [ffnChain(this.chainLength(ffnParameters(model, 'whole')))]
    const freeBytes = bench.host.freeBytes()
    const fits = (together: readonly Subgraph[], step: Step): boolean => {
      const weights = together.reduce((sum, one) => sum + loadBytes(model, bench.precision, one), 0)
      return isRoomFor(weights + runBytes(model, together[0], step), freeBytes)
    }
    const isMeasurable = (count: number): boolean =>
      [attention, whole, ...ffns, [EMBEDDING]].every((one) => fits(one, { tokens: count, position: 0 }))
    return {
      tokens: upTo(tokens, isMeasurable),
      contexts: upTo(contexts, (position) => fits(attention, { tokens: 1, position })),
      units,
    }
  }

  /** Uses the second session: the first one of a process also pays for initialising the library. */
  private async makeTrivial(): Promise<LoadedSubgraph> {
    const make = () => LoadedSubgraph.load(this.bench, 'trivial', TRIVIAL, { tokens: 1, position: 0 })
    await (await make()).dispose()
    return make()
  }

  private ffn(points: Points): Promise<Timing[]> {
    const layers = this.chainLength(ffnParameters(this.model, 'whole'))
    const steps = this.grid.tokens.map((tokens) => ({ tokens, position: 0 }))
    return this.chain(
      points,
      'ffn-whole',
      [ffnChain(layers)],
      layers,
      steps,
      ({ tokens }) => `FFN whole, ${tokens} tokens`,
    )
  }

  private ffnHalves(points: Points, part: Exclude<FfnPart, 'whole'>): Promise<Timing[]> {
    const steps = this.grid.tokens.map((tokens) => ({ tokens, position: 0 }))
    return this.chain(
      points,
      `ffn-${part}`,
      this.halves(part),
      1,
      steps,
      ({ tokens }) => `FFN ${part}, ${tokens} tokens`,
    )
  }

  private halves(part: Exclude<FfnPart, 'whole'>): Subgraph[] {
    const layers = this.chainLength(ffnParameters(this.model, part))
    return Array.from({ length: layers }, (_, layer) => ffnHalf(layer, part))
  }

  /** Prefill and decode, row-major [knots, units]. */
  private async attention(points: Points): Promise<{ prefill: Timing[]; decode: Timing[] }> {
    const { tokens, contexts, units } = this.grid
    // Decode first, because caches grow along its contexts and a prompt does not read them.
    const steps = [
      ...contexts.map((position) => ({ tokens: 1, position })),
      ...tokens.map((count) => ({ tokens: count, position: 0 })),
    ]
    const columns: Timing[][] = []
    for (const count of units) {
      const layers = this.chainLength(count * attentionUnitParameters(this.model))
      const label = ({ tokens: n, position }: Step) =>
        position === 0
          ? `attention prefill, ${n} tokens, ${count} units`
          : `attention decode, ${position} tokens, ${count} units`
      columns.push(
        await this.chain(points, 'attention', [attentionChain(layers, count)], layers, steps, label),
      )
    }
    const rows = steps.map((_, step) => columns.map((column) => column[step]))
    return { decode: rows.slice(0, contexts.length).flat(), prefill: rows.slice(contexts.length).flat() }
  }

  private embed(points: Points): Promise<Timing[]> {
    const steps = this.grid.tokens.map((tokens) => ({ tokens, position: 0 }))
    return this.chain(
      points,
      'embedding',
      [EMBEDDING],
      1,
      steps,
      ({ tokens }) => `embedding, ${tokens} tokens`,
    )
  }

  private async head(points: Points): Promise<Timing> {
    const steps = [{ tokens: 1, position: 0 }]
    return (await this.chain(points, 'head', [HEAD], 1, steps, () => 'final norm and head'))[0]
  }

  /**
   * Times subgraphs of one kind, run in turn, each with `copies` blocks; returns the time of one block at each step.
   */
  private async chain(
    points: Points,
    name: string,
    subgraphs: readonly Subgraph[],
    copies: number,
    steps: readonly Step[],
    label: (step: Step) => string,
  ): Promise<Timing[]> {
    const loaded: LoadedSubgraph[] = []
    try {
      for (const [i, subgraph] of subgraphs.entries())
        loaded.push(
          await LoadedSubgraph.load(
            this.bench,
            subgraphs.length === 1 ? name : `${name}-${i}`,
            subgraph,
            steps[0],
          ),
        )
      const timings: Timing[] = []
      for (const step of steps) {
        const runs: Run[] = []
        for (const subgraph of loaded) runs.push(await subgraph.runner(step))
        timings.push(await points.time(label(step), runs, copies, step.tokens))
      }
      return timings
    } finally {
      for (const subgraph of loaded) await subgraph.dispose()
    }
  }

  private chainLength(blockParameters: number): number {
    const blockBytes = BYTES_PER_WEIGHT[this.bench.precision] * blockParameters
    return Math.max(1, Math.min(this.model.layers, MAX_CHAIN, Math.ceil(this.chainBytes / blockBytes)))
  }

  private pointCount(batched: boolean): number {
    const { tokens, contexts, units } = this.grid
    const batch = batched ? 2 * BATCH_SIZES.length : 0
    return 4 * tokens.length + (tokens.length + contexts.length) * units.length + 1 + batch
  }
}

/** The first knot, and those after it as long as `fits` says so. */
function upTo(knots: readonly number[], fits: (knot: number) => boolean): number[] {
  const end = knots.findIndex((knot, i) => i > 0 && !fits(knot))
  return knots.slice(0, end === -1 ? knots.length : end)
}

function checkSource(model: ModelSpec, source: WeightSource | undefined): WeightSource | undefined {
  if (source === undefined || canonicalJson(source.model) === canonicalJson(model)) return source
  throw new InputError({
    where: `weights of ${source.model.id}`,
    expected: `those of ${model.id}, of its shape`,
    found: canonicalJson(source.model),
    remedy: 'profile the model that the weights are of',
  })
}

const IDLE_SECONDS = 1

/** Package power while this process is idle; null without an energy counter. */
async function measureIdleWatts(bench: Bench): Promise<number | null> {
  const before = bench.host.energyCounters()
  if (before === null) return null
  const start = bench.clock.nowSeconds()
  await new Promise((resolve) => setTimeout(resolve, IDLE_SECONDS * 1000))
  const joules = joulesBetween(before, bench.host.energyCounters())
  const seconds = bench.clock.nowSeconds() - start
  return joules === null || seconds <= 0 ? null : joules / seconds
}
