import { layerEdges, problemOf } from './paths.ts'
import { CLOUD, EDGE, needsCloud, uniformPlan, type BoundaryBits, type Plan, type Side } from '../plan.ts'
import { fitsEdge } from '../price/memory.ts'
import { pairUnits } from '../price/pair.ts'
import type { OracleInput } from '../price/question.ts'
import { solve, type SearchBudget, type Path } from './solve.ts'
import { AttentionTimes, layerTables } from './tables.ts'
import { OracleWorkspace } from './workspace.ts'
import { exitPlans, exitValue, planValue } from './value.ts'

/** Result of optimalPlan. */
export interface OracleResult {
  readonly plan: Plan
  /** Objective plus prices: the minimised value. */
  readonly value: number
}

/**
 * The best plan for one request on a constant link, docs/model.md (53); null if none fits. Exact, unless `effort` is
 * given and used up: then the best plan found so far. Callers that ask often pass a `workspace` of their own.
 */
export function optimalPlan(
  input: OracleInput,
  effort: SearchBudget = { left: Infinity },
  workspace = new OracleWorkspace(),
): OracleResult | null {
  let best: OracleResult | null = null
  if (reachable(input)) {
    best = bestSplit(input, effort, workspace)
  } else {
    const { pair } = input
    best = pricedPlan(input, uniformPlan(pair.model.layers, pairUnits(pair), EDGE), best)
  }
  if (input.options.earlyExit) {
    for (const plan of exitPlans(input.pair, input.options)) {
      if (reachable(input) || !needsCloud(plan)) best = pricedPlan(input, plan, best)
    }
  }
  return best
}

function reachable(input: OracleInput): boolean {
  return input.state.link.upBitsPerSecond > 0 && input.state.link.downBitsPerSecond > 0
}

function pricedPlan(input: OracleInput, plan: Plan, best: OracleResult | null): OracleResult | null {
  if (!fitsEdge(input.pair, plan, input.options)) return best
  const value = plan.exit === null ? planValue(input, plan) : exitValue(input, plan, plan.exit)
  return best !== null && best.value <= value ? best : { plan, value }
}

function bestSplit(
  input: OracleInput,
  effort: SearchBudget,
  workspace: OracleWorkspace,
): OracleResult | null {
  const { pair, state, options } = input
  const times = new AttentionTimes(pair, state)
  const pinned = options.edgeLayersFirst + options.edgeLayersLast > 0
  const sides: readonly Side[] = pinned ? [EDGE] : [EDGE, CLOUD]
  const cases = options.boundaryBits.flatMap((bits) => {
    const layers = layerEdges(input, layerTables(pair, state, bits, times, options.mixedLayers), bits)
    return sides.flatMap((embed) => sides.map((head) => ({ bits, layers, embed, head })))
  })
  const problems = cases.map(({ bits, layers, embed, head }) => problemOf(input, bits, layers, embed, head))
  const solution = solve(problems, Infinity, effort, workspace)
  if (solution === null) return null
  const { embed, head, bits } = cases[solution.problem]
  return { plan: planOf(solution, embed, head, bits), value: solution.value }
}

function planOf(path: Path, embed: Side, head: Side, bits: BoundaryBits): Plan {
  return {
    embed,
    unitsOnCloud: Uint8Array.from(path.edges, (edge) => edge.unitsOnCloud),
    ffn: Uint8Array.from(path.edges, (edge) => edge.ffn),
    head,
    boundaryBits: bits,
    exit: null,
  }
}
