import { z } from 'zod'
import { InputError } from '../../core/errors.ts'
import { check } from '../../core/schema.ts'
import { attentionUnits, headsPerUnit, type ModelSpec } from '../../model/spec.ts'
import { bitsToJson, layerBitsFromJson, planJsonSchema, type PlanJson } from '../../plan/price/json.ts'
import { CLOUD, EDGE, exitPlan, type Plan, type Side } from '../../plan/plan.ts'
import { jsonFrame, readJson } from '../wire/payloads.ts'
import { FRAME, type Frame } from '../wire/types.ts'
import type { ExecutionEvent } from './types.ts'

/** A plan with the units that it places on each side, so that both sides agree. */
export interface ResolvedPlan {
  readonly plan: Plan
  /** For each layer the units in the cloud, ascending. */
  readonly cloudUnits: readonly (readonly number[])[]
}

/** Converts a resolved plan to JSON with named heads (edgewise's plan format). */
export function resolvedPlanToJson(model: ModelSpec, { plan, cloudUnits }: ResolvedPlan): PlanJson {
  const group = headsPerUnit(model)
  const side = (place: Side) => (place === EDGE ? 'edge' : 'cloud')
  return {
    embed: side(plan.embed),
    layers: cloudUnits.map((units, layer) => ({
      headsOnCloud: units.flatMap((unit) => Array.from({ length: group }, (_, i) => unit * group + i)),
      ffn: plan.ffn[layer] as 0 | 1 | 2,
      ...bitsToJson(plan, layer),
    })),
    head: side(plan.head),
    boundaryBits: plan.boundaryBits,
    exit: plan.exit === null ? null : { ...plan.exit },
  }
}

/** Reads a plan with named heads from JSON; `where` names it in errors. Throws InputError. */
export function resolvedPlanFromJson(model: ModelSpec, value: unknown, where: string): ResolvedPlan {
  const json = check(planJsonSchema, value, where)
  const refuse = (place: string, expected: string, found: string): never => {
    throw new InputError({ where: `${where}: ${place}`, expected, found })
  }
  if (json.layers.length !== model.layers)
    refuse('layers', `${model.layers}, the layers of ${model.id}`, String(json.layers.length))
  const cloudUnits = json.layers.map(({ headsOnCloud }, layer) =>
    unitsOf(model, headsOnCloud, `${where}: layers.${layer}.headsOnCloud`),
  )
  const plan: Plan = {
    embed: json.embed === 'edge' ? EDGE : CLOUD,
    unitsOnCloud: Uint8Array.from(cloudUnits, (units) => units.length),
    ffn: Uint8Array.from(json.layers, ({ ffn }) => ffn),
    head: json.head === 'edge' ? EDGE : CLOUD,
    boundaryBits: json.boundaryBits,
    ...layerBitsFromJson(json, where),
    exit: json.exit,
  }
  if (json.exit !== null) {
    const { layer } = json.exit
    if (layer >= model.layers) refuse('exit.layer', `below ${model.layers} layers`, String(layer))
    if (!samePlacement(plan, exitPlan(model.layers, attentionUnits(model), json.exit, json.boundaryBits)))
      refuse(
        'exit',
        `layers 0..${layer - 1} and the embedding on the edge, the rest in the cloud`,
        'another placement',
      )
  }
  return { plan, cloudUnits }
}

function samePlacement(a: Plan, b: Plan): boolean {
  const same = (x: Uint8Array, y: Uint8Array) => x.every((value, i) => value === y[i])
  return (
    a.embed === b.embed && a.head === b.head && same(a.unitsOnCloud, b.unitsOnCloud) && same(a.ffn, b.ffn)
  )
}

function unitsOf(model: ModelSpec, heads: readonly number[], where: string): number[] {
  const group = headsPerUnit(model)
  const units = [...new Set(heads.map((head) => Math.floor(head / group)))].sort((a, b) => a - b)
  const whole = new Set(heads).size === heads.length && units.length * group === heads.length
  if (whole && units.every((unit) => unit < attentionUnits(model))) return units
  const expected = `heads 0..${model.heads - 1}, each once, in whole K/V groups of ${group}`
  throw new InputError({ where, expected, found: JSON.stringify(heads).slice(0, 80) })
}

/** A frame that registers a plan under a number. */
export function planFrame(model: ModelSpec, number: number, placed: ResolvedPlan): Frame {
  return jsonFrame(FRAME.plan, resolvedPlanToJson(model, placed), { request: number })
}

/** A request as it is sent to the cloud. */
const openSchema = z.strictObject({
  plan: z.int().min(1).max(0xffff_ffff),
  promptTokens: z.int().min(1).max(1_048_576),
  maxNewTokens: z.int().min(1).max(1_048_576),
  sampling: z.strictObject({
    temperature: z.number().min(0).max(100),
    topK: z.int().min(0).max(4_194_304),
    topP: z.number().gt(0).max(1),
    seed: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
  }),
  stopIds: z.array(z.int().min(0).max(4_194_304)).max(64),
  /** Whether the cloud is to report its events. */
  report: z.boolean(),
})

/** Payload of an `open` frame. */
export type OpenMessage = z.infer<typeof openSchema>

/** Creates an `open` frame. */
export function openFrame(request: number, message: OpenMessage): Frame {
  return jsonFrame(FRAME.open, message, { request })
}

/** Reads an `open` frame. Throws InputError for a request that this model cannot run. */
export function readOpen(model: ModelSpec, frame: Frame): OpenMessage {
  const where = `request ${frame.request}`
  const message = check(openSchema, readJson(frame), where)
  checkLengths(model, message.promptTokens, message.maxNewTokens, where)
  return message
}

/** Prompt and output must fit into the context. */
export function checkLengths(
  model: ModelSpec,
  promptTokens: number,
  maxNewTokens: number,
  where: string,
): void {
  if (promptTokens + maxNewTokens <= model.contextTokens) return
  throw new InputError({
    where,
    expected: `prompt and output of at most ${model.contextTokens} tokens, the context of ${model.id}`,
    found: `${promptTokens} + ${maxNewTokens}`,
    remedy: 'shorten the prompt, or ask for fewer tokens',
  })
}

/** Events as rows of numbers, because a request has one for every step of every token. */
const row = z.tuple([
  z.union([z.literal(0), z.literal(1), z.literal(2), z.literal(3)]),
  z.int().min(0),
  z.int().min(0),
  z.int().min(0),
  z.number(),
  z.number(),
  z.number(),
  z.int().min(0),
  z.int().min(1),
])
const reportSchema = z.strictObject({ events: z.array(row).max(200_000) })
const KINDS = ['load', 'compute', 'send', 'receive'] as const

/** The cloud's events of a request; the last message about it. */
export function reportFrame(request: number, events: readonly ExecutionEvent[]): Frame {
  const rows = events.map(
    (e) =>
      [
        KINDS.indexOf(e.kind),
        e.step,
        e.position,
        e.tokens,
        e.askedSeconds,
        e.startSeconds,
        e.endSeconds,
        e.bytes,
        e.batch,
      ] as const,
  )
  return jsonFrame(FRAME.report, { events: rows }, { request })
}

/** Reads the cloud's events, with times shifted by `clockOffsetSeconds` (the cloud's clock minus ours) to our clock. */
export function readReport(frame: Frame, clockOffsetSeconds: number): ExecutionEvent[] {
  const { events } = check(reportSchema, readJson(frame), `report of request ${frame.request}`)
  return events.map(([kind, step, position, tokens, asked, start, end, bytes, batch]) => ({
    side: 'cloud',
    kind: KINDS[kind],
    step,
    position,
    tokens,
    bytes,
    batch,
    askedSeconds: asked - clockOffsetSeconds,
    startSeconds: start - clockOffsetSeconds,
    endSeconds: end - clockOffsetSeconds,
  }))
}
