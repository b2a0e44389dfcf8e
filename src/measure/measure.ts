import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../base/clock.ts'
import type { Clock } from '../base/clock.ts'
import { randomStream } from '../base/random.ts'
import type { Engine, Feeds, Session } from '../engine/types.ts'
import { attentionDecodeGraph, attentionPrefillGraph } from '../model/attention.ts'
import { embeddingGraph, headGraph } from '../model/ends.ts'
import { ffnGraph } from '../model/ffn.ts'
import type { GraphRecorder } from '../onnx/graph.ts'
import { attentionUnitParameters, ffnParameters } from '../model/spec.ts'
import type { FfnPart, ModelSpec } from '../model/spec.ts'
import { attentionWeights, embeddingWeights, ffnWeights, headWeights, sharedFill } from '../model/weights.ts'
import type { WeightFill } from '../model/weights.ts'
import { fullGrid, quickGrid } from '../profile/grid.ts'
import type { ProfileGrid } from '../profile/grid.ts'
import type { Profile } from '../profile/types.ts'
import { assembleProfile } from './assemble.ts'
import type { BlockTimings } from './assemble.ts'
import { withBlock } from './blocks.ts'
import type { Bench, LoadReading } from './blocks.ts'
import { decodeFeeds, embedFeeds, ffnFeeds, headFeeds, prefillFeeds } from './feeds.ts'
import { joulesBetween, thisHost } from './host.ts'
import type { Host } from './host.ts'
import { timeRuns } from './timing.ts'
import type { Timing } from './timing.ts'

export interface MeasureProgress {
  /** Points done and to do. */
  readonly done: number
  readonly total: number
  /** The point just measured, e.g. `attention decode, 256 tokens, 12 units`. */
  readonly label: string
  readonly timing: Timing
}

export interface MeasureOptions {
  readonly engine: Engine
  readonly threads?: number
  /** `quick` (few knots, half a minute for GPT-2), `full`, or knots of one's own. */
  readonly grid?: 'quick' | 'full' | ProfileGrid
  /** Time to aim at for the repeats; long runs and loading come on top. */
  readonly budgetSeconds?: number
  readonly clock?: Clock
  readonly host?: Host
  /** Where weight files are put for a while; a fresh temporary folder when absent. */
  readonly folder?: string
  /** One decision of the policy; assumed until `edgewise decide` has measured it. */
  readonly decisionSeconds?: number
  readonly seed?: number
  readonly onProgress?: (progress: MeasureProgress) => void
}

const FULL_BUDGET_SECONDS = 90
const QUICK_BUDGET_SECONDS = 10
const MIN_REPEATS = 3
const MAX_REPEATS = 60
/** Copies of a block go on until their weights fill this much, as long as the model has so many layers. */
const QUICK_COPIES_BYTES = 32e6
const FULL_COPIES_BYTES = 128e6
const MAX_COPIES = 12

/**
 * Profiles `model` on this machine: builds each sub-block at its true shape with random fp32 weights, one
 * layer for all, and times it over tokens, context and units. Every figure says where it comes from.
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
  private readonly weights: WeightFill
  private readonly inputs: WeightFill
  private readonly copiesBytes: number
  private readonly secondsPerPoint: number
  private readonly total: number
  private readonly loads: LoadReading[] = []
  private done = 0

  constructor(model: ModelSpec, options: MeasureOptions, host: Host, folder: string) {
    const quick = options.grid === 'quick'
    this.model = model
    this.options = options
    this.grid = typeof options.grid === 'object' ? options.grid : quick ? quickGrid(model) : fullGrid(model)
    this.bench = {
      engine: options.engine,
      clock: options.clock ?? systemClock,
      host,
      threads: options.threads ?? 1,
      folder,
    }
    const seed = options.seed ?? 1
    this.weights = sharedFill(randomStream(seed, 'measure weights'))
    this.inputs = sharedFill(randomStream(seed, 'measure inputs'))
    this.copiesBytes = quick ? QUICK_COPIES_BYTES : FULL_COPIES_BYTES
    const { tokens, contexts, units } = this.grid
    this.total = 4 * tokens.length + (tokens.length + contexts.length) * units.length + 1
    this.secondsPerPoint =
      (options.budgetSeconds ?? (quick ? QUICK_BUDGET_SECONDS : FULL_BUDGET_SECONDS)) / this.total
  }

  async run(): Promise<Profile> {
    await this.warmRuntime()
    const idleWatts = await measureIdleWatts(this.bench)
    const energy = this.bench.host.energyCounters()
    const start = this.bench.clock.nowSeconds()
    const whole = await this.ffn('whole')
    const joules = joulesBetween(energy, this.bench.host.energyCounters())
    const busySeconds = this.bench.clock.nowSeconds() - start
    const timings: BlockTimings = {
      ffn: { whole, first: await this.ffn('first'), second: await this.ffn('second') },
      ...(await this.attention()),
      embed: await this.embed(),
      head: (await this.head())[0],
    }
    return assembleProfile({
      model: this.model,
      grid: this.grid,
      bench: this.bench,
      timings,
      loads: this.loads,
      busyWatts: joules === null || busySeconds <= 0 ? null : joules / busySeconds,
      idleWatts,
      decisionSeconds: this.options.decisionSeconds ?? null,
    })
  }

  /** The first session of a process pays for the library: that is no property of any block. */
  private async warmRuntime(): Promise<void> {
    const small: ModelSpec = { ...this.model, width: 8, ffnWidth: 8 }
    const graph = ffnGraph(small, 'whole', ffnWeights(small, this.weights))
    const firstFeeds = ffnFeeds(small, 'whole', 1, this.inputs)
    await withBlock(
      this.bench,
      { name: 'warm', graph, copies: 1, firstFeeds },
      async () => {},
      () => {},
    )
  }

  private ffn(part: FfnPart): Promise<Timing[]> {
    return this.block({
      name: `ffn-${part}`,
      graph: ffnGraph(this.model, part, ffnWeights(this.model, this.weights)),
      parameters: ffnParameters(this.model, part),
      knots: this.grid.tokens,
      label: (tokens) => `FFN ${part}, ${tokens} tokens`,
      feeds: (tokens) => ffnFeeds(this.model, part, tokens, this.inputs),
    })
  }

  /** Prefill and decode, row-major [knots, units]. */
  private async attention(): Promise<{ prefill: Timing[]; decode: Timing[] }> {
    const prefill: Timing[][] = []
    const decode: Timing[][] = []
    for (const units of this.grid.units) {
      const weights = attentionWeights(this.model, units, this.weights)
      const parameters = units * attentionUnitParameters(this.model)
      prefill.push(
        await this.block({
          name: 'attention-prefill',
          graph: attentionPrefillGraph(this.model, weights, { residual: true }),
          parameters,
          knots: this.grid.tokens,
          label: (tokens) => `attention prefill, ${tokens} tokens, ${units} units`,
          feeds: (tokens) => prefillFeeds(this.model, tokens, this.inputs),
        }),
      )
      decode.push(
        await this.block({
          name: 'attention-decode',
          graph: attentionDecodeGraph(this.model, weights, { residual: true }),
          parameters,
          knots: this.grid.contexts,
          label: (context) => `attention decode, ${context} tokens, ${units} units`,
          feeds: (context) => decodeFeeds(this.model, context, units, this.inputs),
        }),
      )
    }
    return { prefill: transposed(prefill), decode: transposed(decode) }
  }

  private embed(): Promise<Timing[]> {
    return this.block({
      name: 'embedding',
      graph: embeddingGraph(this.model, embeddingWeights(this.model, this.weights)),
      parameters: null,
      knots: this.grid.tokens,
      label: (tokens) => `embedding, ${tokens} tokens`,
      feeds: (tokens) => embedFeeds(this.model, tokens),
    })
  }

  private head(): Promise<Timing[]> {
    return this.block({
      name: 'head',
      graph: headGraph(this.model, headWeights(this.model, this.weights)),
      parameters: null,
      knots: [1],
      label: () => 'final norm and head',
      feeds: () => headFeeds(this.model, this.inputs),
    })
  }

  /** One block, measured at each knot. */
  private block(spec: BlockSpec): Promise<Timing[]> {
    const copies = spec.parameters === null ? 1 : this.copies(4 * spec.parameters)
    const measure = async (sessions: readonly Session[]) => {
      const timings: Timing[] = []
      for (const knot of spec.knots) {
        // Feeds of their own, so that a K/V cache is as cold as the weights.
        const runs = sessions.map((session) => runner(session, spec.feeds(knot)))
        const limits = {
          secondsPerPoint: this.secondsPerPoint,
          minRepeats: MIN_REPEATS,
          maxRepeats: MAX_REPEATS,
        }
        const timing = await timeRuns(runs, this.bench.clock, limits)
        timings.push(timing)
        this.done++
        this.options.onProgress?.({ done: this.done, total: this.total, label: spec.label(knot), timing })
      }
      return timings
    }
    const block = { name: spec.name, graph: spec.graph, copies, firstFeeds: spec.feeds(spec.knots[0]) }
    return withBlock(this.bench, block, measure, (reading) => this.loads.push(reading))
  }

  private copies(weightBytes: number): number {
    return Math.max(1, Math.min(this.model.layers, MAX_COPIES, Math.ceil(this.copiesBytes / weightBytes)))
  }
}

interface BlockSpec {
  readonly name: string
  readonly graph: GraphRecorder
  /** Of one layer; null for a block that a model has once. */
  readonly parameters: number | null
  readonly knots: readonly number[]
  readonly label: (knot: number) => string
  readonly feeds: (knot: number) => Feeds
}

function runner(session: Session, feeds: Feeds): () => Promise<void> {
  return async () => {
    await session.run(feeds)
  }
}

function transposed(byUnits: readonly (readonly Timing[])[]): Timing[] {
  return byUnits[0].flatMap((_, knot) => byUnits.map((timings) => timings[knot]))
}

const IDLE_SECONDS = 1

/** Package power while this process waits; null without a counter. */
async function measureIdleWatts(bench: Bench): Promise<number | null> {
  const before = bench.host.energyCounters()
  if (before === null) return null
  const start = bench.clock.nowSeconds()
  await new Promise((resolve) => setTimeout(resolve, IDLE_SECONDS * 1000))
  const joules = joulesBetween(before, bench.host.energyCounters())
  const seconds = bench.clock.nowSeconds() - start
  return joules === null || seconds <= 0 ? null : joules / seconds
}
