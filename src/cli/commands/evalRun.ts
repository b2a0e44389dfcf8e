import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { InputError } from '../../core/errors.ts'
import {
  ABSENT_BASELINES,
  baselines,
  bestStaticCut,
  type TunedBaselines,
} from '../../learn/evaluate/baselines.ts'
import { evaluate } from '../../learn/evaluate/evaluate.ts'
import { layerCuts } from '../../plan/planners/fixed.ts'
import type { Policy } from '../../plan/price/situation.ts'
import { readBundle } from '../../policy/bundle/files.ts'
import { MANIFEST_FILE } from '../../policy/bundle/manifest.ts'
import { checkSpec } from '../../policy/bundle/contract.ts'
import { LearnedPolicy } from '../../policy/actor/learned.ts'
import { openJsonl } from '../../learn/trackers/jsonl.ts'
import {
  loadScenario,
  type Scenario,
  type ScenarioOverrides,
  type Split,
} from '../../sim/scenario/scenario.ts'
import type { Io } from '../io.ts'
import type { EvalJson } from '../json/eval.ts'
import { isRun, learnedPolicy, readTrained, scenarioOfRun } from '../json/runs.ts'
import { tunedFor } from '../json/tuned.ts'
import { startProgress } from '../progress.ts'
import { packageRoot, packageVersion } from '../../core/packageRoot.ts'

const STATIC_CUT = 'best-static-cut'
/** Every planner, in the order of the table before it is sorted. */
export const PLANNERS = [
  'edge-only',
  'cloud-only',
  'random',
  STATIC_CUT,
  'shortest-delay',
  'threshold',
  'ce-collm-standalone',
  'ce-collm',
  'per-state-dp',
  'drift-plus-penalty',
  'priced',
] as const
const TUNED = ['threshold', 'drift-plus-penalty', 'priced']

/**
 * Log of evaluations on test links: every evaluation on them is recorded, because test links that were seen are no
 * longer unseen.
 */
const FINAL_LOG = 'final-evaluations.jsonl'

/** Training episodes and candidates for the tuned planners. */
interface TuningSize {
  readonly episodes: number
  readonly candidates: number
}

interface EvaluationRequest {
  readonly scenario: Scenario
  readonly split: Split
  /** The test links are files named on the command line. */
  readonly givenLinks?: boolean
  readonly seeds: number
  /** Names of planners, with `all` expanded. */
  readonly planners: readonly string[]
  readonly learned: readonly Policy[]
  readonly tuning: TuningSize
  /** Folder for tuned prices and the log of final evaluations. */
  readonly runsFolder: string
}

/** Sorts the names on a command line into planners, and folders of runs and bundles. */
export function sortNames(names: readonly string[]): {
  planners: string[]
  runs: string[]
  bundles: string[]
} {
  const found = { planners: new Set<string>(), runs: [] as string[], bundles: [] as string[] }
  for (const name of names) {
    if (name === 'all') for (const planner of PLANNERS) found.planners.add(planner)
    else if ((PLANNERS as readonly string[]).includes(name)) found.planners.add(name)
    else if (isRun(name)) found.runs.push(name)
    else if (existsSync(join(name, MANIFEST_FILE))) found.bundles.push(name)
    else {
      throw new InputError({
        where: name,
        expected: `a run folder, a bundle, \`all\`, or one of ${PLANNERS.join(', ')}`,
        found: existsSync(name) ? 'neither a run nor a bundle' : 'no such folder or planner',
        remedy: '`edgewise train` makes a run, `edgewise export` a bundle',
      })
    }
  }
  return { ...found, planners: [...found.planners] }
}

interface ScenarioChoice extends ScenarioOverrides {
  readonly file?: string
}

/** The given scenario, otherwise that of the first run; a bundle supplies the profiles for a scenario file. */
export async function scenarioFor(
  choice: ScenarioChoice,
  names: { readonly runs: readonly string[]; readonly bundles: readonly string[] },
): Promise<Scenario> {
  const { file, ...changes } = choice
  if (file === undefined) {
    if (names.runs.length > 0) return scenarioOfRun(names.runs[0], changes)
    throw new InputError({
      where: '--scenario',
      expected: 'a scenario file: only a run brings its own',
      found: 'nothing',
      remedy: 'configs/quickstart.scenario.yaml is one',
    })
  }
  const bundle = names.bundles.at(0)
  const profiles =
    bundle === undefined || names.runs.length > 0
      ? {}
      : { edge: join(bundle, 'edge.profile.json'), cloud: join(bundle, 'cloud.profile.json') }
  const given = Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined))
  const modelsFolder = join(packageRoot(), 'models')
  return loadScenario(file, { modelsFolder, ...profiles, ...given })
}

/** Opens the learned policies on a scenario. Throws InputError if one has another shape. */
export function openLearned(
  scenario: Scenario,
  runs: readonly string[],
  bundles: readonly string[],
): Policy[] {
  const { problem } = scenario
  const policies = [
    ...runs.map((folder) => {
      const run = readTrained(folder)
      checkSpec(run.numbers.spec, problem, folder)
      return learnedPolicy(problem, run)
    }),
    ...bundles.map((folder) => {
      const { numbers, manifest } = readBundle(folder)
      checkSpec(numbers.spec, problem, folder)
      return new LearnedPolicy(problem, numbers, manifest.name)
    }),
  ]
  const names = policies.map((policy) => policy.name)
  const clash = names.find(
    (name, index) => names.indexOf(name) !== index || (PLANNERS as readonly string[]).includes(name),
  )
  if (clash === undefined) return policies
  throw new InputError({
    where: clash,
    expected: 'policies of different names (the name of the folder)',
    found: 'two of one name',
    remedy: 'rename a folder',
  })
}

/**
 * Runs everything on the same episodes, after tuning what must be tuned. Returns to the event loop between episodes,
 * and throws AbortError there after Ctrl-C.
 */
export async function evaluateRequest(request: EvaluationRequest, io: Io): Promise<EvalJson> {
  const { scenario, split, planners, learned } = request
  const seeds = Array.from({ length: request.seeds }, (_, seed) => seed)
  const tuned = planners.some((name) => TUNED.includes(name)) ? await tune(request, io) : null
  // The untuned planners need no prices.
  const built = baselines(scenario, tuned ?? { prices: [0, 0, 0, 0], v: 1, thresholdSeconds: 0 })
  const policies: Policy[] = []
  for (const name of planners) {
    if (name === STATIC_CUT) policies.push(await staticCut(request, seeds, io))
    else policies.push(...built.filter((policy) => policy.name === name))
  }
  const total = request.seeds * (policies.length + learned.length)
  const report = await during(io, 'evaluate', total, (step) =>
    evaluate({
      scenario,
      policies: [...policies, ...learned],
      split,
      seeds,
      onProgress: (done) => step(done, `${done} of ${total} episodes`),
    }),
  )
  const { weights, latency } = scenario.problem.objective
  const json = {
    ...report,
    scenario: scenario.config.name,
    scenarioHash: scenario.hash,
    links: request.givenLinks === true ? 'given' : split,
    load: scenario.config.workload.load,
    notes: [...scenario.notes],
    loadMisfit: scenario.edgeMisfit,
    objective: { weights: { ...weights }, latency: { ...latency } },
    tuned:
      tuned === null ? null : { prices: tuned.prices, v: tuned.v, thresholdSeconds: tuned.thresholdSeconds },
    absent: { ...ABSENT_BASELINES, ...notAllowed(planners, { ...report.policies, ...report.unfit }) },
  } as unknown as EvalJson
  // Links named on the command line belong to the user and are not the scenario's test links.
  if (split === 'test' && request.givenLinks !== true) logFinal(json, request.runsFolder, io)
  return json
}

/** Requested planners that the scenario does not allow. */
function notAllowed(
  planners: readonly string[],
  policies: Readonly<Record<string, unknown>>,
): Record<string, string> {
  const missing = planners.filter((name) => policies[name] === undefined)
  return Object.fromEntries(missing.map((name) => [name, 'this scenario allows no early exit at 0.8']))
}

type Step = (done: number, note: string) => Promise<void>

/** Shows progress for work whose steps return to the event loop. */
async function during<T>(io: Io, title: string, total: number, work: (step: Step) => Promise<T>): Promise<T> {
  const progress = startProgress(io, title, total)
  try {
    return await work(async (done, note) => {
      progress.update(done, note)
      await new Promise((resume) => setImmediate(resume))
      io.signal.throwIfAborted()
    })
  } finally {
    progress.stop()
  }
}

function staticCut(
  { scenario, split }: EvaluationRequest,
  seeds: readonly number[],
  io: Io,
): Promise<Policy> {
  const count = layerCuts(scenario.problem).length
  return during(io, 'static cuts', count, (step) =>
    bestStaticCut(scenario, split, seeds, (done) => step(done, `${done} of ${count} layer cuts`)),
  )
}

function tune({ scenario, tuning, runsFolder }: EvaluationRequest, io: Io): Promise<TunedBaselines> {
  return during(io, 'tune', tuning.candidates, (step) =>
    tunedFor(scenario, runsFolder, packageVersion(), {
      ...tuning,
      onProgress: (what, done, total) =>
        step((tuning.candidates * done) / total, `${what}: ${done} of ${total}`),
    }),
  )
}

function logFinal(json: EvalJson, runsFolder: string, io: Io): void {
  const log = openJsonl(join(runsFolder, FINAL_LOG))
  try {
    log.append({
      time: io.clock.wallTime(),
      version: packageVersion(),
      scenario: json.scenario,
      scenarioHash: json.scenarioHash,
      load: json.load,
      seeds: json.seeds,
      lowerBound: json.lowerBound,
      ...Object.fromEntries(
        Object.entries(json.policies).map(([name, row]) => [`cost.${name}`, row.cost.mean]),
      ),
    })
    log.sync()
  } finally {
    log.close()
  }
}
