import type { PlacedPlan } from '../../run/executor/messages.ts'
import type { Governor } from '../../policy/controller/governor.ts'
import type { Decision } from '../../policy/controller/governorTypes.ts'
import type { Plan } from '../../plan/plan.ts'
import type { Choice, Decider, LinkView } from './types.ts'

export interface PolicyOptions {
  readonly name: string
  readonly governor: Governor
  /** Names the units of a plan. */
  readonly place: (plan: Plan) => PlacedPlan
  readonly outageSeconds: number
  /** Whether some plan without a network fits the edge. */
  readonly servesAlone: boolean
}

/** A policy in charge: the governor decides in counts of heads, here they get their names. */
export function policyDecider({ name, servesAlone, governor, place, outageSeconds }: PolicyOptions): Decider {
  const choice = (decision: Decision): Choice => ({
    placed: place(decision.plan),
    source: decision.source,
    propensity: decision.propensity,
    observation: decision.observation,
  })
  const isDown = (link: LinkView): boolean => !link.up && link.sinceSeconds > outageSeconds
  return {
    ...{ name, servesAlone },
    decide: (ask, link) => choice(governor.decide(ask, { linkDown: isDown(link) })),
    reconsider: (request, link) => {
      const present = { ...request, plan: request.placed.plan }
      const change = governor.reconsider(present, { linkDown: isDown(link) })
      if (change === null) return null
      return { ...choice(change), reason: change.reason, rebuild: change.rebuild }
    },
    hears: {
      arrived: (atSeconds) => governor.arrived(atSeconds),
      dispatched: (ask, { plan }) => governor.dispatched(ask, plan),
      replanned: (ask, { plan }) => governor.replanned(ask, plan),
      finished: (request, { seconds, outputTokens }) => governor.finished(request, { seconds, outputTokens }),
      probed: (link) => governor.probe(link),
      heartbeat: (atSeconds, rttSeconds) => governor.heartbeat(atSeconds, rttSeconds),
      transfer: (direction, bytes, startSeconds, endSeconds) =>
        governor.transfer(direction, bytes, startSeconds, endSeconds),
      load: (tenants, atSeconds) => governor.load(tenants, atSeconds),
      edgeBusy: (request, pass) => governor.edgeBusy(request, pass),
    },
  }
}
