import { z } from 'zod'
import { latencyTermSchema, objectiveWeightsSchema } from '../../plan/price/json.ts'
import { distributionSchema } from './simulate.ts'

const amount = z.number().min(0)

const distribution = distributionSchema.nullable()

/** Mean use a request against its budget; null where there is no budget. */
const budgetUse = z.strictObject({ used: amount, budget: amount }).nullable()

/** One policy's row; every figure is simulated. */
export const policyRowSchema = z.strictObject({
  cost: z.strictObject({ mean: amount, ci95: z.tuple([amount, amount]).nullable() }),
  /** Null for the priced planner itself, and where it was not run. */
  costMinusPriced: z
    .strictObject({ mean: z.number(), ci95: z.tuple([z.number(), z.number()]).nullable() })
    .nullable(),
  gapToLowerBound: z.number().nullable(),
  ttftSeconds: distribution,
  /** Null where every answer is one token. */
  tpotSeconds: distribution,
  e2eSeconds: distribution,
  edgeJoules: amount,
  cloudSeconds: amount,
  upBytes: amount,
  downBytes: amount,
  accuracyLoss: amount,
  /** Null for a scenario without budgets; absent in reports from before budgets were reported. */
  budgets: z
    .strictObject({ energyJoules: budgetUse, accuracyLoss: budgetUse, cloudSeconds: budgetUse })
    .nullable()
    .default(null),
  queue: z.strictObject({ mean: amount, max: amount }),
  mixedHeadShare: z.number().min(0).max(1),
  /** Null for a policy that chooses among what fits; absent in reports from before this was counted. */
  misfitShare: z.number().min(0).max(1).nullable().default(null),
  /** The first policy that served every request alike; absent in reports from before this was compared. */
  sameAs: z.string().nullable().default(null),
  provenance: z.strictObject({
    figures: z.literal('simulated'),
    edge: z.string(),
    cloud: z.string(),
    energy: z.string(),
    accuracy: z.string(),
    links: z.string(),
  }),
})

/** What a plan needs at least on the edge, and what the edge has. */
const misfit = z.strictObject({ needBytes: amount, memoryBytes: amount })

/** `edgewise eval --json`. */
export const evalJsonSchema = z.strictObject({
  policies: z.record(z.string(), policyRowSchema),
  /** Planners without a row: their plan fits the edge for no request. Absent in reports from before. */
  unfit: z.record(z.string(), misfit).default({}),
  lowerBound: amount,
  headroom: z.number().nullable(),
  seeds: z.int().min(1),
  decisions: z.int().min(1),
  scenario: z.string(),
  scenarioHash: z.string(),
  /** The scenario's split, or `given`: files named on the command line. */
  links: z.enum(['train', 'validation', 'test', 'given']),
  load: z.number(),
  /** What of the workload's files was left out or estimated; absent in reports from before. */
  notes: z.array(z.string()).default([]),
  /** Where the whole model does not fit the edge that the load is relative to; null where it fits, and before. */
  loadMisfit: misfit.nullable().default(null),
  objective: z.strictObject({
    weights: objectiveWeightsSchema,
    latency: latencyTermSchema,
  }),
  /** The tuned planners' parameters; null where neither was asked for. */
  tuned: z
    .strictObject({ prices: z.tuple([amount, amount, amount, amount]), v: amount, thresholdSeconds: amount })
    .nullable(),
  /** Planners of the comparison that are not built yet, with the reason. */
  absent: z.record(z.string(), z.string()),
})

/** What `edgewise eval --json` prints. */
export type EvalJson = z.infer<typeof evalJsonSchema>
