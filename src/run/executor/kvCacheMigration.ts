import type { Subgraph } from '../../model/graphs/subgraphTypes.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { lowerMigration } from '../../plan/lower.ts'
import type { BoundaryBits } from '../../plan/plan.ts'
import { FRAME } from '../wire/types.ts'
import { decodeBoundary } from './boundary.ts'
import type { RetransmitBuffer } from './retransmit.ts'
import type { ResolvedPlan } from './messages.ts'

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
  const lowered = lowerMigration(model, from.plan, to.plan)
  if (lowered === null) return null
  const { subgraph, upload } = lowered
  if (subgraph === null) return { subgraph, rows: new Float32Array(0), count }
  const rows = keptRows(model, kept, upload.number, count)
  return rows === null ? null : { subgraph, rows, count }
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
