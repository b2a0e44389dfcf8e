import type { ResolvedPlan } from '../../run/executor/messages.ts'
import { attentionUnits, type ModelSpec } from '../../model/spec.ts'
import { CLOUD, cutPlan, EDGE, exitPlan, type BoundaryBits, type Plan, type Side } from '../../plan/plan.ts'
import type { AccuracyTable } from '../../plan/profile/accuracy.ts'
import type { PlanCase } from './types.ts'

/** A plan that cannot be compared with the runtime here, and why. */
export interface SkippedPlan {
  readonly plan: string
  readonly reason: string
}

/** Threshold of the collaborative exits in the grid. */
export const EXIT_THRESHOLD = 0.8

/** The plans of the grid: one of every kind in docs/model.md (1) that the model supports. */
export function gridPlans(
  model: ModelSpec,
  accuracy: AccuracyTable,
  exitLayers: readonly number[],
): { plans: PlanCase[]; leftOut: SkippedPlan[] } {
  const { layers } = model
  const units = attentionUnits(model)
  const middle = Math.max(1, layers >> 1)
  const cut = (bits: BoundaryBits, head: Side): Plan => cutPlan(layers, units, middle, bits, EDGE, head)
  const edge = cutPlan(layers, units, layers, 32, EDGE, EDGE)
  const all: [string, Plan][] = [
    ['edge', edge],
    ['cloud', cutPlan(layers, units, 0, 32, CLOUD, CLOUD)],
    ['cut 32 bits, sampler at the edge', cut(32, EDGE)],
    ['cut 32 bits, sampler in the cloud', cut(32, CLOUD)],
    ['cut 8 bits, sampler at the edge', cut(8, EDGE)],
    ['cut 8 bits, sampler in the cloud', cut(8, CLOUD)],
    ['half of the heads of 1 layer', halfOfHeads(edge, units, middle)],
    ['FFN in two, 1 layer', { ...edge, ffn: edge.ffn.map((mode, layer) => (layer === middle ? 2 : mode)) }],
  ]
  const plans = all
    .filter(([id]) => units > 1 || !id.startsWith('half'))
    .map(([id, plan]) => ({ id, placed: place(plan, accuracy) }))
  const exits = exitPlans(model, accuracy, exitLayers)
  return { plans: [...plans, ...exits.plans], leftOut: exits.leftOut }
}

function halfOfHeads(edge: Plan, units: number, middle: number): Plan {
  const mixed = edge.unitsOnCloud.map((_, layer) => (layer === middle ? units >> 1 : 0))
  return { ...edge, unitsOnCloud: mixed }
}

function exitPlans(
  model: ModelSpec,
  accuracy: AccuracyTable,
  exitLayers: readonly number[],
): { plans: PlanCase[]; leftOut: SkippedPlan[] } {
  const [standalone, collaborative] = ['early exit, standalone', 'early exit, collaborative']
  if (exitLayers.length === 0) {
    const reason = `${model.id} has no exit heads`
    return { plans: [], leftOut: [standalone, collaborative].map((plan) => ({ plan, reason })) }
  }
  const [layer] = exitLayers
  const make = (id: string, mode: 'standalone' | 'collaborative'): PlanCase => {
    const exit = { layer, threshold: EXIT_THRESHOLD, mode }
    return { id, placed: place(exitPlan(model.layers, attentionUnits(model), exit, 32), accuracy) }
  }
  const entry = accuracy.exits.find((one) => one.layer === layer && one.threshold === EXIT_THRESHOLD)
  if (entry?.leaveShare.provenance.kind === 'measured')
    return { plans: [make(standalone, 'standalone'), make(collaborative, 'collaborative')], leftOut: [] }
  const reason =
    'which tokens are asked of the cloud follows from confidences, and no table has measured them'
  return { plans: [make(standalone, 'standalone')], leftOut: [{ plan: collaborative, reason }] }
}

/**
 * Whether the number of messages depends on the tokens: a collaborative exit asks the cloud where it is not confident.
 */
export function dependsOnConfidence({ plan }: ResolvedPlan): boolean {
  return plan.exit?.mode === 'collaborative'
}

/** Resolves a plan's units: in each layer the least sensitive ones first. */
function place(plan: Plan, { ranking }: AccuracyTable): ResolvedPlan {
  const cloudUnits = Array.from(plan.unitsOnCloud, (count, layer) =>
    ranking.unitsByLayer[layer].slice(0, count).sort((a, b) => a - b),
  )
  return { plan, cloudUnits }
}

/** Adds every exit of the grid to a table: the loss of a standalone exit does not affect times. */
export function withExits(accuracy: AccuracyTable, exitLayers: readonly number[]): AccuracyTable {
  const missing = exitLayers.filter(
    (layer) => !accuracy.exits.some((one) => one.layer === layer && one.threshold === EXIT_THRESHOLD),
  )
  const figure = (value: number) => ({
    value,
    provenance: { kind: 'assumed', source: 'not looked at: only time is calibrated' } as const,
  })
  const added = missing.map((layer) => ({
    layer,
    threshold: EXIT_THRESHOLD,
    leaveShare: figure(1),
    standaloneLoss: figure(0),
    collaborativeLoss: figure(0),
  }))
  return { ...accuracy, exits: [...accuracy.exits, ...added] }
}
