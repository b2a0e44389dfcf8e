import { fitsEdge, type Misfit } from '../../plan/price/memory.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import type { Policy } from '../../plan/price/situation.ts'
import type { Scenario } from '../../sim/scenario/scenario.ts'
import type { EpisodeResult } from './episode.ts'

/** The policies whose plan the edge can carry out for some request, and why the others have no row. */
export function sortByFit(
  scenario: Scenario,
  policies: readonly Policy[],
): { readonly fitting: readonly Policy[]; readonly unfit: Readonly<Record<string, Misfit>> } {
  const unfit: Record<string, Misfit> = {}
  const fitting = policies.filter(({ name, edgePlan }) => {
    const misfit = edgePlan === undefined ? null : scenario.misfitOf(edgePlan)
    if (misfit !== null) unfit[name] = misfit
    return misfit === null
  })
  return { fitting, unfit }
}

/** A policy, and how often its plan did not fit beside the requests in flight. */
interface FitCount {
  readonly policy: Policy
  /** Share of the decisions so far; null for a policy that chooses among what fits, and before the first decision. */
  misfitShare(): number | null
}

/** Counts the decisions in which a policy's plan did not fit. */
export function countFits({ pair }: DecisionProblem, policy: Policy): FitCount {
  const { edgePlan } = policy
  if (edgePlan === undefined) return { policy, misfitShare: () => null }
  let decisions = 0
  let misfits = 0
  const counted: Policy = {
    name: policy.name,
    edgePlan,
    reset: (seed) => policy.reset?.(seed),
    decide: (situation) => {
      const { freeMemoryBytes: memoryBytes, reservedTokens } = situation
      decisions++
      if (!fitsEdge(pair, edgePlan, { memoryBytes, reservedTokens })) misfits++
      return policy.decide(situation)
    },
  }
  return { policy: counted, misfitShare: () => (decisions === 0 ? null : misfits / decisions) }
}

/** Whether two policies served every request of the episodes alike, to the last digit. */
export function areAlike(a: readonly EpisodeResult[], b: readonly EpisodeResult[]): boolean {
  return a.every(({ cost, finishSeconds, requests }, i) => {
    const other = b[i]
    return (
      cost === other.cost &&
      finishSeconds.every((at, request) => at === other.finishSeconds[request]) &&
      requests.every(({ upBytes }, request) => upBytes === other.requests[request].upBytes)
    )
  })
}
