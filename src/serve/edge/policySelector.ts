import type { ResolvedPlan } from '../../run/executor/messages.ts'
import type { PlanController } from '../../policy/controller/planController.ts'
import type { ControllerDecision } from '../../policy/controller/planControllerTypes.ts'
import type { Plan } from '../../plan/plan.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import type { LinkStatus, PlanDecision, PlanSelector, ServiceEvent } from './types.ts'

/** What a policy selector chooses by. */
interface PolicySelectorOptions {
  readonly name: string
  readonly controller: PlanController
  /** Of the bundle. */
  readonly problem: DecisionProblem
  /** Names the units of a plan. */
  readonly resolve: (plan: Plan) => ResolvedPlan
  readonly outageSeconds: number
  /** Whether some plan without a network fits the edge. */
  readonly worksOffline: boolean
  /** As in PlanSelector. */
  readonly leastPlans: readonly Plan[]
}

/** A policy in charge. The controller decides how many heads of each layer run in the cloud; here each head gets its name. */
export function policySelector({
  name,
  worksOffline,
  leastPlans,
  controller,
  problem,
  resolve,
  outageSeconds,
}: PolicySelectorOptions): PlanSelector {
  const choice = (decision: ControllerDecision): PlanDecision => ({
    placed: resolve(decision.plan),
    source: decision.source,
    propensity: decision.propensity,
    observation: decision.observation,
  })
  const isDown = (link: LinkStatus): boolean => !link.up && link.sinceSeconds > outageSeconds
  return {
    name,
    problem,
    worksOffline,
    leastPlans,
    decide: (ask, link) => choice(controller.decide(ask, { linkDown: isDown(link) })),
    reconsider: (request, link) => {
      const present = { ...request, plan: request.placed.plan }
      const change = controller.reconsider(present, { linkDown: isDown(link) })
      if (change === null) return null
      return { ...choice(change), reason: change.reason, rebuild: change.rebuild }
    },
    onEvent: (event) => inform(controller, event),
    ended: (request, { placed, endToEndSeconds, generatedTokens, upBytes, downBytes, messages }) =>
      placed === null
        ? null
        : controller.finished(request, {
            seconds: endToEndSeconds,
            outputTokens: generatedTokens,
            upBytes,
            downBytes,
            messages,
          }),
    budgetUses: () => controller.budgetUses(),
  }
}

/** Passes on what a controller estimates link, load, demand and device by. */
function inform(controller: PlanController, event: ServiceEvent): void {
  switch (event.kind) {
    case 'request-queued': {
      controller.arrived(event.atSeconds)
      return
    }
    case 'decision': {
      const { snapshot, placed } = event
      if (event.reason === 'dispatch') controller.dispatched(snapshot, placed.plan)
      else controller.replanned(snapshot, placed.plan)
      return
    }
    case 'link-probed': {
      controller.probe(event.link)
      return
    }
    case 'heartbeat': {
      controller.heartbeat(event.atSeconds, event.rttSeconds)
      return
    }
    case 'transfer': {
      controller.transfer(event.direction, event.bytes, event.startSeconds, event.atSeconds)
      return
    }
    case 'load': {
      controller.load(event.tenants, event.atSeconds)
      return
    }
    case 'edge-pass': {
      controller.edgeBusy(event.request, event)
      return
    }
    default:
      return
  }
}
