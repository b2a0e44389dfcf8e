import { existsSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'
import { InputError, show } from '../../core/errors.ts'
import { canonicalJson, sha256 } from '../../core/files.ts'
import { randomStream } from '../../core/random.ts'
import { check, readConfig } from '../../core/schema.ts'
import { evaluateProgram } from '../../plan/price/evaluate.ts'
import { compileProgram } from '../../plan/price/compile.ts'
import { createPair, pairUnits } from '../../plan/price/pair.ts'
import { EDGE, uniformPlan, type Plan } from '../../plan/plan.ts'
import { misfitOf, type Misfit } from '../../plan/price/memory.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import type { BlockCosts } from '../../plan/profile/costs.ts'
import { accuracyTable, readAccuracyTable } from '../../plan/profile/accuracy.ts'
import { shippedAccuracyFile } from '../../plan/profile/shipped.ts'
import { placeLink } from '../../trace/import/openLink.ts'
import { createLink } from '../../trace/link.ts'
import { readWorkload, WORKLOAD_FORMS } from '../../trace/import/workload.ts'
import { readLengthModel, type LengthSource, type RecordedRequests } from '../../trace/lengths.ts'
import { sampleTenants } from '../../trace/tenants.ts'
import { sampleArrivals, type ArrivalProcess, type Workload } from '../../trace/workload.ts'
import { cloudSlowdown } from '../../plan/price/cloud.ts'
import type { EpisodeInputs } from '../types.ts'
import type { EpisodeTerms } from '../episode.ts'
import { checkScenario } from './check.ts'
import { openEntry, type LinkSource } from './links.ts'
import { besideConfig, loadCosts, loadModelBeside } from './profiles.ts'
import { scenarioSchema, type LinkEntry, type ScenarioConfig } from './schema.ts'

export type Split = 'train' | 'validation' | 'test'

/** A scenario ready to be simulated. */
export interface Scenario {
  readonly config: ScenarioConfig
  /** SHA-256 of the resolved config and both profiles: what results are tied to. */
  readonly hash: string
  readonly problem: DecisionProblem
  readonly terms: EpisodeTerms
  readonly batchFactors: readonly number[]
  readonly meanRatePerSecond: number
  /** What of the workload's files is left out or estimated. */
  readonly notes: readonly string[]
  /** Why a plan can run for no request, however short and alone; null if it can for some. */
  misfitOf(plan: Plan): Misfit | null
  /** That of the whole model on the edge: then the load is relative to an edge of this speed with memory for it. */
  readonly edgeMisfit: Misfit | null
  readonly links: Readonly<Record<Split, readonly LinkSource[]>>
  /** The world of episode `seed` of a split; equal arguments give equal worlds. */
  world(split: Split, seed: number): EpisodeInputs
}

/** Replacements of a scenario's fields from the command line. */
export interface ScenarioOverrides {
  readonly edge?: string
  readonly cloud?: string
  readonly requestsPerEpisode?: number
  readonly load?: number
  /** `poisson`, `mmpp`, or a file of recorded requests: their arrivals, where it has them, and lengths. */
  readonly workload?: string
  /** Links that take the place of the test links; paths are relative to the working folder. */
  readonly testLinks?: readonly LinkEntry[]
  /**
   * Folder of the models that ship with the project: a scenario file with such a model and without an accuracy table
   * takes the measured one beside the model, by name, so that a run keeps it.
   */
  readonly modelsFolder?: string
}

/** Reads a scenario file and all that it names. Throws InputError naming file and field. */
export async function loadScenario(path: string, overrides: ScenarioOverrides = {}): Promise<Scenario> {
  const folder = dirname(path)
  const config = withShippedAccuracy(readConfig(scenarioSchema, path), folder, overrides.modelsFolder)
  return resolveScenario(changeConfig(config, overrides, path), folder, overrides)
}

function withShippedAccuracy(
  config: ScenarioConfig,
  folder: string,
  modelsFolder: string | undefined,
): ScenarioConfig {
  if (config.accuracy !== undefined || modelsFolder === undefined) return config
  const file = shippedAccuracyFile(loadModelBeside(config.model, folder), modelsFolder)
  return file === null ? config : { ...config, accuracy: relative(resolve(folder), file) }
}

/** A config with what the command line changes of it; files named there are relative to the working folder. */
export function changeConfig(
  config: ScenarioConfig,
  overrides: ScenarioOverrides,
  where: string,
): ScenarioConfig {
  const { requestsPerEpisode = config.workload.requestsPerEpisode, load = config.workload.load } = overrides
  const workload = {
    ...config.workload,
    ...workloadChange(config, overrides.workload),
    requestsPerEpisode,
    load,
  }
  const test = overrides.testLinks?.map(placeEntry) ?? config.links.test
  return check(scenarioSchema, { ...config, workload, links: { ...config.links, test } }, where)
}

/** Bursts of quickstart's kind, for a scenario that declares none. */
const DEFAULT_BURSTS = { kind: 'mmpp', burstRatio: 5, meanCalmSeconds: 120, meanBurstSeconds: 40 } as const

function workloadChange(
  config: ScenarioConfig,
  workload: string | undefined,
): Partial<ScenarioConfig['workload']> {
  if (workload === undefined) return {}
  if (workload === 'poisson') return { arrivals: { kind: 'poisson' } }
  if (workload === 'mmpp')
    return { arrivals: config.workload.arrivals.kind === 'mmpp' ? config.workload.arrivals : DEFAULT_BURSTS }
  if (!existsSync(workload) && !/\.(csv|jsonl?)$/.test(workload)) {
    throw new InputError({
      where: '--workload',
      expected: `poisson, mmpp, or a file of requests: ${WORKLOAD_FORMS}`,
      found: show(workload),
    })
  }
  const file = resolve(workload)
  const lengths = { recorded: file }
  return readWorkload(file).arrivalSeconds === null
    ? { lengths }
    : { lengths, arrivals: { kind: 'recorded', file } }
}

/** A link named on the command line, with its paths as a config elsewhere needs them. */
function placeEntry(entry: LinkEntry): LinkEntry {
  const place = (path: string): string => resolve(path)
  if (typeof entry === 'string') return placeLink(entry, place)
  return 'link' in entry ? { ...entry, link: placeLink(entry.link, place) } : entry
}

/** The same for a config in memory; its paths are relative to `folder`. */
export async function resolveScenario(
  config: ScenarioConfig,
  folder: string,
  overrides: ScenarioOverrides = {},
): Promise<Scenario> {
  const problem = problemOf(config, folder, overrides)
  const terms = termsOf(config, problem)
  checkScenario(config, problem, terms)
  const batchFactors = Array.from({ length: config.cloudSlots }, (_, i) =>
    problem.pair.cloud.batchFactor(i + 1),
  )
  const workload = workloadOf(config, folder)
  const links = {
    train: await openAll(config, 'train', folder),
    validation: await openAll(config, 'validation', folder),
    test: await openAll(config, 'test', folder),
  }
  const meanRatePerSecond = config.workload.load / edgeServiceSeconds(config, problem, workload)
  const { edge, cloud } = problem.pair
  const misfit = (plan: Plan) => misfitOf(problem.pair, plan, shortestRequest(problem, terms))
  return {
    config,
    hash: sha256(
      canonicalJson({ config, edge: edge.profile, cloud: cloud.profile, accuracy: problem.pair.accuracy }),
    ),
    problem,
    terms,
    batchFactors,
    meanRatePerSecond,
    notes: notesOf(workload),
    misfitOf: misfit,
    edgeMisfit: misfit(everythingOnEdge(problem)),
    links,
    world: (split, seed) =>
      drawWorld(config, problem, workload, links[split], batchFactors, meanRatePerSecond, `${split}/${seed}`),
  }
}

function problemOf(config: ScenarioConfig, folder: string, overrides: ScenarioOverrides): DecisionProblem {
  const model = loadModelBeside(config.model, folder)
  const costsOf = (side: 'edge' | 'cloud'): BlockCosts => {
    const precision = config.precision?.[side]
    const runs = precision === undefined ? undefined : { side, precision }
    const override = overrides[side]
    return override === undefined
      ? loadCosts(config[side], model, folder, runs)
      : loadCosts(override, model, '.', runs)
  }
  const [edge, cloud] = [costsOf('edge'), costsOf('cloud')]
  const accuracy =
    config.accuracy === undefined
      ? accuracyTable(model)
      : readAccuracyTable(besideConfig(folder, config.accuracy), model)
  const { weights, latency, readingTokensPerSecond } = config.objective
  const factors = Array.from({ length: config.cloudSlots }, (_, i) => cloud.batchFactor(i + 1))
  return {
    pair: createPair(edge, cloud, accuracy),
    objective: {
      weights,
      latency: latency.form === 'qoe' ? { form: 'qoe', readingTokensPerSecond } : latency,
    },
    budgets: config.objective.budgets,
    readingTokensPerSecond,
    boundaryBits: config.plans.boundaryBits,
    earlyExit: config.plans.earlyExit,
    exitThresholds: config.plans.exitThresholds ?? null,
    edgeLayersFirst: config.plans.edgeLayersFirst,
    edgeLayersLast: config.plans.edgeLayersLast,
    cloudSlowdown: (active) => cloudSlowdown(factors, config.cloudSlots, active),
  }
}

function termsOf(config: ScenarioConfig, problem: DecisionProblem): EpisodeTerms {
  const { service, workload } = config
  return {
    memoryBytes:
      service.edgeMemoryGb === undefined ? problem.pair.edgeMemoryBytes : service.edgeMemoryGb * 1e9,
    maxNewTokens: workload.maxNewTokens,
    heartbeatSeconds: service.heartbeatSeconds,
    reportPeriodSeconds: service.loadReportPeriodSeconds,
    reportDelaySeconds: service.loadReportDelaySeconds,
    decisionSeconds: problem.pair.edge.profile.decisionSeconds.value,
    preloaded: service.preloaded,
  }
}

function everythingOnEdge({ pair }: DecisionProblem): Plan {
  return uniformPlan(pair.model.layers, pairUnits(pair), EDGE)
}

/** Memory of the idle edge, and K/V of a prompt of one token. */
function shortestRequest({ pair }: DecisionProblem, { memoryBytes, maxNewTokens }: EpisodeTerms) {
  return { memoryBytes, reservedTokens: Math.min(pair.model.contextTokens, 1 + maxNewTokens) }
}

function openAll(config: ScenarioConfig, split: Split, folder: string): Promise<LinkSource[]> {
  return Promise.all(config.links[split].map((entry) => openEntry(entry, folder, config.links.binSeconds)))
}

function workloadOf(config: ScenarioConfig, folder: string): Workload {
  const { arrivals, lengths, predictorLogSd } = config.workload
  const opened = new Map<string, RecordedRequests>()
  const openOnce = (file: string): RecordedRequests => {
    const requests = opened.get(file) ?? readWorkload(besideConfig(folder, file))
    opened.set(file, requests)
    return requests
  }
  const process: ArrivalProcess =
    arrivals.kind === 'azure' || arrivals.kind === 'recorded'
      ? { kind: 'recorded', requests: openOnce(arrivals.file) }
      : arrivals
  return { arrivals: process, lengths: lengthsOf(lengths, folder, openOnce), predictorLogSd }
}

function lengthsOf(
  lengths: ScenarioConfig['workload']['lengths'],
  folder: string,
  openOnce: (file: string) => RecordedRequests,
): LengthSource {
  if ('model' in lengths)
    return { kind: 'synthetic', model: readLengthModel(besideConfig(folder, lengths.model)) }
  if ('recorded' in lengths) return { kind: 'recorded', requests: openOnce(lengths.recorded) }
  if ('azure' in lengths) return { kind: 'recorded', requests: openOnce(lengths.azure) }
  return { kind: 'fixed', ...lengths }
}

/** What the files of a workload leave out or estimate. */
function notesOf({ arrivals, lengths }: Workload): string[] {
  const recorded = [arrivals, lengths].flatMap((part) => (part.kind === 'recorded' ? [part.requests] : []))
  return [...new Set(recorded.flatMap(({ notes }) => notes))]
}

function limits(config: ScenarioConfig, problem: DecisionProblem, meanRatePerSecond: number, count: number) {
  return {
    count,
    meanRatePerSecond,
    contextTokens: problem.pair.model.contextTokens,
    maxNewTokens: config.workload.maxNewTokens,
  }
}

/**
 * Mean seconds of a request served by the edge alone, over a fixed sample of lengths: what the load is relative to.
 * Memory is left out: the same load is the same rate on every memory, also where the model fits none.
 */
function edgeServiceSeconds(config: ScenarioConfig, problem: DecisionProblem, workload: Workload): number {
  const { pair } = problem
  const plan = everythingOnEdge(problem)
  const link = { upBitsPerSecond: 1e9, downBitsPerSecond: 1e9, rttSeconds: 0 }
  const sample = sampleArrivals(
    { ...workload, arrivals: { kind: 'poisson' } },
    limits(config, problem, 1, 256),
    randomStream(0, 'service'),
  )
  let total = 0
  for (const { promptTokens, outputTokens } of sample) {
    const program = compileProgram(pair, plan, { promptTokens, loadBytes: 0, decisionSeconds: 0 })
    total += evaluateProgram(program, { ...problem, link, promptTokens, outputTokens }).edgeSeconds
  }
  return total / sample.length
}

/** Links last this many times as long as the arrivals are expected to; a slow policy meets the beginning again. */
const LINK_LENGTH_FACTOR = 1.25

function drawWorld(
  config: ScenarioConfig,
  problem: DecisionProblem,
  workload: Workload,
  links: readonly LinkSource[],
  batchFactors: readonly number[],
  meanRatePerSecond: number,
  name: string,
): EpisodeInputs {
  const stream = (part: string) => randomStream(0, `${config.name}/${name}/${part}`)
  const count = config.workload.requestsPerEpisode
  const arrivals = sampleArrivals(
    workload,
    limits(config, problem, meanRatePerSecond, count),
    stream('arrivals'),
  )
  const seconds = Math.max(60, (LINK_LENGTH_FACTOR * count) / meanRatePerSecond)
  const choose = stream('link')
  const source = links[choose.integer(links.length)]
  return {
    link: createLink(source.sample(seconds, choose)),
    tenants: sampleTenants(config.tenants, seconds, stream('tenants')),
    arrivals,
    maxInFlight: config.service.maxInFlight,
    cloudSlots: config.cloudSlots,
    batchFactors,
    network: problem.pair.network,
    readingTokensPerSecond: config.objective.readingTokensPerSecond,
    // 0 means never too.
    outageSeconds: config.service.replanAfterOutageSeconds || null,
  }
}
