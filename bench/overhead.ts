import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../src/core/clock.ts'
import { randomStream } from '../src/core/random.ts'
import { openEngine } from '../src/core/engine/open.ts'
import type { Engine, Feeds, Fetched, RunOptions, Session } from '../src/core/engine/types.ts'
import { SubgraphKvCaches } from '../src/plan/measure/caches.ts'
import { subgraphFeeds, type Step } from '../src/plan/measure/feeds.ts'
import { attentionUnits, ffnParameters } from '../src/model/spec.ts'
import { loadModel } from '../src/model/catalog.ts'
import { openSubgraphStore } from '../src/model/graphs/subgraphStore.ts'
import { sharedFill } from '../src/model/graphs/weights.ts'
import { attentionUnitParameters } from '../src/model/spec.ts'
import { attentionWeights, ffnWeights } from '../src/model/graphs/weights.ts'
import type { ModelSpec } from '../src/model/spec.ts'
import type { Subgraph, SubgraphPart } from '../src/model/graphs/subgraphTypes.ts'
import type { SubgraphStore } from '../src/model/graphs/subgraphStore.ts'
import type { WeightFill } from '../src/model/graphs/weights.ts'
import { RUNTIME_PRECISIONS, type RuntimePrecision } from '../src/model/precision.ts'
import type { WeightSource } from '../src/model/graphs/source.ts'
import { tensor, type Tensor } from '../src/core/onnx/tensor.ts'
import type { BenchFigure } from '../src/cli/commands/bench.ts'

export interface OverheadOptions {
  /** Ids of models or YAML files. */
  readonly models?: readonly string[]
  /** All models, precisions and rounds instead of a minute's worth. */
  readonly full?: boolean
}

/** The published claim, in percent of the monolithic time. */
const CLAIM = 0.3
const QUICK_MODELS = ['tales', 'gpt2', 'gpt2-xl']
const FULL_MODELS = ['tiny', 'tales', 'gpt2', 'gpt2-xl', 'llama-7b']
/** So many layers are taken as their float32 weights fit in this, at least one. */
const LAYERS_BYTES = 2 ** 26
/** Layers beyond this are not prepacked: sessions then share one mapped copy of their weights. */
const PREPACK_BYTES = 2 ** 29
const DECODE: Step = { tokens: 1, position: 255 }
const PREFILL: Step = { tokens: 64, position: 0 }
/** A sample is as many passes as take about this long. */
const SAMPLE_SECONDS = 0.004
const MIN_ROUNDS = 12
/** A decomposition into more than so many calls a layer takes part in every fourth round only. */
const COARSE_CALLS = 2
const SPARSE_EVERY = 4
const WHOLE_BLOCKS = 'attn + FFN'

/**
 * What decomposition costs: the time of some layers as one subgraph against the same layers in parts, one thread,
 * random weights. Variants take turns within each round, so that a machine whose speed drifts slows all alike; a
 * second monolithic copy takes its turn too, and what it differs by is noise (A/A).
 */
export async function run({ models: asked, full = false }: OverheadOptions): Promise<BenchFigure[]> {
  const ids = asked ?? (full ? FULL_MODELS : QUICK_MODELS)
  const precisions: readonly RuntimePrecision[] = full ? RUNTIME_PRECISIONS : ['fp32']
  const models = ids.map(loadModel)
  const seconds = full ? 45 : 50 / (2 * models.length)
  const engine = await openEngine('native')
  const results: BenchFigure[] = []
  for (const model of models) {
    for (const precision of precisions) results.push(...(await compare(engine, model, precision, seconds)))
  }
  await engine.close()
  return results
}

/** Figures of one model and precision; the case's files live as long as it. */
async function compare(
  engine: Engine,
  model: ModelSpec,
  precision: RuntimePrecision,
  seconds: number,
): Promise<BenchFigure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'edgewise-overhead-'))
  const layers = layersOf(model)
  const decompositions = decompositionsOf(model, layers)
  const variants: Variant[] = []
  try {
    const store = openSubgraphStore(folder, fixedSource(model), precision)
    for (const subgraphs of decompositions.values())
      variants.push(await Variant.open(engine, model, store, subgraphs))
    const results: BenchFigure[] = []
    for (const [phase, step] of Object.entries({ decode: DECODE, prefill: PREFILL })) {
      for (const variant of variants) await variant.prepare(step)
      if (precision === 'fp32') await checkAlike(variants)
      const rounds = await measure(variants, seconds)
      const title = `overhead: ${model.id} (${layers} of ${model.layers} layers), ${precision}, ${phase}`
      results.push(...figures(title, decompositions, rounds))
    }
    return results
  } finally {
    for (const variant of variants) await variant.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

function layerBytes(model: ModelSpec): number {
  return 4 * (attentionUnits(model) * attentionUnitParameters(model) + ffnParameters(model, 'whole'))
}

function layersOf(model: ModelSpec): number {
  return Math.min(model.layers, Math.max(1, Math.floor(LAYERS_BYTES / layerBytes(model))))
}

/** The same weights at every call, so that all variants compute the same. */
function fixedSource(model: ModelSpec): WeightSource {
  const known = new Map<string, unknown>()
  const once = <T>(key: string, make: (fill: WeightFill) => T): T => {
    if (!known.has(key)) known.set(key, make(sharedFill(randomStream(1, `bench overhead ${key}`))))
    return known.get(key) as T
  }
  const none = (): never => {
    throw new RangeError('expected layers alone, found an end of the model')
  }
  return {
    model,
    attention: (layer) =>
      once(`attention ${layer}`, (fill) => attentionWeights(model, attentionUnits(model), fill)),
    ffn: (layer) => once(`ffn ${layer}`, (fill) => ffnWeights(model, fill)),
    embedding: none,
    head: none,
    exitHead: none,
    exitLayers: [],
  }
}

/** By name; the first two are the same. */
function decompositionsOf(model: ModelSpec, layers: number): Map<string, Subgraph[]> {
  const units = attentionUnits(model)
  const each = (of: (layer: number) => Subgraph[]): Subgraph[] =>
    Array.from({ length: layers }, (_, layer) => of(layer)).flat()
  const monolithic = subgraph('x', ...range(layers).flatMap((layer) => wholeLayer(model, layer)))
  const cases = new Map([
    ['monolithic', [monolithic]],
    ['monolithic again', [monolithic]],
  ])
  if (layers > 1) {
    const cut = 2 * Math.ceil(layers / 2)
    const halves = [monolithic.parts.slice(0, cut), monolithic.parts.slice(cut)]
    cases.set(
      'one cut, halves fused',
      halves.map((parts) => subgraph('x', ...parts)),
    )
  }
  cases.set(
    WHOLE_BLOCKS,
    each((layer) => wholeLayer(model, layer).map((part) => subgraph('x', part))),
  )
  cases.set('FFN in 2', each(ffnInTwo(model)))
  for (const groups of new Set([2, units >> 1, units])) {
    if (groups < 2) continue
    const name = groups === units ? `${groups} head groups (every head alone)` : `${groups} head groups`
    cases.set(name, each(headGroups(units, groups)))
  }
  return cases
}

function subgraph(input: Subgraph['input'], ...parts: SubgraphPart[]): Subgraph {
  return { input, parts }
}

function wholeLayer(model: ModelSpec, layer: number): SubgraphPart[] {
  const units = range(attentionUnits(model))
  return [
    { kind: 'attention', layer, units, residual: true },
    { kind: 'ffn', layer, part: 'whole' },
  ]
}

function ffnInTwo(model: ModelSpec): (layer: number) => Subgraph[] {
  return (layer) => [
    subgraph('x', wholeLayer(model, layer)[0], { kind: 'ffn', layer, part: 'first' }),
    subgraph('x+hidden', { kind: 'ffn', layer, part: 'second' }),
  ]
}

/** Heads in groups, the first of which adds the residual; the FFN takes the sum of the others' shares. */
function headGroups(units: number, groups: number): (layer: number) => Subgraph[] {
  const from = (group: number): number => Math.floor((group * units) / groups)
  return (layer) => [
    ...range(groups).map((group) =>
      subgraph('x', {
        kind: 'attention',
        layer,
        residual: group === 0,
        units: range(units).slice(from(group), from(group + 1)),
      }),
    ),
    subgraph('x+partial', { kind: 'ffn', layer, part: 'whole' }),
  ]
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}

/** A call of one subgraph: what it takes is fed as it comes, beside what each call is fed alike. */
interface Stage {
  readonly subgraph: Subgraph
  readonly session: Session
  readonly caches: SubgraphKvCaches
  fixed: Feeds
  options: RunOptions
}

/** Layers decomposed in one way, loaded, and run as the runtime runs them: caches stay with the engine. */
class Variant {
  private readonly model: ModelSpec
  private readonly stages: readonly Stage[]
  readonly isCoarse: boolean
  private x: Tensor = tensor('float32', [0], new Float32Array(0))

  private constructor(model: ModelSpec, stages: readonly Stage[]) {
    this.model = model
    this.stages = stages
    this.isCoarse = stages.length <= COARSE_CALLS * layersOf(model)
  }

  static async open(
    engine: Engine,
    model: ModelSpec,
    store: SubgraphStore,
    subgraphs: readonly Subgraph[],
  ): Promise<Variant> {
    const prepacking = layerBytes(model) <= PREPACK_BYTES
    const stages: Stage[] = []
    for (const one of subgraphs) {
      const session = await engine.create(store.store(one).path, { prepacking })
      // Zeros: what the caches hold must be alike in all variants, and a step writes into them.
      const zeros: WeightFill = (size) => new Float32Array(size)
      const caches = new SubgraphKvCaches(engine, model, one, 1, zeros)
      stages.push({ subgraph: one, session, caches, fixed: {}, options: {} })
    }
    return new Variant(model, stages)
  }

  async prepare(step: Step): Promise<void> {
    const { model } = this
    const fill = sharedFill(randomStream(1, 'bench overhead inputs'))
    this.x = tensor('float32', [step.tokens, model.width], fill(step.tokens * model.width, 0, 1))
    for (const stage of this.stages) {
      const { session, caches } = stage
      stage.options = await caches.optionsOf(step, session.outputNames)
      const names = session.inputNames.filter((name) => name === 'positions' || name === 'mask')
      stage.fixed = subgraphFeeds(model, names, step, 1, caches.seenCapacity(step), fill)
    }
  }

  /** One pass; the residual after the last layer. */
  async pass(): Promise<Float32Array> {
    let [x, before] = [this.x, this.x]
    let partial: Tensor | null = null
    let hidden: Tensor | null = null
    for (const { subgraph: one, session, fixed, options } of this.stages) {
      const share = isShare(one)
      const feeds: Record<string, Tensor> = { ...fixed }
      if (one.input === 'x+hidden') feeds.hidden = hidden!
      if (one.input === 'x+partial') feeds.partial = partial!
      feeds.x = share ? before : x
      const out: Fetched = await session.run(feeds, options)
      if (share) partial = partial === null ? out.y : sum(partial, out.y)
      else [before, x, partial, hidden] = [x, out.y, null, out.hidden]
    }
    return x.data as Float32Array
  }

  async close(): Promise<void> {
    for (const { session, caches } of this.stages) {
      await caches.dispose()
      await session.dispose()
    }
  }
}

function isShare({ parts }: Subgraph): boolean {
  const [first] = parts
  return first.kind === 'attention' && !first.residual
}

function sum(a: Tensor, b: Tensor): Tensor {
  const [left, right] = [a.data as Float32Array, b.data as Float32Array]
  const out = new Float32Array(left.length)
  for (let i = 0; i < out.length; i++) out[i] = left[i] + right[i]
  return { ...a, data: out }
}

/** A decomposition that computes something else would be no decomposition. */
async function checkAlike(variants: readonly Variant[]): Promise<void> {
  const expected = await variants[0].pass()
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  for (const variant of variants) {
    const found = await variant.pass()
    const off = found.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0)
    if (!(off <= 1e-4 * largest))
      throw new Error(`a decomposition is off by ${off} where ${largest} is largest`)
  }
}

/**
 * Seconds of a pass, per round and variant. Processor time: where the machine has other work, the wall clock tells
 * of that. The order turns with the rounds, so that none always follows the same. Fine decompositions cost so much
 * that few rounds show it: NaN in the others.
 */
async function measure(variants: readonly Variant[], seconds: number): Promise<Float64Array[]> {
  const start = cpuSeconds()
  for (const variant of variants) await variant.pass()
  const passes = Math.max(1, Math.round((SAMPLE_SECONDS * variants.length) / (cpuSeconds() - start)))
  const end = systemClock.nowSeconds() + seconds
  const rounds: Float64Array[] = []
  while (rounds.length < MIN_ROUNDS || systemClock.nowSeconds() < end) {
    const times = new Float64Array(variants.length).fill(NaN)
    const isSparse = rounds.length % SPARSE_EVERY !== 0
    for (let i = 0; i < variants.length; i++) {
      const which = (rounds.length + i) % variants.length
      if (isSparse && !variants[which].isCoarse) continue
      const before = cpuSeconds()
      for (let k = 0; k < passes; k++) await variants[which].pass()
      times[which] = (cpuSeconds() - before) / passes
    }
    rounds.push(times)
  }
  return rounds
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage()
  return 1e-6 * (user + system)
}

function figures(
  title: string,
  cases: ReadonlyMap<string, readonly Subgraph[]>,
  rounds: readonly Float64Array[],
): BenchFigure[] {
  const overhead = (variant: number): Estimate =>
    median(rounds.map((times) => 100 * (times[variant] / times[0] - 1)))
  const added = (variant: number, calls: number): Estimate =>
    median(rounds.map((times) => (1e6 * (times[variant] - times[0])) / calls))
  const results: BenchFigure[] = [
    { name: `${title}: monolithic`, ...median(rounds.map(([first]) => 1e3 * first)), unit: 'ms' },
  ]
  const noise = reach(overhead(1))
  for (const [i, [name, { length }]] of [...cases].entries()) {
    if (i < 2) continue
    const figure = overhead(i)
    results.push({
      name: `${title}: ${name}`,
      ...figure,
      unit: '%',
      noise,
      verdict: verdictOf(figure, noise),
    })
    if (name !== WHOLE_BLOCKS) continue
    const calls = length - 1
    const what = `${title}: each of ${calls} added calls`
    results.push({ name: what, ...added(i, calls), unit: 'us', noise: reach(added(1, calls)) })
  }
  return results
}

interface Estimate {
  readonly value: number
  readonly low: number
  readonly high: number
}

/** The median and its 95 % interval: order statistics of the sign test, free of assumptions. */
function median(values: readonly number[]): Estimate {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b)
  const n = sorted.length
  const rank = Math.max(0, Math.floor((n - 1.96 * Math.sqrt(n)) / 2))
  return { value: (sorted[(n - 1) >> 1] + sorted[n >> 1]) / 2, low: sorted[rank], high: sorted[n - 1 - rank] }
}

function reach({ low, high }: Estimate): number {
  return Math.max(Math.abs(low), Math.abs(high))
}

/** Whether the claim holds, as far as interval and noise let it be seen. */
function verdictOf({ low, high }: Estimate, noise: number): string {
  if (high < CLAIM && noise < CLAIM) return `below ${CLAIM} %`
  return low > Math.max(CLAIM, noise) ? `above ${CLAIM} %` : 'lost in the noise'
}
