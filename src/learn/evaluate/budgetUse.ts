import { UseTally, type BudgetUses, type ConstraintBudgets } from '../../plan/price/budgets.ts'
import type { RequestMetrics } from '../../sim/episode.ts'

/** What requests took of each budget on average. */
export function budgetUse(budgets: ConstraintBudgets, requests: readonly RequestMetrics[]): BudgetUses {
  const tally = new UseTally()
  for (const { edgeJoules: energyJoules, accuracyLoss, cloudSeconds } of requests) {
    tally.add({ energyJoules, accuracyLoss, cloudSeconds })
  }
  return tally.against(budgets)
}

/** The largest share by which mean use exceeds its budget: 0.1 is 10 % over; 0 where all budgets hold. */
export function overrunShare(uses: BudgetUses): number {
  const shares = [uses.energyJoules, uses.accuracyLoss, uses.cloudSeconds].map((use) =>
    use === null ? 0 : use.used / use.budget - 1,
  )
  return Math.max(0, ...shares)
}
