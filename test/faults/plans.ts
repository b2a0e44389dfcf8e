import type { ResolvedPlan } from '../../src/run/executor/messages.ts'
import { attentionUnits, type ModelSpec } from '../../src/model/spec.ts'
import { CLOUD, EDGE, exitPlan, type BoundaryBits, type Plan } from '../../src/plan/plan.ts'
import { cutAt } from '../run/executor/randomPlan.ts'

export const PLAN_NAMES = [
  'cut',
  'cut at 8 bits',
  'cut at 4 bits, head at the edge',
  'cloud',
  'split heads',
  'exits',
] as const
export type PlanName = (typeof PLAN_NAMES)[number]

export const EXIT_LAYER = 1
/** So sure are a small random model's exits about every other time. */
const EXIT_THRESHOLD = 0.05

/** In the exact profile tokens are those of the run without any fault, whatever was switched. */
export function isExact(name: PlanName): boolean {
  return name === 'cut' || name === 'cloud' || name === 'split heads'
}

export function planNamed(name: PlanName, model: ModelSpec): ResolvedPlan {
  const middle = Math.floor(model.layers / 2)
  switch (name) {
    case 'cut':
      return cutAt(model, middle, EDGE, CLOUD)
    case 'cut at 8 bits':
      return cutAt(model, middle, EDGE, CLOUD, 8)
    case 'cut at 4 bits, head at the edge':
      return cutAt(model, middle, EDGE, EDGE, 4)
    case 'cloud':
      return cutAt(model, 0, CLOUD, CLOUD)
    case 'split heads':
      return splitHeads(model)
    case 'exits':
      return exits(model, EXIT_LAYER, 8)
  }
}

/** The whole model on the edge. */
export function alonePlan(model: ModelSpec): ResolvedPlan {
  return cutAt(model, model.layers, EDGE, EDGE)
}

/** Half of each layer's heads on either side, the FFN once here, once there, once between both. */
function splitHeads(model: ModelSpec): ResolvedPlan {
  const half = Array.from({ length: attentionUnits(model) }, (_, unit) => unit).filter(
    (unit) => unit % 2 === 0,
  )
  const cloudUnits = Array.from({ length: model.layers }, () => half)
  const plan: Plan = {
    embed: EDGE,
    unitsOnCloud: new Uint8Array(model.layers).fill(half.length),
    ffn: Uint8Array.from(cloudUnits, (_, layer) => layer % 3),
    head: CLOUD,
    boundaryBits: 32,
    exit: null,
  }
  return { plan, cloudUnits }
}

/** Every other token or so is asked of the cloud. */
function exits(model: ModelSpec, layer: number, bits: BoundaryBits): ResolvedPlan {
  const units = Array.from({ length: attentionUnits(model) }, (_, unit) => unit)
  const exit = { layer, threshold: EXIT_THRESHOLD, mode: 'collaborative' } as const
  const plan = exitPlan(model.layers, units.length, exit, bits)
  return { plan, cloudUnits: Array.from({ length: model.layers }, (_, i) => (i < layer ? [] : units)) }
}
