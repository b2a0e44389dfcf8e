import type { ConstraintBudgets } from './budgets.ts'
import type { Objective } from './objective.ts'
import type { PlanOptions } from './question.ts'
import type { DevicePair } from './pair.ts'
import type { BoundaryBits } from '../plan.ts'
import type { OracleInput, Prices } from './question.ts'
import { NO_PRICES } from './question.ts'
import type { Situation } from './situation.ts'

/** What is being decided in a scenario: the pair, the objective with its budgets, and which plans are allowed. */
export interface DecisionProblem {
  readonly pair: DevicePair
  readonly objective: Objective
  /** Time averages that virtual queues hold to; NO_BUDGETS for none. */
  readonly budgets: ConstraintBudgets
  readonly readingTokensPerSecond: number
  readonly boundaryBits: readonly BoundaryBits[]
  readonly earlyExit: boolean
  /** Thresholds of collaborative exits to consider; null for all in the table. */
  readonly exitThresholds: readonly number[] | null
  readonly edgeLayersFirst: number
  readonly edgeLayersLast: number
  /** Effect of other sequences on a cloud step, from the profile's batch curve and slots. */
  readonly cloudSlowdown: (activeSequences: number) => number
}

/** A heartbeat that is overdue by this time means an outage. */
export const OUTAGE_SECONDS = 3

/** A re-plan is requested in an outage only, possibly before a heartbeat is overdue. */
export function isOutage(situation: Situation): boolean {
  return situation.replanning || situation.sinceHeartbeatSeconds > OUTAGE_SECONDS
}

/** The plan options in a situation. */
export function optionsIn(problem: DecisionProblem, situation: Situation): PlanOptions {
  return {
    boundaryBits: problem.boundaryBits,
    earlyExit: problem.earlyExit,
    exitThresholds: problem.exitThresholds,
    mixedLayers: true,
    memoryBytes: situation.freeMemoryBytes,
    reservedTokens: situation.reservedTokens,
    edgeLayersFirst: problem.edgeLayersFirst,
    edgeLayersLast: problem.edgeLayersLast,
  }
}

/** The oracle's input from a situation's estimates: predicted length, estimated link, observed slowdowns. */
export function oracleInput(
  problem: DecisionProblem,
  situation: Situation,
  prices: Prices = NO_PRICES,
): OracleInput {
  const longest = problem.pair.model.contextTokens - situation.promptTokens
  const outage = isOutage(situation)
  return {
    pair: problem.pair,
    state: {
      link: {
        upBitsPerSecond: outage ? 0 : situation.up.shortBitsPerSecond,
        downBitsPerSecond: outage ? 0 : situation.down.shortBitsPerSecond,
        rttSeconds: situation.rttSeconds,
      },
      promptTokens: situation.promptTokens,
      outputTokens: Math.max(1, Math.min(longest, Math.round(situation.predictedOutputTokens))),
      edgeSlowdown: situation.edgeSlowdown,
      cloudSlowdown: expectedCloudSlowdown(problem, situation),
    },
    objective: problem.objective,
    readingTokensPerSecond: problem.readingTokensPerSecond,
    options: optionsIn(problem, situation),
    prices,
  }
}

/**
 * The slowdown last observed, if that is newer than the last load report; otherwise the one that the reported load
 * implies.
 */
export function expectedCloudSlowdown(problem: DecisionProblem, situation: Situation): number {
  if (situation.cloudSlowdownAgeSeconds < situation.tenantsAgeSeconds) return situation.cloudSlowdown
  return problem.cloudSlowdown(1 + situation.tenantsHeard)
}
