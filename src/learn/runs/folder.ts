import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { packArchive, unpackArchive } from '../../core/archive.ts'
import { EdgewiseError, InputError } from '../../core/errors.ts'
import { fillFolder } from '../../core/fileErrors.ts'
import { canonicalJson, readCapped, readText, writeAtomic } from '../../core/files.ts'
import { check, parseJson, sha256Schema } from '../../core/schema.ts'
import type { PolicyNumbers } from '../../policy/actor/learned.ts'
import { formatProfile, readProfile } from '../../plan/profile/file.ts'
import type { Scenario } from '../../sim/scenario/scenario.ts'
import { scenarioSchema } from '../../sim/scenario/schema.ts'
import { trainingSchema, type TrainingConfig } from './config.ts'

/** Name and version of run.json's format. */
const RUN_SCHEMA = 'edgewise.run/1'

/** Names of a run folder's files. */
export const RUN_FILES = {
  run: 'run.json',
  edge: 'edge.profile.json',
  cloud: 'cloud.profile.json',
  accuracy: 'accuracy.json',
  checkpoint: 'checkpoint.bin',
  best: 'best.policy',
  lock: 'run.lock',
} as const

const MAX_POLICY_BYTES = 256 * 1024 * 1024

const runSchema = z.strictObject({
  schema: z.literal(RUN_SCHEMA),
  training: trainingSchema,
  scenario: scenarioSchema,
  scenarioHash: sha256Schema,
  /** Folder to which the scenario's paths are relative, itself relative to the run folder. */
  folder: z.string(),
  versions: z.record(z.string(), z.string()),
})

/** run.json: everything that a run was made from, with defaults resolved. */
type RunDescription = z.infer<typeof runSchema>

/** Creates a run folder. Throws InputError if it already holds a run. */
export function createRunFolder(
  path: string,
  scenario: Scenario,
  training: TrainingConfig,
  folder: string,
  versions: Record<string, string>,
): void {
  if (existsSync(path) && readdirSync(path).length > 0) {
    throw new InputError({
      where: path,
      expected: 'a new or empty folder for the run',
      found: 'a folder with files in it',
      remedy: 'choose another --out, or continue that run with --resume',
    })
  }
  const { edge, cloud, accuracy } = scenario.problem.pair
  const run: RunDescription = {
    schema: RUN_SCHEMA,
    training,
    scenario: scenario.config,
    scenarioHash: scenario.hash,
    folder,
    versions,
  }
  fillFolder(path, 0o777, () => {
    writeAtomic(join(path, RUN_FILES.edge), formatProfile(edge.profile))
    writeAtomic(join(path, RUN_FILES.cloud), formatProfile(cloud.profile))
    writeAtomic(join(path, RUN_FILES.accuracy), canonicalJson(accuracy))
    // Written last: a folder without it is not a run.
    writeAtomic(join(path, RUN_FILES.run), `${JSON.stringify(run, null, 2)}\n`)
  })
}

/** Reads run.json and checks that both profiles exist. */
export function readRun(path: string): RunDescription {
  const file = join(path, RUN_FILES.run)
  if (!existsSync(file)) {
    throw new InputError({
      where: path,
      expected: `a run folder (with ${RUN_FILES.run})`,
      found: 'none',
      remedy: 'edgewise train <config.yaml> makes one',
    })
  }
  const run: RunDescription = check(runSchema, parseJson(readText(file, 4 * 1024 * 1024), file), file)
  for (const name of [RUN_FILES.edge, RUN_FILES.cloud]) readProfile(join(path, name))
  return run
}

/** Writes a policy's numbers; equal policies give equal bytes. */
export function writePolicy(path: string, numbers: PolicyNumbers, about: PolicyAbout): void {
  writeAtomic(
    path,
    packArchive({
      json: { spec: numbers.spec, about },
      arrays: {
        parameters: numbers.parameters,
        mean: numbers.normaliser.mean,
        scale: numbers.normaliser.scale,
      },
    }),
  )
}

/** After which update a policy was saved, and its cost on validation. */
export interface PolicyAbout {
  readonly update: number
  readonly validationCost: number | null
}

/** Reads a file of writePolicy. Throws IntegrityError if its bytes have changed, InputError if it is not an archive. */
export function readPolicy(path: string): { numbers: PolicyNumbers; about: PolicyAbout } {
  const { json, arrays } = unpackArchive(readCapped(path, MAX_POLICY_BYTES), path)
  const { spec, about } = json as { spec: PolicyNumbers['spec']; about: PolicyAbout }
  const { parameters, mean, scale } = arrays
  if (!(
    parameters instanceof Float32Array &&
    mean instanceof Float32Array &&
    scale instanceof Float32Array
  )) {
    throw new EdgewiseError('E_POLICY', `${path}: expected float32 parameters, mean and scale`)
  }
  return { numbers: { spec, parameters, normaliser: { mean, scale } }, about }
}
