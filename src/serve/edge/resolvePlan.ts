import type { ResolvedPlan } from '../../run/executor/messages.ts'
import type { Plan } from '../../plan/plan.ts'

/** Names the units of a plan: in each layer the first of the sensitivity ranking. */
export function resolvePlan(plan: Plan, unitsByLayer: readonly (readonly number[])[]): ResolvedPlan {
  const cloudUnits = Array.from(plan.unitsOnCloud, (count, layer) =>
    unitsByLayer[layer].slice(0, count).sort((a, b) => a - b),
  )
  return { plan, cloudUnits }
}
