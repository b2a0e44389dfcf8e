import { z } from 'zod'
import { InputError } from '../../core/errors.ts'
import { check } from '../../core/schema.ts'
import { headsPerUnit } from '../../model/spec.ts'
import { exitEntryOf } from '../profile/accuracy.ts'
import { pairUnits, type DevicePair } from './pair.ts'
import { bitsOfLayer, CLOUD, EDGE, exitPlan, type EarlyExit, type Plan, type Side } from '../plan.ts'

const side = z.enum(['edge', 'cloud'])
const width = z.union([z.literal(32), z.literal(16), z.literal(8), z.literal(4)])

const amount = z.number().min(0).max(1e12)
const positive = z.number().positive().max(1e12)

/** Weights of an objective: cost per second, joule, cloud second, byte and nat. */
export const objectiveWeightsSchema = z.strictObject({
  latency: amount,
  energy: amount,
  cloud: amount,
  bytes: amount,
  accuracy: amount,
})

/** Which latency an objective counts. */
export const latencyTermSchema = z.discriminatedUnion('form', [
  z.strictObject({ form: z.literal('mean') }),
  z.strictObject({ form: z.literal('qoe'), readingTokensPerSecond: positive }),
  z.strictObject({ form: z.literal('convex'), deadlineSeconds: positive }),
])

/** Time-average budgets of one request; null where there is none. */
export const budgetsSchema = z.strictObject({
  energyJoules: positive.nullable(),
  accuracyLoss: positive.nullable(),
  cloudSeconds: positive.nullable(),
})

/** A plan as `--json` prints it and `--plan` reads it. */
export const planJsonSchema = z.strictObject({
  embed: side,
  layers: z
    .array(
      z.strictObject({
        /** Query heads that run in the cloud, ascending. */
        headsOnCloud: z.array(z.int().min(0).max(65_535)).max(65_536),
        /** 0 = edge, 1 = cloud, 2 = first matrix on the edge and second in the cloud. */
        ffn: z.union([z.literal(0), z.literal(1), z.literal(2)]),
        /** Bits of this layer's boundary tensors; absent: boundaryBits. */
        bits: width.optional(),
      }),
    )
    .min(1)
    .max(255),
  head: side,
  boundaryBits: width,
  exit: z
    .strictObject({
      layer: z.int().min(1),
      threshold: z.number().gt(0).max(1),
      mode: z.enum(['standalone', 'collaborative']),
    })
    .nullable(),
})

/** A plan in JSON. */
export type PlanJson = z.infer<typeof planJsonSchema>

/**
 * Converts a plan to JSON, with its units as query heads: in each layer the first k units of the sensitivity ranking.
 */
export function planToJson(pair: Pick<DevicePair, 'model' | 'accuracy'>, plan: Plan): PlanJson {
  const group = headsPerUnit(pair.model)
  const headsOf = (unit: number): number[] => Array.from({ length: group }, (_, i) => unit * group + i)
  return {
    embed: nameOf(plan.embed),
    layers: Array.from(plan.unitsOnCloud, (count, layer) => ({
      headsOnCloud: pair.accuracy.ranking.unitsByLayer[layer]
        .slice(0, count)
        .flatMap(headsOf)
        .sort((a, b) => a - b),
      ffn: plan.ffn[layer] as 0 | 1 | 2,
      ...bitsToJson(plan, layer),
    })),
    head: nameOf(plan.head),
    boundaryBits: plan.boundaryBits,
    exit: plan.exit === null ? null : { ...plan.exit },
  }
}

/**
 * Reads a plan from untrusted JSON; `where` names it in errors. Only the number of K/V groups in the cloud affects
 * time, energy and memory, so any whole groups are accepted. Throws InputError.
 */
export function planFromJson(pair: DevicePair, value: unknown, where: string): Plan {
  const json = check(planJsonSchema, value, where)
  const { model } = pair
  if (json.layers.length !== model.layers) {
    throw new InputError({
      where: `${where}: layers`,
      expected: `${model.layers}, the layers of ${model.id}`,
      found: String(json.layers.length),
    })
  }
  const plan: Plan = {
    embed: sideOf(json.embed),
    unitsOnCloud: Uint8Array.from(json.layers, ({ headsOnCloud }, layer) =>
      countUnits(pair, headsOnCloud, `${where}: layers.${layer}.headsOnCloud`),
    ),
    ffn: Uint8Array.from(json.layers, ({ ffn }) => ffn),
    head: sideOf(json.head),
    boundaryBits: json.boundaryBits,
    ...layerBitsFromJson(json, where),
    exit: json.exit,
  }
  return json.exit === null ? plan : checkExit(pair, plan, json.exit, where)
}

/** A layer's own bits, if the plan has bits by layer. */
export function bitsToJson(plan: Plan, layer: number): Pick<PlanJson['layers'][number], 'bits'> {
  return plan.layerBits === undefined ? {} : { bits: bitsOfLayer(plan, layer) }
}

/** Bits by layer, if any layer has its own. Throws InputError together with an early exit. */
export function layerBitsFromJson(json: PlanJson, where: string): Pick<Plan, 'layerBits'> {
  const named = json.layers.findIndex(({ bits }) => bits !== undefined)
  if (named === -1) return {}
  if (json.exit !== null) {
    throw new InputError({
      where: `${where}: layers.${named}.bits`,
      expected: 'none: an early exit crosses once, at boundaryBits',
      found: String(json.layers[named].bits),
    })
  }
  return { layerBits: Uint8Array.from(json.layers, ({ bits }) => bits ?? json.boundaryBits) }
}

/** Number of whole groups among the named heads. */
function countUnits(pair: DevicePair, heads: readonly number[], where: string): number {
  const { model } = pair
  const named = new Set(heads)
  if (named.size !== heads.length) {
    throw new InputError({ where, expected: 'each head once', found: JSON.stringify(heads).slice(0, 80) })
  }
  const beyond = heads.find((head) => head >= model.heads)
  if (beyond !== undefined) {
    throw new InputError({ where, expected: `heads 0..${model.heads - 1}`, found: String(beyond) })
  }
  const group = headsPerUnit(model)
  const units = new Set(heads.map((head) => Math.floor(head / group)))
  if (units.size * group !== heads.length) {
    throw new InputError({
      where,
      expected: `whole K/V groups of ${group} heads: ${group} heads share one key and value`,
      found: JSON.stringify(heads).slice(0, 80),
      remedy: 'name all heads of a group, or none',
    })
  }
  return units.size
}

/** An early exit determines the rest of its plan: its layers on the edge, the others in the cloud. */
function checkExit(pair: DevicePair, plan: Plan, exit: EarlyExit, where: string): Plan {
  exitEntryOf(pair.accuracy, exit.layer, exit.threshold)
  const expected = exitPlan(pair.model.layers, pairUnits(pair), exit, plan.boundaryBits)
  const same =
    plan.embed === expected.embed &&
    plan.head === expected.head &&
    plan.ffn.every((mode, layer) => mode === expected.ffn[layer]) &&
    plan.unitsOnCloud.every((count, layer) => count === expected.unitsOnCloud[layer])
  if (same) return plan
  const end = exit.mode === 'standalone' ? 'edge' : 'cloud'
  throw new InputError({
    where: `${where}: exit`,
    expected: `embedding and layers 0..${exit.layer - 1} on the edge, the layers above in the cloud, head "${end}"`,
    found: 'another placement',
    remedy: 'with an early exit, only the exit and the boundary bits are free',
  })
}

function nameOf(place: Side): 'edge' | 'cloud' {
  return place === EDGE ? 'edge' : 'cloud'
}

function sideOf(name: 'edge' | 'cloud'): Side {
  return name === 'edge' ? EDGE : CLOUD
}
