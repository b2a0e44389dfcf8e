import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { InputError } from '../../core/errors.ts'
import { canonicalJson, readText, sha256, writeAtomic } from '../../core/files.ts'
import { check, parseJson } from '../../core/schema.ts'
import { tuneBaselines, type TunedBaselines, type TuningBudget } from '../../learn/evaluate/baselines.ts'
import type { Scenario } from '../../sim/scenario/scenario.ts'

const TUNED_SCHEMA = 'edgewise.tuned/3'

const price = z.number().min(0)

const tunedSchema = z.strictObject({
  schema: z.literal(TUNED_SCHEMA),
  /** The scenario with both profiles that the prices were tuned on. */
  scenarioHash: z.string(),
  version: z.string(),
  episodes: z.int().min(1),
  candidates: z.int().min(1),
  prices: z.tuple([price, price, price, price]),
  v: z.number().positive(),
  thresholdSeconds: price,
})

/** The tuned planners of a scenario, from the cache or tuned now on training episodes (and then kept). */
export async function tunedFor(
  scenario: Scenario,
  runsFolder: string,
  version: string,
  budget: TuningBudget,
): Promise<TunedBaselines & { readonly cached: boolean }> {
  const { episodes, candidates } = budget
  const key = sha256(
    canonicalJson({ schema: TUNED_SCHEMA, scenario: scenario.hash, version, episodes, candidates }),
  )
  const path = join(runsFolder, '.tuned', `${key}.json`)
  if (existsSync(path)) {
    const remedy = 'delete the file: the prices are tuned again'
    const { prices, v, thresholdSeconds } = check(
      tunedSchema,
      parseJson(readText(path, 65_536), path),
      path,
      remedy,
    )
    return { prices, v, thresholdSeconds, cached: true }
  }
  const tuned = await tuneBaselines(scenario, budget)
  const kept = { schema: TUNED_SCHEMA, scenarioHash: scenario.hash, version, episodes, candidates, ...tuned }
  try {
    writeAtomic(path, `${JSON.stringify(kept, null, 2)}\n`)
  } catch (error) {
    // The cache only saves time: where it cannot be written, the prices are tuned again.
    if (!(error instanceof InputError)) throw error
  }
  return { ...tuned, cached: false }
}
