import { pairUnits } from '../price/pair.ts'
import { CLOUD, EDGE, exitPlan, uniformPlan, type EarlyExit, type Plan } from '../plan.ts'
import { isOutage, type DecisionProblem } from '../price/problem.ts'
import type { Policy, Situation } from '../price/situation.ts'
import { fitsEdge } from '../price/memory.ts'
import { cloudPlan, pinEnds } from './fixed.ts'
import { edgeWork } from './priced.ts'

/** The confidence at which CE-CoLLM lets a token leave (arXiv 2411.02829). */
const CE_COLLM_THRESHOLD = 0.8

/**
 * CE-CoLLM with its last exit and its threshold for every request. collaborative: the cloud is asked for unsure tokens,
 * and hidden states go up in 16 bits; without a link it works standalone, where every token leaves at the exit. Null if
 * the scenario allows no early exit.
 */
export function ceCollm(problem: DecisionProblem, mode: EarlyExit['mode']): Policy | null {
  const { pair, edgeLayersFirst, edgeLayersLast } = problem
  const layer = Math.max(0, ...pair.accuracy.exits.map((exit) => exit.layer))
  const entry = pair.accuracy.exits.find(
    (exit) => exit.layer === layer && exit.threshold === CE_COLLM_THRESHOLD,
  )
  if (!problem.earlyExit || entry === undefined || edgeLayersLast > 0 || layer < edgeLayersFirst) return null
  const bits = problem.boundaryBits.includes(16) ? 16 : problem.boundaryBits[0]
  const planOf = (as: EarlyExit['mode']): Plan =>
    exitPlan(pair.model.layers, pairUnits(pair), { layer, threshold: CE_COLLM_THRESHOLD, mode: as }, bits)
  const plan = planOf(mode)
  const alone = planOf('standalone')
  const otherwise = cloudPlan(problem)
  return {
    name: mode === 'standalone' ? 'ce-collm-standalone' : 'ce-collm',
    edgePlan: plan,
    decide: (situation) =>
      fits(problem, situation, plan) ? (isOutage(situation) ? alone : plan) : otherwise,
  }
}

/**
 * Routes whole requests: to the edge while at most `edgeSeconds` of work wait there or the link is out, otherwise to
 * the cloud.
 */
export function thresholdRouting(problem: DecisionProblem, edgeSeconds: number): Policy {
  const { layers } = problem.pair.model
  const units = pairUnits(problem.pair)
  const edge = uniformPlan(layers, units, EDGE)
  const cloud = pinEnds(problem, uniformPlan(layers, units, CLOUD))
  const near = (situation: Situation): boolean => isOutage(situation) || edgeWork(situation) <= edgeSeconds
  return {
    name: 'threshold',
    edgePlan: edge,
    decide: (situation) => (near(situation) && fits(problem, situation, edge) ? edge : cloud),
  }
}

function fits(problem: DecisionProblem, situation: Situation, plan: Plan): boolean {
  const { freeMemoryBytes, reservedTokens } = situation
  return fitsEdge(problem.pair, plan, { memoryBytes: freeMemoryBytes, reservedTokens })
}
