import type { ResolvedPlan } from '../../run/executor/messages.ts'
import type { PlanController } from '../../policy/controller/planController.ts'
import type { ControllerDecision } from '../../policy/controller/planControllerTypes.ts'
import type { Plan } from '../../plan/plan.ts'
import type { PlanDecision, PlanSelector, LinkStatus } from './types.ts'

export interface PolicySelectorOptions {
  readonly name: string
  readonly controller: PlanController
  /** Names the units of a plan. */
  readonly resolve: (plan: Plan) => ResolvedPlan
  readonly outageSeconds: number
  /** Whether some plan without a network fits the edge. */
  readonly worksOffline: boolean
}

/** A policy in charge: the governor decides in counts of heads, here they get their names. */
export function policySelector({
  name,
  worksOffline: servesAlone,
  controller: governor,
  resolve: place,
  outageSeconds,
}: PolicySelectorOptions): PlanSelector {
  const choice = (decision: ControllerDecision): PlanDecision => ({
    placed: place(decision.plan),
    source: decision.source,
    propensity: decision.propensity,
    observation: decision.observation,
  })
  const isDown = (link: LinkStatus): boolean => !link.up && link.sinceSeconds > outageSeconds
  return {
    ...{ name, worksOffline: servesAlone },
    decide: (ask, link) => choice(governor.decide(ask, { linkDown: isDown(link) })),
    reconsider: (request, link) => {
      const present = { ...request, plan: request.placed.plan }
      const change = governor.reconsider(present, { linkDown: isDown(link) })
      if (change === null) return null
      return { ...choice(change), reason: change.reason, rebuild: change.rebuild }
    },
    telemetry: {
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
