import { existsSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { z } from 'zod'
import { InputError } from '../../core/errors.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import { LearnedPolicy, type PolicyNumbers } from '../../policy/actor/learned.ts'
import {
  changeConfig,
  resolveScenario,
  type Scenario,
  type ScenarioOverrides,
} from '../../sim/scenario/scenario.ts'
import { RUN_FILES, readPolicy, readRun, type PolicyAbout } from '../../learn/runs/folder.ts'
import { openRunScenario } from '../../learn/runs/run.ts'
import { packageVersion } from '../../core/packageRoot.ts'

/** `edgewise train --json`. */
export const trainJsonSchema = z.strictObject({
  folder: z.string(),
  updates: z.int().min(0),
  totalUpdates: z.int().min(1),
  decisions: z.int().min(0),
  bestUpdate: z.int().min(1).nullable(),
  /** Mean cost of a request on validation links, simulated. */
  bestValidationCost: z.number().nullable(),
  finished: z.boolean(),
  scenario: z.string(),
  scenarioHash: z.string(),
  seed: z.int().min(0),
})

/** What `edgewise train --json` prints. */
export type TrainJson = z.infer<typeof trainJsonSchema>

/** Where runs, tuned prices and the log of final evaluations lie. */
export const RUNS_FOLDER = 'runs'

/** `stem-1`, `stem-2`, ...: the first of which nothing exists yet. */
export function freshFolder(parent: string, stem: string): string {
  for (let n = 1; ; n++) {
    const folder = join(parent, `${stem}-${n}`)
    if (!existsSync(folder)) return folder
  }
}

/** Whether a folder holds a training run. */
export function isRun(path: string): boolean {
  return existsSync(join(path, RUN_FILES.run))
}

interface TrainedRun {
  readonly name: string
  readonly numbers: PolicyNumbers
  readonly about: PolicyAbout
}

/** The policy of a run that was best on validation. Throws InputError where none was validated yet. */
export function readTrained(folder: string): TrainedRun {
  readRun(folder)
  const path = join(folder, RUN_FILES.best)
  if (!existsSync(path)) {
    throw new InputError({
      where: folder,
      expected: 'a run with a policy that was validated',
      found: 'none yet',
      remedy: `edgewise train --resume ${folder}`,
    })
  }
  return { name: basename(folder), ...readPolicy(path) }
}

/** The policy of a run, for one decision problem. */
export function learnedPolicy(problem: DecisionProblem, run: TrainedRun): LearnedPolicy {
  return new LearnedPolicy(problem, run.numbers, run.name)
}

/** The scenario of a run, as it was trained on or with changes for a what-if. */
export async function scenarioOfRun(folder: string, changes: ScenarioOverrides = {}): Promise<Scenario> {
  if (Object.values(changes).every((value) => value === undefined)) return openRunScenario(folder)
  const run = readRun(folder)
  const { edge = join(folder, RUN_FILES.edge), cloud = join(folder, RUN_FILES.cloud) } = changes
  const config = changeConfig(run.scenario, changes, folder)
  return resolveScenario(config, resolve(folder, run.folder), { edge, cloud })
}

/** Versions of what makes a result, by name. */
export function versionsWith(engine: {
  readonly name: string
  readonly version: string
}): Record<string, string> {
  return { edgewise: packageVersion(), node: process.versions.node, [engine.name]: engine.version }
}
