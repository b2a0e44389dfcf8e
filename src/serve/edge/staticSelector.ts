import type { ResolvedPlan } from '../../run/executor/messages.ts'
import { needsCloud } from '../../plan/plan.ts'
import type { PlanChange, PlanDecision, PlanSelector, LinkStatus } from './types.ts'

interface StaticSelectorOptions {
  readonly name: string
  /** `forced` by the user, or the `fallback` for a bundle that is missing or invalid. */
  readonly source: 'forced' | 'fallback'
  readonly placed: ResolvedPlan
  /** The plan without a cloud; null where the model does not fit the edge. */
  readonly alone: ResolvedPlan | null
  readonly outageSeconds: number
  /** How long the link must have been up before a request goes back to it. */
  readonly stableSeconds: number
}

/** One plan for every request; alone while the cloud is away, and back once it has been there for a while. */
export function staticSelector(options: StaticSelectorOptions): PlanSelector {
  const { name, source, placed, alone, outageSeconds, stableSeconds } = options
  const isCloudNeeded = needsCloud(placed.plan)
  const choice = (plan: ResolvedPlan): PlanDecision => ({
    placed: plan,
    source,
    propensity: 1,
    observation: null,
  })
  const change = (plan: ResolvedPlan, reason: 'outage' | 'return'): PlanChange => ({
    ...choice(plan),
    reason,
    // In an outage what the edge kept is there; the cloud has nothing of what came meanwhile.
    rebuild: reason === 'outage' ? 'boundary' : 'ids',
  })
  const isAway = (link: LinkStatus): boolean =>
    link.up ? link.silentSeconds > outageSeconds : link.sinceSeconds > outageSeconds
  return {
    name,
    worksOffline: alone !== null || !isCloudNeeded,
    leastPlans: [placed.plan],
    onEvent: () => {},
    decide: (_ask, link) => choice(isCloudNeeded && alone !== null && isAway(link) ? alone : placed),
    reconsider: (request, link) => {
      if (!isCloudNeeded || alone === null) return null
      if (needsCloud(request.placed.plan)) return isAway(link) ? change(alone, 'outage') : null
      const isBack = link.up && link.sinceSeconds >= stableSeconds && link.silentSeconds <= outageSeconds
      return isBack ? change(placed, 'return') : null
    },
  }
}
