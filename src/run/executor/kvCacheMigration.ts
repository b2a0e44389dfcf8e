import type { Subgraph } from '../../model/graphs/subgraphTypes.ts'
import { attentionUnits, type ModelSpec } from '../../model/spec.ts'
import { lowerPlan, wholeLayers } from '../../plan/lower.ts'
import { EDGE, needsCloud, type BoundaryBits } from '../../plan/plan.ts'
import { FRAME } from '../wire/types.ts'
import { decodeBoundary } from './boundary.ts'
import type { RetransmitBuffer } from './retransmit.ts'
import type { ResolvedPlan } from './messages.ts'

/**
 * The layer below which everything, including the embedding, is on the edge, and from which on everything is in the
 * cloud, ignoring the lm_head. Null if the plan is not such a cut.
 */
function cutOf(model: ModelSpec, { plan }: ResolvedPlan): number | null {
  if (plan.embed !== EDGE) return null
  const units = attentionUnits(model)
  const onCloud = Array.from({ length: model.layers }, (_, i) => plan.unitsOnCloud[i] > 0 || plan.ffn[i] > 0)
  const first = onCloud.indexOf(true)
  const cut = first < 0 ? model.layers : first
  const whole = onCloud.every((_, i) => i < cut || (plan.unitsOnCloud[i] === units && plan.ffn[i] === 1))
  return whole ? cut : null
}

/** How the caches above a cut are filled: the subgraph to run on the kept rows; null if there is nothing above. */
export interface KvCacheMigration {
  readonly subgraph: Subgraph | null
  /** Float32 [count, width]; empty if there is no subgraph. */
  readonly rows: Float32Array
  readonly count: number
}

/**
 * How `to` takes over from `from` after `count` positions whose boundary rows were all sent; null if the plans or the
 * kept rows do not allow it.
 */
export function planKvCacheMigration(
  model: ModelSpec,
  from: ResolvedPlan,
  to: ResolvedPlan,
  kept: RetransmitBuffer,
  count: number,
): KvCacheMigration | null {
  const cut = cutOf(model, from)
  if (cut === null || !needsCloud(from.plan) || needsCloud(to.plan)) return null
  const top = to.plan.exit?.layer ?? model.layers
  if (top <= cut) return { subgraph: null, rows: new Float32Array(0), count }
  const rows = keptRows(model, kept, uploadStep(model, from), count)
  if (rows === null) return null
  return { subgraph: { input: 'x', parts: wholeLayers(model, cut, top) }, rows, count }
}

/** Number of the step that carries the residual from the edge to the first layer in the cloud; -1 where none does. */
function uploadStep(model: ModelSpec, { plan, cloudUnits }: ResolvedPlan): number {
  for (const step of lowerPlan(model, plan, cloudUnits).prefill.steps) {
    if (step.kind === 'send' && step.from === EDGE && step.carries === 'x') return step.number
  }
  return -1
}

/** Rows of positions 0..count-1 as they were sent; null if one is missing. */
function keptRows(
  model: ModelSpec,
  kept: RetransmitBuffer,
  step: number,
  count: number,
): Float32Array | null {
  const { width } = model
  const rows = new Float32Array(count * width)
  let next = 0
  for (const { message } of kept.all) {
    if (message === null) return null
    if (message.type !== FRAME.tensor || message.step !== step || message.position !== next) continue
    if (next >= count) break
    if (next + message.count > count) return null
    rows.set(
      decodeBoundary(message.payload, message.count, width, message.bits as BoundaryBits),
      next * width,
    )
    next += message.count
  }
  return next === count ? rows : null
}
