import { pairUnits } from '../pair.ts'
import { CLOUD, EDGE, cutPlan, uniformPlan, type BoundaryBits, type Plan } from '../plan.ts'
import type { DecisionProblem } from '../problem.ts'
import type { Policy } from '../situation.ts'

/** Everything on the edge, whatever happens. */
export function edgeOnly(problem: DecisionProblem): Policy {
  const plan = uniformPlan(problem.pair.model.layers, pairUnits(problem.pair), EDGE)
  return { name: 'edge-only', decide: () => plan }
}

/** Everything in the cloud: token ids up once, tokens streamed down. */
export function cloudOnly(problem: DecisionProblem): Policy {
  const plan = uniformPlan(problem.pair.model.layers, pairUnits(problem.pair), CLOUD)
  return { name: 'cloud-only', decide: () => plan }
}

/** One layer cut for every request (Neurosurgeon-like). */
export function staticCut(problem: DecisionProblem, cut: number, boundaryBits: BoundaryBits): Policy {
  const plan = layerCut(problem, cut, boundaryBits)
  return { name: 'static-cut', decide: () => plan }
}

/**
 * Layers [0, cut) on the edge, the others in the cloud. The embedding stands with the first
 * layer; LM head and sampler with the last.
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

/** All distinct static cuts a scenario allows. */
export function layerCuts(
  problem: DecisionProblem,
): { readonly cut: number; readonly boundaryBits: BoundaryBits }[] {
  const { layers } = problem.pair.model
  const cuts: { cut: number; boundaryBits: BoundaryBits }[] = []
  for (let cut = 0; cut <= layers; cut++) {
    // No boundary is crossed by tensors at either end.
    const widths = cut === 0 || cut === layers ? problem.boundaryBits.slice(0, 1) : problem.boundaryBits
    for (const boundaryBits of widths) cuts.push({ cut, boundaryBits })
  }
  return cuts
}
