import { CACHE_BYTES_PER_ELEMENT } from '../../model/graphs/cache.ts'
import {
  attentionUnitParameters,
  attentionUnits,
  embeddingParameters,
  ffnParameters,
  kvBytesPerUnitToken,
  lmHeadParameters,
  type ModelSpec,
} from '../../model/spec.ts'
import { EDGE, type Plan } from '../plan.ts'
import { storedBytesPerWeight, type Precision } from '../../model/precision.ts'

/**
 * The bytes that a plan needs on the edge, docs/model.md (25) to (28): the one place where they are added up.
 * Masks, planners, oracle, simulator and runtime call these functions. They add up a plan's fields, not its lowered
 * list, because masks and searches ask choice by choice, before there is a whole plan; test/plan/memory.test.ts holds
 * them to the parts that the list runs. Weights are the matrices; norms, biases and rotary tables are not counted.
 */

/** What the bytes on an edge depend on besides the plan; a DevicePair has all of it. */
export interface EdgeMemoryTerms {
  readonly model: ModelSpec
  readonly edgePrecision: Precision
  /** Bytes of one element of a K/V cache. */
  readonly kvBytesPerElement: number
}

/** The terms of an edge that runs this project's runtime. */
export function runtimeMemoryTerms(model: ModelSpec, edgePrecision: Precision): EdgeMemoryTerms {
  return { model, edgePrecision, kvBytesPerElement: CACHE_BYTES_PER_ELEMENT }
}

/** Bytes of the parts that a plan may place on the edge. */
export interface PartBytes {
  readonly unit: number
  readonly ffnFirst: number
  readonly ffnSecond: number
  readonly embed: number
  /** The LM head's matrix, or that of one early exit. */
  readonly head: number
  /** Whether the LM head costs nothing where the embedding lies on the edge too: they are one matrix. */
  readonly headIsEmbedding: boolean
  /** K/V cache of one unit of one layer per token. */
  readonly kvPerUnitToken: number
}

/**
 * Bytes of each part as the runtime stores it. Under int8 and int4 the embedding stays float32 (its rows are looked
 * up, not multiplied) and the LM head is int8, a matrix of its own even where the model ties the two.
 */
export function partBytes({ model, edgePrecision, kvBytesPerElement }: EdgeMemoryTerms): PartBytes {
  const quantised = edgePrecision === 'int8' || edgePrecision === 'int4'
  const bytes = storedBytesPerWeight(edgePrecision)
  return {
    unit: attentionUnitParameters(model) * bytes,
    ffnFirst: ffnParameters(model, 'first') * bytes,
    ffnSecond: ffnParameters(model, 'second') * bytes,
    embed: embeddingParameters(model) * (quantised ? 4 : bytes),
    head: lmHeadParameters(model) * (quantised ? 1 : bytes),
    headIsEmbedding: model.tiedHead && !quantised,
    kvPerUnitToken: kvBytesPerUnitToken(model, kvBytesPerElement),
  }
}

/** Weights of the ends that lie on the edge: embedding, LM head, and so many heads of early exits. */
export function endBytes(parts: PartBytes, embed: boolean, head: boolean, exitHeads: number): number {
  const own = head && !(embed && parts.headIsEmbedding) ? 1 : 0
  return (embed ? parts.embed : 0) + (own + exitHeads) * parts.head
}

/**
 * What one layer takes: weights of `units` attention units and of the two FFN matrices where they lie on the edge (0 or
 * 1), and the units' K/V of `kvTokens` tokens.
 */
export function layerBytes(
  parts: PartBytes,
  units: number,
  first: number,
  second: number,
  kvTokens: number,
): number {
  return (
    units * (parts.unit + parts.kvPerUnitToken * kvTokens) + first * parts.ffnFirst + second * parts.ffnSecond
  )
}

/** Whether an FFN mode keeps the first matrix (and gate) on the edge, and the second: 0 or 1. */
export function ffnFirstOnEdge(mode: number): number {
  return mode === 1 ? 0 : 1
}

/** Whether the second half of an FFN lies on the edge (1) or in the cloud (0). */
export function ffnSecondOnEdge(mode: number): number {
  return mode === 0 ? 1 : 0
}

/** Edge weights of a plan, (25), and its edge K/V per token of context, (26). */
export function edgeMemory(
  terms: EdgeMemoryTerms,
  plan: Plan,
): { readonly weightBytes: number; readonly kvBytesPerToken: number } {
  const parts = partBytes(terms)
  const units = attentionUnits(terms.model)
  const { exit } = plan
  const layers = exit === null ? terms.model.layers : exit.layer
  // With an exit the edge has the exit's head, and never the LM head.
  let weightBytes = endBytes(parts, plan.embed === EDGE, exit === null && plan.head === EDGE, exit ? 1 : 0)
  let edgeUnits = 0
  for (let layer = 0; layer < layers; layer++) {
    const here = units - plan.unitsOnCloud[layer]
    const mode = plan.ffn[layer]
    edgeUnits += here
    weightBytes += layerBytes(parts, here, ffnFirstOnEdge(mode), ffnSecondOnEdge(mode), 0)
  }
  return { weightBytes, kvBytesPerToken: edgeUnits * parts.kvPerUnitToken }
}

/** Weights that the other side needs for its part of a plan, with `terms` of that side. */
export function cloudWeightBytes(
  terms: EdgeMemoryTerms,
  { embed, head, unitsOnCloud, ffn, exit }: Plan,
): number {
  const parts = partBytes(terms)
  const { layers } = terms.model
  // What a standalone exit leaves to the cloud is never run.
  if (exit?.mode === 'standalone') return 0
  let bytes = endBytes(parts, embed !== EDGE, head !== EDGE, 0)
  for (let layer = exit?.layer ?? 0; layer < layers; layer++) {
    const mode = ffn[layer]
    bytes += layerBytes(parts, unitsOnCloud[layer], 1 - ffnFirstOnEdge(mode), 1 - ffnSecondOnEdge(mode), 0)
  }
  return bytes
}

/** K/V that a plan keeps in the cloud per token of context, as this project's runtime holds it. */
export function cloudKvBytesPerToken(model: ModelSpec, { unitsOnCloud, exit }: Plan): number {
  if (exit?.mode === 'standalone') return 0
  let units = 0
  for (let layer = exit?.layer ?? 0; layer < model.layers; layer++) units += unitsOnCloud[layer]
  return units * kvBytesPerUnitToken(model, CACHE_BYTES_PER_ELEMENT)
}

/** Weights and K/V of `kvTokens` tokens that a plan needs on the edge. */
export function edgeBytes(terms: EdgeMemoryTerms, plan: Plan, kvTokens: number): number {
  const { weightBytes, kvBytesPerToken } = edgeMemory(terms, plan)
  return weightBytes + kvBytesPerToken * kvTokens
}

/** Whether a plan's weights and reserved K/V fit the edge, (28). */
export function fitsEdge(
  terms: EdgeMemoryTerms,
  plan: Plan,
  { memoryBytes, reservedTokens }: { readonly memoryBytes: number; readonly reservedTokens: number },
): boolean {
  return edgeBytes(terms, plan, reservedTokens) <= memoryBytes
}

/** A plan's bytes on the edge, where they are more than the edge has. */
export interface Misfit {
  readonly needBytes: number
  readonly memoryBytes: number
}

/** What a plan needs on the edge with K/V of so many tokens, if that does not fit, (28); null if it fits. */
export function misfitOf(
  terms: EdgeMemoryTerms,
  plan: Plan,
  { memoryBytes, reservedTokens }: { readonly memoryBytes: number; readonly reservedTokens: number },
): Misfit | null {
  const needBytes = edgeBytes(terms, plan, reservedTokens)
  return needBytes <= memoryBytes ? null : { needBytes, memoryBytes }
}

/** `does not fit (14.0 > 12.0 GB)`, with as many digits as it takes to see the difference. */
export function formatMisfit({ needBytes, memoryBytes }: Misfit): string {
  let digits = 1
  const inGb = (bytes: number): string => (bytes / 1e9).toFixed(digits)
  while (inGb(needBytes) === inGb(memoryBytes) && digits < 9) digits++
  return `does not fit (${inGb(needBytes)} > ${inGb(memoryBytes)} GB)`
}

/** Which weights lie in edge memory. Units are nested (the edge keeps the most sensitive), so a count a layer says which. */
export interface HeldWeights {
  /** Attention units, by layer. */
  readonly units: Uint8Array
  /** First and second matrices of FFNs, by layer: 0 or 1. */
  readonly first: Uint8Array
  readonly second: Uint8Array
  /** Heads of early exits, by the layer before them: 0 or 1. */
  readonly exits: Uint8Array
  readonly embed: boolean
  readonly head: boolean
}

/** Bytes of held weights. */
export function heldBytes(parts: PartBytes, held: HeldWeights): number {
  let exits = 0
  let bytes = 0
  for (let layer = 0; layer < held.units.length; layer++) {
    exits += held.exits[layer]
    bytes += layerBytes(parts, held.units[layer], held.first[layer], held.second[layer], 0)
  }
  return bytes + endBytes(parts, held.embed, held.head, exits)
}

/** The weights that a plan needs on the edge. */
export function weightsOf(model: ModelSpec, plan: Plan): HeldWeights {
  const units = attentionUnits(model)
  const { exit } = plan
  const layers = exit?.layer ?? model.layers
  const within = (of: (layer: number) => number): Uint8Array =>
    Uint8Array.from(plan.ffn, (_, layer) => (layer < layers ? of(layer) : 0))
  return {
    units: within((layer) => units - plan.unitsOnCloud[layer]),
    first: within((layer) => ffnFirstOnEdge(plan.ffn[layer])),
    second: within((layer) => ffnSecondOnEdge(plan.ffn[layer])),
    exits: within((layer) => (layer + 1 === exit?.layer ? 1 : 0)),
    embed: plan.embed === EDGE,
    head: exit === null && plan.head === EDGE,
  }
}

/** Weights that some of the plans need. */
export function unionOfWeights(model: ModelSpec, plans: readonly Plan[]): HeldWeights {
  return plans.reduce((all, plan) => joinWeights(all, weightsOf(model, plan)), noWeights(model))
}

/** No weights at all: an empty edge. */
export function noWeights({ layers }: ModelSpec): HeldWeights {
  const none = (): Uint8Array => new Uint8Array(layers)
  return { units: none(), first: none(), second: none(), exits: none(), embed: false, head: false }
}

/** The weights of both: what a memory holds that serves either. */
export function joinWeights(a: HeldWeights, b: HeldWeights): HeldWeights {
  const most = (x: Uint8Array, y: Uint8Array): Uint8Array => x.map((value, i) => Math.max(value, y[i]))
  return {
    units: most(a.units, b.units),
    first: most(a.first, b.first),
    second: most(a.second, b.second),
    exits: most(a.exits, b.exits),
    embed: a.embed || b.embed,
    head: a.head || b.head,
  }
}

/** Bytes of the whole model's weights: embedding, all layers and LM head, without exits. */
export function wholeModelBytes(terms: EdgeMemoryTerms): number {
  const { model } = terms
  const parts = partBytes(terms)
  return model.layers * layerBytes(parts, attentionUnits(model), 1, 1, 0) + endBytes(parts, true, true, 0)
}

/** Which part of an edge's memory a new plan cannot have: its limit, and what the other requests under way need. */
export interface MemoryUse {
  readonly limitBytes: number
  /** Weights that the others need: what of them a new plan needs, too, is there already. */
  readonly weights: HeldWeights
  /** K/V that is reserved for the others, and boundary tensors that are kept for them. */
  readonly kvBytes: number
  readonly keptBytes: number
}

/** Whether a plan and its K/V fit beside what the others need, each weight counted once. */
export function fitsBeside(terms: EdgeMemoryTerms, use: MemoryUse, plan: Plan, kvTokens: number): boolean {
  const weights = joinWeights(use.weights, weightsOf(terms.model, plan))
  const kvBytes = use.kvBytes + edgeMemory(terms, plan).kvBytesPerToken * kvTokens
  return heldBytes(partBytes(terms), weights) + kvBytes + use.keptBytes <= use.limitBytes
}

/** What a plan may take that shares all of its weights with the others: more than `freeBytes`, and not for every plan. */
export function sharedFreeBytes({ limitBytes, kvBytes, keptBytes }: MemoryUse): number {
  return Math.max(0, limitBytes - kvBytes - keptBytes)
}

/** What `freeBytes` is reckoned from, in bytes. */
interface FreeMemoryTerms {
  /** The limit less all K/V that is reserved or set aside. */
  readonly roomBytes: number
  /** Heads of early exits that the others need: matrices beside the whole model's. */
  readonly exitHeadBytes: number
  /** The whole model, one head of an early exit, and the new request's K/V for all layers. */
  readonly everythingBytes: number
  /** Weights that the others need; null: there are no others. */
  readonly othersBytes: (() => number) | null
  /** Weights that all plans share. */
  readonly pinnedBytes: number
}

/**
 * What the weights and K/V of a new plan may take, whatever plan it is: docs/model.md (30). Unless everything fits,
 * weights of the others are counted beside the new plan's as if, but for what all plans share, nothing were shared.
 */
export function freeBytes(terms: FreeMemoryTerms): number {
  const { roomBytes, exitHeadBytes, everythingBytes, othersBytes, pinnedBytes } = terms
  if (roomBytes - exitHeadBytes >= everythingBytes) return roomBytes - exitHeadBytes
  if (othersBytes === null) return Math.max(0, roomBytes)
  return Math.max(0, roomBytes - othersBytes() + pinnedBytes)
}

/** Bytes of the heads of early exits that are held. */
export function exitHeadBytes(parts: PartBytes, { exits }: HeldWeights): number {
  return exits.reduce((heads, held) => heads + held, 0) * parts.head
}

/** freeBytes beside what the others need; `kvTokens`: what the new request reserves. */
export function freeBytesBeside(terms: EdgeMemoryTerms, use: MemoryUse, kvTokens: number): number {
  const parts = partBytes(terms)
  const { layers } = terms.model
  const wholeKvBytes = layers * attentionUnits(terms.model) * parts.kvPerUnitToken * kvTokens
  const othersBytes = heldBytes(parts, use.weights)
  return freeBytes({
    roomBytes: sharedFreeBytes(use),
    exitHeadBytes: exitHeadBytes(parts, use.weights),
    everythingBytes: wholeModelBytes(terms) + parts.head + wholeKvBytes,
    othersBytes: use.kvBytes + othersBytes === 0 ? null : () => othersBytes,
    pinnedBytes: 0,
  })
}
