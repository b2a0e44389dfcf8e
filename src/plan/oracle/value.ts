import { slowProgram } from '../price/program.ts'
import { compileProgram } from '../price/compile.ts'
import { edgeJoules, type EnergyUse } from '../price/energy.ts'
import { evaluateProgram, planCostOf, type EvaluationRecorder, type PlanCost } from '../price/evaluate.ts'
import { exitUse } from './exits.ts'
import { planAccuracyLoss } from '../price/loss.ts'
import { pairUnits, type DevicePair } from '../price/pair.ts'
import { exitPlan, type EarlyExit, type Plan } from '../plan.ts'
import type { OracleInput, PlanOptions } from '../price/question.ts'

/** Every early-exit plan that the table and the pinned layers allow. */
export function exitPlans(
  pair: DevicePair,
  options: Pick<PlanOptions, 'edgeLayersFirst' | 'edgeLayersLast' | 'exitThresholds' | 'boundaryBits'>,
): Plan[] {
  if (options.edgeLayersLast > 0) return []
  const plans: Plan[] = []
  const layers = new Set<number>()
  for (const { layer, threshold } of pair.accuracy.exits) {
    if (layer < options.edgeLayersFirst) continue
    // A standalone exit ignores the confidence: one plan for each layer.
    if (!layers.has(layer))
      plans.push(exitPlan(pair.model.layers, pairUnits(pair), { layer, threshold, mode: 'standalone' }, 32))
    layers.add(layer)
    if (options.exitThresholds !== null && !options.exitThresholds.includes(threshold)) continue
    for (const bits of options.boundaryBits) {
      plans.push(
        exitPlan(pair.model.layers, pairUnits(pair), { layer, threshold, mode: 'collaborative' }, bits),
      )
    }
  }
  return plans
}

/** planValue of an early-exit plan, computed without its program. */
export function exitValue(input: OracleInput, plan: Plan, exit: EarlyExit): number {
  const { pair, objective, state } = input
  const use = exitUse(pair, state, exit, plan.boundaryBits, input.readingTokensPerSecond)
  const accuracyLoss = planAccuracyLoss(pair.accuracy, pairUnits(pair), plan)
  const { outputTokens } = state
  const used = planCostOf({ pair, objective, outputTokens }, use, accuracyLoss)
  return used.cost + priceOf(input, used)
}

/** Objective plus prices of any plan in a state. */
export function planValue(input: OracleInput, plan: Plan): number {
  const used = planCost(input, plan)
  return used.cost + priceOf(input, used)
}

/** What a plan's use costs beside the objective: the prices of docs/model.md (53). */
function priceOf(
  { prices, pair }: OracleInput,
  used: EnergyUse & { readonly cloudSeconds: number; readonly accuracyLoss: number },
): number {
  return (
    prices.edgeSecond * used.edgeSeconds +
    prices.cloudSecond * used.cloudSeconds +
    prices.upByte * used.upBytes +
    prices.edgeJoule * edgeJoules(pair.power, used, 0) +
    prices.accuracyNat * used.accuracyLoss
  )
}

/** What any plan takes in a state, from its program, with each side slowed down as observed. */
export function planCost(
  input: Omit<OracleInput, 'options' | 'prices'>,
  plan: Plan,
  recorder: EvaluationRecorder | null = null,
): PlanCost {
  const { state, pair } = input
  const program = compileProgram(pair, plan, {
    promptTokens: state.promptTokens,
    loadBytes: 0,
    decisionSeconds: 0,
  })
  const slowed = slowProgram(program, state.edgeSlowdown, state.cloudSlowdown)
  return evaluateProgram(slowed, { ...input, ...state }, recorder)
}
