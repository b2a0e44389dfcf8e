import { driftPlusPenalty, edgeWork } from '../../plan/planners/priced.ts'
import type { VirtualQueues } from '../../plan/price/budgets.ts'
import type { Plan } from '../../plan/plan.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import type { Policy, Situation } from '../../plan/price/situation.ts'

/** Bounds of the queues above which the exact action replaces the policy's. */
export interface ShieldOptions {
  /** Requests waiting at the edge, including the one that is decided. */
  readonly maxWaiting?: number
  /** Seconds of queued work for the edge, the cloud or the uplink. */
  readonly maxBacklogSeconds?: number
  /** Budgets of one request by which past requests overran any one budget: of energy, accuracy loss or cloud seconds. */
  readonly maxVirtualBudgets?: number
  /** Weight of the cost against the queues (Neely's V), seconds of backlog per unit of cost and second. */
  readonly v?: number
}

const DEFAULT_SHIELD = { maxWaiting: 8, maxBacklogSeconds: 30, maxVirtualBudgets: 30, v: 1 } as const

/**
 * If memory binds, finding the plan is a knapsack problem: mostly a few thousand search steps, but sometimes a million.
 * A device cannot wait for those; it uses the best plan found within this many steps (test/plan/solve.test.ts measures
 * the loss).
 */
export const SEARCH_STEPS = 5000

/** The queue that exceeded its bound. */
type PassedBound = 'waiting' | 'edge' | 'cloud' | 'uplink' | keyof VirtualQueues

/** Uses the exact drift-plus-penalty action when a queue has exceeded its bound: docs/model.md (60) and (64). */
export class Shield {
  private readonly bounds: Required<ShieldOptions>
  private readonly exact: Policy

  constructor(problem: DecisionProblem, options: ShieldOptions = {}) {
    this.bounds = { ...DEFAULT_SHIELD, ...options }
    this.exact = driftPlusPenalty(problem, this.bounds.v, SEARCH_STEPS)
  }

  /** The first queue above its bound, or null. */
  passed(situation: Situation): PassedBound | null {
    const { maxWaiting, maxBacklogSeconds, maxVirtualBudgets } = this.bounds
    if (situation.waitingRequests > maxWaiting) return 'waiting'
    if (edgeWork(situation) > maxBacklogSeconds) return 'edge'
    if (situation.cloudBacklogSeconds > maxBacklogSeconds) return 'cloud'
    const upSeconds = (8 * situation.uplinkQueuedBytes) / Math.max(1, situation.up.shortBitsPerSecond)
    if (upSeconds > maxBacklogSeconds) return 'uplink'
    const { energy, accuracy, money } = situation.virtual
    if (energy > maxVirtualBudgets) return 'energy'
    if (accuracy > maxVirtualBudgets) return 'accuracy'
    return money > maxVirtualBudgets ? 'money' : null
  }

  /** The exact action. */
  decide(situation: Situation): Plan {
    return this.exact.decide(situation)
  }
}
