import { InputError } from '../../core/errors.ts'
import { cloudPlan } from '../../plan/planners/fixed.ts'
import { edgeMemory } from '../../plan/price/memory.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import type { Situation } from '../../plan/price/situation.ts'

/** With layers pinned to the edge, its memory may be too small for any plan. */
export function noPlanFits(
  problem: DecisionProblem,
  { freeMemoryBytes, reservedTokens }: Situation,
): InputError {
  const { weightBytes, kvBytesPerToken } = edgeMemory(problem.pair, cloudPlan(problem))
  const kvBytes = kvBytesPerToken * reservedTokens
  return new InputError({
    where: 'free edge memory',
    expected:
      `at least ${weightBytes + kvBytes} bytes for the layers pinned to the edge: ` +
      `${weightBytes} of weights and ${kvBytes} of K/V for ${reservedTokens} tokens`,
    found: `${freeMemoryBytes} bytes`,
    remedy: 'pin fewer layers, or free memory on the edge',
  })
}
