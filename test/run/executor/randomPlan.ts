import type { RandomStream } from '../../../src/core/random.ts'
import { attentionUnits, type ModelSpec } from '../../../src/model/spec.ts'
import type { ResolvedPlan } from '../../../src/run/executor/messages.ts'
import { BOUNDARY_BITS, type BoundaryBits, type Side } from '../../../src/plan/plan.ts'

/** Any head mask per layer, any FFN mode, both ends anywhere. */
export function randomPlan(random: RandomStream, model: ModelSpec, bits: BoundaryBits = 32): ResolvedPlan {
  const units = attentionUnits(model)
  const cloudUnits = Array.from({ length: model.layers }, () => {
    const style = random.integer(3)
    return Array.from({ length: units }, (_, unit) => unit).filter(
      () => style > 0 && (style > 1 || random.integer(2) > 0),
    )
  })
  return {
    cloudUnits,
    plan: {
      embed: random.integer(2) as Side,
      head: random.integer(2) as Side,
      unitsOnCloud: Uint8Array.from(cloudUnits, (of) => of.length),
      ffn: Uint8Array.from({ length: model.layers }, () => random.integer(3)),
      boundaryBits: bits,
      exit: null,
    },
  }
}

/** Its layers' boundary tensors each at a width of their own. */
export function withRandomWidths(random: RandomStream, { plan, cloudUnits }: ResolvedPlan): ResolvedPlan {
  const layerBits = Uint8Array.from(plan.ffn, () => BOUNDARY_BITS[random.integer(BOUNDARY_BITS.length)])
  return { cloudUnits, plan: { ...plan, layerBits } }
}

/** The first `cut` layers on the edge, the others in the cloud. */
export function cutAt(
  model: ModelSpec,
  cut: number,
  embed: Side,
  head: Side,
  bits: BoundaryBits = 32,
): ResolvedPlan {
  const units = Array.from({ length: attentionUnits(model) }, (_, unit) => unit)
  const cloudUnits = Array.from({ length: model.layers }, (_, layer) => (layer < cut ? [] : units))
  const unitsOnCloud = Uint8Array.from(cloudUnits, (of) => of.length)
  const ffn = Uint8Array.from(cloudUnits, (of) => (of.length > 0 ? 1 : 0))
  return { cloudUnits, plan: { embed, head, unitsOnCloud, ffn, boundaryBits: bits, exit: null } }
}
