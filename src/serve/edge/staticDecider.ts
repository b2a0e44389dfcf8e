import type { PlacedPlan } from '../../run/executor/messages.ts'
import { usesNetwork } from '../../plan/plan.ts'
import type { Change, Choice, Decider, Hearing, LinkView } from './types.ts'

export interface StaticOptions {
  readonly name: string
  /** `forced` by the user, or the `fallback` for a bundle that is missing or invalid. */
  readonly source: 'forced' | 'fallback'
  readonly placed: PlacedPlan
  /** The plan without a cloud; null where the model does not fit the edge. */
  readonly alone: PlacedPlan | null
  readonly outageSeconds: number
  /** How long the link must have been up before a request goes back to it. */
  readonly stableSeconds: number
}

/** One plan for every request; alone while the cloud is away, and back once it has been there for a while. */
export function staticDecider(options: StaticOptions): Decider {
  const { name, source, placed, alone, outageSeconds, stableSeconds } = options
  const needsCloud = usesNetwork(placed.plan)
  const choice = (plan: PlacedPlan): Choice => ({
    ...{ placed: plan, source, propensity: 1, observation: null },
  })
  const change = (plan: PlacedPlan, reason: 'outage' | 'return'): Change => ({
    ...{ ...choice(plan), reason },
    // In an outage what the edge kept is there; the cloud has nothing of what came meanwhile.
    rebuild: reason === 'outage' ? 'boundary' : 'ids',
  })
  const isAway = (link: LinkView): boolean =>
    link.up ? link.silentSeconds > outageSeconds : link.sinceSeconds > outageSeconds
  return {
    ...{ name, servesAlone: alone !== null || !needsCloud },
    hears: NOTHING,
    decide: (_ask, link) => choice(needsCloud && alone !== null && isAway(link) ? alone : placed),
    reconsider: (request, link) => {
      if (!needsCloud || alone === null) return null
      if (usesNetwork(request.placed.plan)) return isAway(link) ? change(alone, 'outage') : null
      const isBack = link.up && link.sinceSeconds >= stableSeconds && link.silentSeconds <= outageSeconds
      return isBack ? change(placed, 'return') : null
    },
  }
}

const nothing = (): void => {}

const NOTHING: Hearing = {
  ...{ arrived: nothing, dispatched: nothing, replanned: nothing, finished: nothing },
  ...{ probed: nothing, heartbeat: nothing, transfer: nothing, load: nothing, edgeBusy: nothing },
}
