import { boundaryLoss, exitEntryOf, layerBoundaryLoss, type AccuracyTable } from '../profile/accuracy.ts'
import { bitsOfLayer, CLOUD, EDGE, sideAfterFfn, sideOfFfnInput, type Plan, type Side } from '../plan.ts'

/**
 * Boundary tensors that one token sends for a layer: x and a partial sum if both sides have units; otherwise one for
 * each change of side; one more for FFN mode 2. Counted by choice, not from a lowered plan, because the search asks
 * before there is a whole plan; test/plan/loss.test.ts holds it to the messages of the lowered list.
 */
export function layerCrossings(side: Side, unitsOnCloud: number, units: number, mode: number): number {
  const sumAt = sideOfFfnInput(mode)
  const inner = mode === 2 ? 1 : 0
  if (unitsOnCloud > 0 && unitsOnCloud < units) return 2 + inner
  const at = unitsOnCloud === 0 ? EDGE : CLOUD
  return (at === side ? 0 : 1) + (at === sumAt ? 0 : 1) + inner
}

/**
 * Added log-perplexity of a plan, nats: of quantised boundaries, or of an early exit. Losses of single crossings are
 * added. Plan-wide bits cost their mean over all places, as in the oracle and its bounds; bits by layer cost what was
 * measured at each place.
 */
export function planAccuracyLoss(table: AccuracyTable, units: number, plan: Plan): number {
  const perCrossing = boundaryLoss(table, plan.boundaryBits)
  if (plan.exit !== null) {
    const entry = exitEntryOf(table, plan.exit.layer, plan.exit.threshold)
    if (plan.exit.mode === 'standalone') return entry.standaloneLoss.value
    return entry.collaborativeLoss.value + (1 - entry.leaveShare.value) * perCrossing
  }
  const crossings = crossingsByLayer(units, plan)
  if (plan.layerBits === undefined) return crossings.reduce((sum, count) => sum + count, 0) * perCrossing
  return crossings.reduce(
    (sum, count, layer) => sum + count * layerBoundaryLoss(table, layer, bitsOfLayer(plan, layer)),
    0,
  )
}

/** Crossings of each layer, then of the lm_head: [L + 1]. */
function crossingsByLayer(units: number, plan: Plan): number[] {
  let side: Side = plan.embed
  const crossings = Array.from(plan.ffn, (mode, layer) => {
    const count = layerCrossings(side, plan.unitsOnCloud[layer], units, mode)
    side = sideAfterFfn(mode)
    return count
  })
  return [...crossings, side === plan.head ? 0 : 1]
}

/**
 * A request's loss once a plan of loss `was` gave way to one of loss `is` after `delivered` of its `output` tokens,
 * docs/model.md (36).
 */
export function changedLoss(
  loss: number,
  { delivered, output }: { readonly delivered: number; readonly output: number },
  was: number,
  is: number,
): number {
  return loss + ((output - delivered) / output) * (is - was)
}
