/**
 * A plan says where every part of one request runs: docs/model.md (1). Units of a layer are exchangeable in time,
 * energy and memory, so a plan holds only how many are in the cloud; the sensitivity ranking determines which ones (see
 * planJson).
 */
export const EDGE = 0
export const CLOUD = 1
/** Where a part of the model runs. */
export type Side = typeof EDGE | typeof CLOUD

/** Bits an element that a boundary tensor may be sent with; 32 is exact. */
export const BOUNDARY_BITS = [32, 16, 8, 4] as const
/** One of BOUNDARY_BITS. */
export type BoundaryBits = (typeof BOUNDARY_BITS)[number]

/**
 * Early exit after the first `layer` layers, which run on the edge together with an exit head. standalone: every token
 * leaves there. collaborative: a token whose confidence reaches `threshold` leaves, and the cloud is asked for the
 * others (CE-CoLLM, arXiv 2411.02829).
 */
export interface EarlyExit {
  readonly layer: number
  readonly threshold: number
  readonly mode: 'standalone' | 'collaborative'
}

/** Where every part of the model runs for one request. */
export interface Plan {
  readonly embed: Side
  /** Units in the cloud in each layer, 0..units; length L. */
  readonly unitsOnCloud: Uint8Array
  /**
   * FFN mode per layer; length L. 0: the whole FFN on the edge; 1: the whole FFN in the cloud; 2: W1 on the edge and W2 in
   * the cloud.
   */
  readonly ffn: Uint8Array
  /** Where final norm, LM head and sampler run. */
  readonly head: Side
  readonly boundaryBits: BoundaryBits
  /**
   * Bits of the boundary tensors that belong to each layer, length L, if they differ by layer. Absent: boundaryBits
   * everywhere, as with every early exit. The tensor that goes to the lm_head has boundaryBits.
   */
  readonly layerBits?: Uint8Array
  readonly exit: EarlyExit | null
}

/** Bits of a layer's boundary tensors; for `layer` = L, of the tensor that goes to the lm_head. */
export function bitsOfLayer(plan: Pick<Plan, 'boundaryBits' | 'layerBits'>, layer: number): BoundaryBits {
  return (plan.layerBits?.[layer] as BoundaryBits | undefined) ?? plan.boundaryBits
}

/** A plan with every part on one side. */
export function uniformPlan(
  layers: number,
  units: number,
  side: Side,
  boundaryBits: BoundaryBits = 32,
): Plan {
  return cutPlan(layers, units, side === EDGE ? layers : 0, boundaryBits, side, side)
}

/** Layers [0, cut) on the edge, the others in the cloud. */
export function cutPlan(
  layers: number,
  units: number,
  cut: number,
  boundaryBits: BoundaryBits,
  embed: Side,
  head: Side,
): Plan {
  const unitsOnCloud = new Uint8Array(layers).fill(units, cut)
  const ffn = new Uint8Array(layers).fill(CLOUD, cut)
  return { embed, unitsOnCloud, ffn, head, boundaryBits, exit: null }
}

/** The plan of an early exit: its layers on the edge, the rest in the cloud (unused when standalone). */
export function exitPlan(layers: number, units: number, exit: EarlyExit, boundaryBits: BoundaryBits): Plan {
  const head = exit.mode === 'standalone' ? EDGE : CLOUD
  return { ...cutPlan(layers, units, exit.layer, boundaryBits, EDGE, head), exit }
}

/** Side of the residual after a layer's FFN. */
export function sideAfterFfn(mode: number): Side {
  return mode === 0 ? EDGE : CLOUD
}

/** Side of the FFN's first matrix, on which the attention's sum is formed. */
export function sideOfFfnInput(mode: number): Side {
  return mode === 1 ? CLOUD : EDGE
}

/** The side on which a whole layer lies; null where both have a part of it. */
export function sideOfLayer(
  { unitsOnCloud, ffn }: Pick<Plan, 'unitsOnCloud' | 'ffn'>,
  layer: number,
  units: number,
): Side | null {
  if (unitsOnCloud[layer] === 0 && ffn[layer] === 0) return EDGE
  return unitsOnCloud[layer] === units && ffn[layer] === 1 ? CLOUD : null
}

/** Whether two plans are equal in every field. */
export function samePlan(a: Plan, b: Plan): boolean {
  if (a === b) return true
  if (a.embed !== b.embed || a.head !== b.head || a.boundaryBits !== b.boundaryBits) return false
  if (a.exit?.layer !== b.exit?.layer || a.exit?.mode !== b.exit?.mode) return false
  if (a.exit?.threshold !== b.exit?.threshold) return false
  return (
    a.unitsOnCloud.every((units, layer) => units === b.unitsOnCloud[layer]) &&
    a.ffn.every((mode, layer) => mode === b.ffn[layer]) &&
    a.ffn.every((_, layer) => bitsOfLayer(a, layer) === bitsOfLayer(b, layer))
  )
}

/**
 * Whether a request under the plan needs the cloud: a part of it runs there, or an exit may ask the cloud for a token.
 * A standalone exit needs no cloud, wherever its plan puts the layers above it, because they never run.
 */
export function needsCloud(plan: Plan): boolean {
  if (plan.exit !== null || endsNeedCloud(plan)) return endsNeedCloud(plan)
  const any = (part: number): boolean => part !== 0
  return plan.unitsOnCloud.some(any) || plan.ffn.some(any)
}

/** Whether the plan-wide choices alone need the cloud, whatever is chosen for each layer. */
export function endsNeedCloud({ embed, head, exit }: Pick<Plan, 'embed' | 'head' | 'exit'>): boolean {
  return exit === null ? embed === CLOUD || head === CLOUD : exit.mode === 'collaborative'
}
