import { pairUnits } from '../price/pair.ts'
import { CLOUD, EDGE, cutPlan, uniformPlan, type BoundaryBits, type Plan } from '../plan.ts'
import type { DecisionProblem } from '../price/problem.ts'
import type { Policy, Situation } from '../price/situation.ts'
import { fitsEdge } from '../price/memory.ts'

/** Everything on the edge, in every situation. */
export function edgeOnly(problem: DecisionProblem): Policy {
  const plan = uniformPlan(problem.pair.model.layers, pairUnits(problem.pair), EDGE)
  return always(problem, 'edge-only', plan)
}

/** One plan for every request; if it does not fit beside the requests in flight, the request runs in the cloud. */
function always(problem: DecisionProblem, name: string, plan: Plan): Policy {
  const otherwise = cloudPlan(problem)
  const fits = ({ freeMemoryBytes, reservedTokens }: Situation): boolean =>
    fitsEdge(problem.pair, plan, { memoryBytes: freeMemoryBytes, reservedTokens })
  return { name, edgePlan: plan, decide: (situation) => (fits(situation) ? plan : otherwise) }
}

/** Everything in the cloud except pinned layers: without those, token ids go up once and tokens stream down. */
export function cloudOnly(problem: DecisionProblem): Policy {
  const plan = cloudPlan(problem)
  return { name: 'cloud-only', decide: () => plan }
}

/** As much in the cloud as the pinned layers allow: the plan that takes the least edge memory. */
export function cloudPlan(problem: DecisionProblem): Plan {
  const { layers } = problem.pair.model
  return pinEnds(problem, uniformPlan(layers, pairUnits(problem.pair), CLOUD, problem.boundaryBits[0]))
}

type Pins = Pick<DecisionProblem, 'edgeLayersFirst' | 'edgeLayersLast'>

/** Moves what is pinned to the edge: the first and last layers, embedding and lm_head. */
export function pinEnds({ edgeLayersFirst, edgeLayersLast }: Pins, plan: Plan): Plan {
  if (edgeLayersFirst + edgeLayersLast === 0) return plan
  const layers = plan.ffn.length
  const free = (value: number, layer: number): number =>
    layer < edgeLayersFirst || layer >= layers - edgeLayersLast ? 0 : value
  const { unitsOnCloud, ffn } = plan
  return { ...plan, embed: EDGE, head: EDGE, unitsOnCloud: unitsOnCloud.map(free), ffn: ffn.map(free) }
}

/** One layer cut for every request (Neurosurgeon-like). */
export function staticCut(problem: DecisionProblem, cut: number, boundaryBits: BoundaryBits): Policy {
  return always(problem, 'static-cut', pinEnds(problem, layerCut(problem, cut, boundaryBits)))
}

/**
 * Layers [0, cut) on the edge, the others in the cloud. The embedding goes with the first layer, lm_head and sampler
 * with the last.
 */
export function layerCut(
  problem: Pick<DecisionProblem, 'pair'>,
  cut: number,
  boundaryBits: BoundaryBits,
): Plan {
  const { layers } = problem.pair.model
  return cutPlan(
    layers,
    pairUnits(problem.pair),
    cut,
    boundaryBits,
    cut > 0 ? EDGE : CLOUD,
    cut < layers ? CLOUD : EDGE,
  )
}

/** All distinct static cuts that a scenario allows; with pinned layers, only cuts between them. */
export function layerCuts(
  problem: DecisionProblem,
): { readonly cut: number; readonly boundaryBits: BoundaryBits }[] {
  const { layers } = problem.pair.model
  const { edgeLayersFirst, edgeLayersLast, boundaryBits: all } = problem
  const pinned = edgeLayersFirst + edgeLayersLast > 0
  const cuts: { cut: number; boundaryBits: BoundaryBits }[] = []
  for (let cut = edgeLayersFirst; cut <= layers - edgeLayersLast; cut++) {
    // With everything on one side no boundary tensor crosses the link.
    const uniform = pinned ? cut === layers - edgeLayersLast : cut === 0 || cut === layers
    const widths = uniform ? all.slice(0, 1) : all
    for (const boundaryBits of widths) cuts.push({ cut, boundaryBits })
  }
  return cuts
}
