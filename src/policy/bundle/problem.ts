import { NO_BUDGETS, hasBudgets } from '../../plan/price/budgets.ts'
import { cloudSlowdown } from '../../plan/price/cloud.ts'
import { z } from 'zod'
import type { AccuracyTable } from '../../plan/profile/accuracy.ts'
import { BlockCosts } from '../../plan/profile/costs.ts'
import type { Profile } from '../../plan/profile/types.ts'
import type { Objective } from '../../plan/price/objective.ts'
import { budgetsSchema, latencyTermSchema, objectiveWeightsSchema } from '../../plan/price/json.ts'
import { createPair } from '../../plan/price/pair.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'

const positive = z.number().positive().max(1e12)

const objectiveSchema = z.strictObject({ weights: objectiveWeightsSchema, latency: latencyTermSchema })

/** The decision problem as a bundle stores it: everything that is not in the profiles and the accuracy table. */
export const bundleProblemSchema = z.strictObject({
  objective: objectiveSchema,
  /**
   * Time-average budgets of one request; absent where there are none, as in bundles from before budgets were exported.
   */
  budgets: budgetsSchema.optional(),
  readingTokensPerSecond: positive,
  boundaryBits: z
    .array(z.union([z.literal(32), z.literal(16), z.literal(8), z.literal(4)]))
    .min(1)
    .max(4),
  earlyExit: z.boolean(),
  exitThresholds: z.array(z.number().gt(0).max(1)).max(16).nullable(),
  edgeLayersFirst: z.int().min(0).max(255),
  edgeLayersLast: z.int().min(0).max(255),
  /** Sequences that the cloud runs at once; the slowdown follows from this and the cloud's batch curve. */
  cloudSlots: z.int().min(1).max(256),
  /** Edge memory for weights and K/V, bytes. */
  memoryBytes: positive,
  /** K/V cache is reserved for the prompt and this many tokens. */
  maxNewTokens: z.int().min(1).max(1_000_000),
})

/** The decision problem in a manifest. */
type BundleProblem = z.infer<typeof bundleProblemSchema>

/** The part of a problem that goes into a manifest. */
export function bundleProblem(
  problem: DecisionProblem,
  service: Pick<BundleProblem, 'cloudSlots' | 'memoryBytes' | 'maxNewTokens'>,
): BundleProblem {
  const { weights, latency } = problem.objective
  return {
    objective: { weights: { ...weights }, latency: { ...latency } },
    ...(hasBudgets(problem.budgets) ? { budgets: { ...problem.budgets } } : {}),
    readingTokensPerSecond: problem.readingTokensPerSecond,
    boundaryBits: [...problem.boundaryBits],
    earlyExit: problem.earlyExit,
    exitThresholds: problem.exitThresholds === null ? null : [...problem.exitThresholds],
    edgeLayersFirst: problem.edgeLayersFirst,
    edgeLayersLast: problem.edgeLayersLast,
    ...service,
  }
}

/** Reconstructs the decision problem from a bundle. */
export function problemFromBundle(
  described: BundleProblem,
  profiles: { readonly edge: Profile; readonly cloud: Profile },
  accuracy: AccuracyTable,
): DecisionProblem {
  const { cloudSlots, objective, readingTokensPerSecond, boundaryBits, earlyExit } = described
  const cloud = new BlockCosts(profiles.cloud)
  const factors = Array.from({ length: cloudSlots }, (_, i) => cloud.batchFactor(i + 1))
  return {
    pair: createPair(new BlockCosts(profiles.edge), cloud, accuracy),
    objective: objective satisfies Objective,
    budgets: described.budgets ?? NO_BUDGETS,
    readingTokensPerSecond,
    boundaryBits,
    earlyExit,
    exitThresholds: described.exitThresholds,
    edgeLayersFirst: described.edgeLayersFirst,
    edgeLayersLast: described.edgeLayersLast,
    cloudSlowdown: (active) => cloudSlowdown(factors, factors.length, active),
  }
}
