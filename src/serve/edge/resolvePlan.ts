import type { ResolvedPlan } from '../../run/executor/messages.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { attentionUnits, kvBytesPerUnitToken } from '../../model/spec.ts'
import { blockBytes } from '../../plan/price/pair.ts'
import type { Plan } from '../../plan/plan.ts'
import type { Precision } from '../../model/precision.ts'

/** Names the units of a plan: in each layer the first of the sensitivity ranking. */
export function resolvePlan(plan: Plan, unitsByLayer: readonly (readonly number[])[]): ResolvedPlan {
  const cloudUnits = Array.from(plan.unitsOnCloud, (count, layer) =>
    unitsByLayer[layer].slice(0, count).sort((a, b) => a - b),
  )
  return { plan, cloudUnits }
}

/** Bytes of K/V that a request reserves on the edge: float32 of the units that it computes. */
export function edgeKvBytes(model: ModelSpec, { plan }: ResolvedPlan, tokens: number): number {
  const units = attentionUnits(model)
  const layers = plan.exit?.mode === 'standalone' ? plan.exit.layer : model.layers
  let held = 0
  for (let layer = 0; layer < layers; layer++) held += units - plan.unitsOnCloud[layer]
  return held * tokens * kvBytesPerUnitToken(model, 4)
}

/** Bytes of all weights at a precision. */
export function wholeModelBytes(model: ModelSpec, precision: Precision): number {
  const bytes = blockBytes(model, precision)
  const layer = attentionUnits(model) * bytes.unit + bytes.ffnFirst + bytes.ffnSecond
  return model.layers * layer + bytes.embed + bytes.head
}
