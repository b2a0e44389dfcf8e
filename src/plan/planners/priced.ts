import { exitPlans, planCost } from '../oracle/value.ts'
import { optimalPlan } from '../oracle/oracle.ts'
import { OracleWorkspace } from '../oracle/workspace.ts'
import { virtualQueuePrices } from '../price/budgets.ts'
import type { OracleInput, Prices } from '../price/question.ts'
import { pairUnits } from '../price/pair.ts'
import { EDGE, needsCloud, uniformPlan, type Plan } from '../plan.ts'
import { planValue } from '../oracle/value.ts'
import { fitsEdge } from '../price/memory.ts'
import { isOutage, oracleInput, optionsIn, type DecisionProblem } from '../price/problem.ts'
import type { Policy, Situation } from '../price/situation.ts'
import { cloudPlan, layerCut, pinEnds } from './fixed.ts'
import { randomStream } from '../../core/random.ts'

/** If no plan fits, the cloud plan (with pinned layers) is used: it takes the least memory. */
function best(
  problem: DecisionProblem,
  input: OracleInput,
  workspace: OracleWorkspace,
  steps = Infinity,
): Plan {
  return optimalPlan(input, { left: steps }, workspace)?.plan ?? cloudPlan(problem)
}

/**
 * The exact optimum of each request under the current estimates. Keeps the last plan unless the new one is better by
 * more than `hysteresis` (a share). A re-plan neither uses nor changes the last plan.
 */
export function perStateDp(problem: DecisionProblem, hysteresis = 0.05): Policy {
  const workspace = new OracleWorkspace()
  let last: Plan | null = null
  return {
    name: 'per-state-dp',
    reset: () => {
      last = null
    },
    decide: (situation) => {
      const input = oracleInput(problem, situation)
      const plan = best(problem, input, workspace)
      if (situation.replanning) return plan
      const keep =
        last !== null &&
        usable(input, situation, last) &&
        planValue(input, last) <= (1 + hysteresis) * planValue(input, plan)
      if (!keep) last = plan
      return last ?? plan
    },
  }
}

function usable(input: OracleInput, situation: Situation, plan: Plan): boolean {
  if (!fitsEdge(input.pair, plan, input.options)) return false
  return !isOutage(situation) || !needsCloud(plan)
}

/** Prices of a second on each side: p0 + p1 x edge backlog, p2 + p3 x cloud backlog: docs/model.md (59). */
export type PriceVector = readonly [number, number, number, number]

/**
 * The strongest planner known: the exact optimum with tuned prices on contended seconds. What budgets were overrun has
 * the price that drift-plus-penalty gives it at V = 1.
 */
export function priced(problem: DecisionProblem, prices: PriceVector): Policy {
  const workspace = new OracleWorkspace()
  return {
    name: 'priced',
    decide: (situation) =>
      best(problem, oracleInput(problem, situation, pricesIn(problem, prices, situation)), workspace),
  }
}

function pricesIn(problem: DecisionProblem, [p0, p1, p2, p3]: PriceVector, situation: Situation): Prices {
  const overrun = virtualQueuePrices(problem.budgets, situation.virtual, 1)
  return {
    edgeSecond: p0 + p1 * edgeWork(situation),
    cloudSecond: p2 + p3 * situation.cloudBacklogSeconds + overrun.cloudSecond,
    upByte: 0,
    edgeJoule: overrun.edgeJoule,
    accuracyNat: overrun.accuracyNat,
  }
}

/** Edge seconds of queued work: of the requests in flight, and of those waiting at the recent seconds per request. */
export function edgeWork(situation: Situation): number {
  return situation.edgeBacklogSeconds + (situation.waitingRequests - 1) * situation.edgeSecondsPerRequest
}

/**
 * Exact drift-plus-penalty (Neely), docs/model.md (60): minimise V x cost + sum of Q x what the plan adds to that queue
 * + sum of Z x what it takes of that budget. Physical queues Q (edge, cloud, uplink) are seconds of work, virtual queues
 * Z and the use are budgets of one request: one budget overrun weighs as much as one second of backlog. With `steps` the
 * search where memory or a deadline binds is cut short after so many: for a device that has to answer in time.
 */
export function driftPlusPenalty(problem: DecisionProblem, v: number, steps = Infinity): Policy {
  const workspace = new OracleWorkspace()
  return {
    name: 'drift-plus-penalty',
    decide: (situation) => {
      const upSeconds = (8 * situation.uplinkQueuedBytes) / Math.max(1, situation.up.shortBitsPerSecond)
      const upByte = ((8 / Math.max(1, situation.up.shortBitsPerSecond)) * upSeconds) / v
      const overrun = virtualQueuePrices(problem.budgets, situation.virtual, v)
      return best(
        problem,
        oracleInput(problem, situation, {
          edgeSecond: edgeWork(situation) / v,
          cloudSecond: situation.cloudBacklogSeconds / v + overrun.cloudSecond,
          upByte,
          edgeJoule: overrun.edgeJoule,
          accuracyNat: overrun.accuracyNat,
        }),
        workspace,
        steps,
      )
    },
  }
}

/** Sends whole requests to the side with the shorter expected delay: its backlog plus its service time. */
export function joinShortestDelay(problem: DecisionProblem): Policy {
  const { layers } = problem.pair.model
  const plans = [uniformPlan(layers, pairUnits(problem.pair), EDGE), cloudPlan(problem)]
  return {
    name: 'shortest-delay',
    edgePlan: plans[0],
    decide: (situation) => {
      const input = oracleInput(problem, situation)
      if (isOutage(situation) && fitsEdge(input.pair, plans[0], input.options)) return plans[0]
      if (!fitsEdge(input.pair, plans[0], input.options)) return plans[1]
      const edge = situation.edgeBacklogSeconds + planCost(input, plans[0]).e2eSeconds
      const cloud = situation.cloudBacklogSeconds + planCost(input, plans[1]).e2eSeconds
      return edge <= cloud ? plans[0] : plans[1]
    },
  }
}

/** Draws uniformly from all layer cuts and early exits. (Random masks would cross the link at every layer.) */
export function randomPlans(problem: DecisionProblem): Policy {
  let random = randomStream(0, 'random-plans')
  return {
    name: 'random',
    reset: (seed) => {
      random = randomStream(seed, 'random-plans')
    },
    decide: (situation) => {
      const options = optionsIn(problem, situation)
      const bits = problem.boundaryBits
      const plans = Array.from({ length: problem.pair.model.layers + 1 }, (_, cut) =>
        pinEnds(problem, layerCut(problem, cut, bits[random.integer(bits.length)])),
      )
      if (problem.earlyExit) plans.push(...exitPlans(problem.pair, options))
      const fitting = plans.filter((plan) => fitsEdge(problem.pair, plan, options))
      return fitting[random.integer(fitting.length)]
    },
  }
}
