import { z } from 'zod'
import { planToJson, planJsonSchema } from '../../plan/price/json.ts'
import { openParityEngines, type VerifyReport } from '../../policy/bundle/verify.ts'
import { exportBundle, type ExportOptions, type ExportSummary } from '../../policy/bundle/export.ts'
import type { Conditions, OpenBundle, TimedDecision } from '../../policy/controller/edge.ts'
import { openRunScenario } from '../../learn/runs/run.ts'
import { figuresJson, figuresSchema } from './request.ts'
import { readTrained, versionsWith } from './runs.ts'

const count = z.int().min(0)
const amount = z.number().min(0)

/** `edgewise verify --json`. */
export const verifyJsonSchema = z.strictObject({
  ok: z.boolean(),
  /** Largest difference of a logit: absolute up to 1, relative to the logit beyond. */
  maxAbsError: amount,
  /** The same, absolute throughout. */
  maxRawError: amount,
  greedyDisagreements: count,
  /** Rows in which two logits are closer than the tolerance and an engine takes the other one. */
  greedyNearTies: count,
  observations: count,
  rows: count,
  sampledDisagreements: count,
  bundle: z.string(),
  /** What ran the file, with versions. */
  engines: z.array(z.string()),
  /** Engines that did not open here, and why. */
  absent: z.array(z.string()),
  /** The case that is furthest off, where something is. */
  worst: z.string().nullable(),
  /** Null: nobody signed it. */
  signature: z
    .strictObject({
      /** Keys that the bundle says signed it. */
      claimedKeyIds: z.array(z.string()),
      /** Those of --trust whose signature is valid; empty where none was given. */
      trustedKeyIds: z.array(z.string()),
    })
    .nullable(),
})

/** `edgewise export --json`. */
export const exportJsonSchema = z.strictObject({
  folder: z.string(),
  bytes: count,
  scenario: z.string(),
  scenarioHash: z.string(),
  update: count,
  validationCost: z.number().nullable(),
  evaluated: z.boolean(),
  signed: z.boolean(),
  parity: z.strictObject({
    maxAbsError: amount,
    greedyDisagreements: count,
    observations: count,
    rows: count,
    engines: z.array(z.string()),
  }),
})

/** `edgewise decide --json`. */
export const decideJsonSchema = z.strictObject({
  bundle: z.string(),
  runs: z.string(),
  /** What it decides on. */
  figures: figuresSchema,
  conditions: z.record(z.string(), z.number()),
  plan: planJsonSchema,
  /** One decision on this machine. */
  decisionSeconds: z.strictObject({ median: amount, p99: amount, repeats: count }),
})

/** What `edgewise verify --json` prints. */
export function verifyJson(report: VerifyReport): z.infer<typeof verifyJsonSchema> {
  return {
    ok: report.ok,
    maxAbsError: report.maxAbsError,
    maxRawError: report.maxRawError,
    greedyDisagreements: report.greedyDisagreements,
    greedyNearTies: report.greedyBorderlineDifferences,
    observations: report.observations,
    rows: report.rows,
    sampledDisagreements: report.sampledDisagreements,
    bundle: report.bundle,
    engines: report.engines.map(({ engine, version }) => `${engine} ${version}`),
    absent: [...report.absent],
    worst: report.worst,
    signature:
      report.signature === null
        ? null
        : {
            claimedKeyIds: [...report.signature.claimedKeyIds],
            trustedKeyIds: [...report.signature.trustedKeyIds],
          },
  }
}

/** What `edgewise export --json` prints. */
export function exportJson({
  folder,
  bytes,
  manifest,
  parity,
  signed,
}: ExportSummary): z.infer<typeof exportJsonSchema> {
  const { maxAbsError, greedyDisagreements, observations, rows } = parity
  return {
    folder,
    bytes,
    scenario: manifest.scenario.name,
    scenarioHash: manifest.scenario.hash,
    update: manifest.policy.update,
    validationCost: manifest.policy.validationCost,
    evaluated: manifest.evaluation !== null,
    signed,
    parity: { maxAbsError, greedyDisagreements, observations, rows, engines: manifest.parity.engines },
  }
}

/** What `edgewise decide --json` prints. */
export function decideJson(
  bundle: OpenBundle,
  conditions: Conditions,
  timed: TimedDecision,
): z.infer<typeof decideJsonSchema> {
  const { medianSeconds, p99Seconds, repeats } = timed
  return {
    bundle: bundle.manifest.name,
    runs: bundle.runs,
    figures: figuresJson(bundle.problem.pair),
    conditions: Object.fromEntries(
      Object.entries(conditions).filter((entry): entry is [string, number] => entry[1] !== undefined),
    ),
    plan: planToJson(bundle.problem.pair, timed.plan),
    decisionSeconds: { median: medianSeconds, p99: p99Seconds, repeats },
  }
}

/** Exports the best policy of a run; both engines are opened and closed here. */
export async function exportRun(
  run: string,
  out: string,
  options: Pick<ExportOptions, 'sizes' | 'sign'> & {
    readonly evaluation: unknown
    readonly replace: boolean
  },
): Promise<ExportSummary> {
  const { numbers, about } = readTrained(run)
  const scenario = await openRunScenario(run)
  const { engines } = await openParityEngines()
  try {
    const versions = engines.reduce((all, { info }) => ({ ...all, ...versionsWith(info) }), {})
    const { evaluation, replace, sizes, sign } = options
    return await exportBundle({ scenario, numbers, about, evaluation, versions }, out, engines, {
      replace,
      ...(sizes === undefined ? {} : { sizes }),
      ...(sign === undefined ? {} : { sign }),
    })
  } finally {
    for (const engine of engines) await engine.close()
  }
}
