import type { BudgetUse, BudgetUses, ConstraintBudgets } from '../../plan/price/budgets.ts'
import type { RequestMetrics } from '../../sim/episode.ts'
import { mean } from './episode.ts'

/** What requests took of each budget on average. */
export function budgetUse(budgets: ConstraintBudgets, requests: readonly RequestMetrics[]): BudgetUses {
  const of = (budget: number | null, used: (request: RequestMetrics) => number): BudgetUse | null =>
    budget === null ? null : { used: mean(requests.map(used)), budget }
  return {
    energyJoules: of(budgets.energyJoules, ({ edgeJoules }) => edgeJoules),
    accuracyLoss: of(budgets.accuracyLoss, ({ accuracyLoss }) => accuracyLoss),
    cloudSeconds: of(budgets.cloudSeconds, ({ cloudSeconds }) => cloudSeconds),
  }
}

/** The largest share by which mean use exceeds its budget: 0.1 is 10 % over; 0 where all budgets hold. */
export function overrunShare(uses: BudgetUses): number {
  const shares = [uses.energyJoules, uses.accuracyLoss, uses.cloudSeconds].map((use) =>
    use === null ? 0 : use.used / use.budget - 1,
  )
  return Math.max(0, ...shares)
}
