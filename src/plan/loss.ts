import { boundaryLoss, exitEntryOf, type AccuracyTable } from '../profile/accuracy.ts'
import { CLOUD, EDGE, sideAfterFfn, sideOfFfnInput, type Plan, type Side } from './plan.ts'

/**
 * Boundary tensors that one token sends through a layer: x and a partial sum where both sides have
 * heads; otherwise one per change of side; one more for FFN mode 2.
 */
export function layerCrossings(side: Side, unitsOnCloud: number, units: number, mode: number): number {
  const sumAt = sideOfFfnInput(mode)
  const inner = mode === 2 ? 1 : 0
  if (unitsOnCloud > 0 && unitsOnCloud < units) return 2 + inner
  const at = unitsOnCloud === 0 ? EDGE : CLOUD
  return (at === side ? 0 : 1) + (at === sumAt ? 0 : 1) + inner
}

/** Added log-perplexity of a plan, nats: quantised boundaries, or an early exit. */
export function planAccuracyLoss(table: AccuracyTable, units: number, plan: Plan): number {
  const perCrossing = boundaryLoss(table, plan.boundaryBits)
  if (plan.exit !== null) {
    const entry = exitEntryOf(table, plan.exit.layer, plan.exit.threshold)
    if (plan.exit.mode === 'standalone') return entry.standaloneLoss.value
    return entry.collaborativeLoss.value + (1 - entry.leaveShare.value) * perCrossing
  }
  let side: Side = plan.embed
  let crossings = 0
  for (let layer = 0; layer < plan.ffn.length; layer++) {
    crossings += layerCrossings(side, plan.unitsOnCloud[layer], units, plan.ffn[layer])
    side = sideAfterFfn(plan.ffn[layer])
  }
  return (crossings + (side === plan.head ? 0 : 1)) * perCrossing
}
