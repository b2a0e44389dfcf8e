import { boundaryBytes, serialisationSeconds, tokenIdBytes, warmLatencySeconds } from '../price/boundary.ts'
import { endBytes, ffnFirstOnEdge, ffnSecondOnEdge, layerBytes, partBytes } from '../price/memory.ts'
import { callCosts } from '../price/pair.ts'
import { CLOUD, EDGE, sideAfterFfn, type BoundaryBits, type Side } from '../plan.ts'
import type { OracleInput } from '../price/question.ts'
import type { LayerTransition, End, LayerTransitions, Problem } from './solve.ts'
import { choiceIndex, type LayerTables } from './tables.ts'
import { penaltyOf, termsOf, type Terms } from './terms.ts'

/** Every layer's choices, as transitions of the shortest path. Equal layers share theirs. */
export function layerEdges(input: OracleInput, tables: LayerTables, bits: BoundaryBits): LayerTransitions[] {
  const { layers } = input.pair.model
  const { edgeLayersFirst, edgeLayersLast } = input.options
  const terms = termsOf(input, bits)
  const all = [weightsFrom(input, tables, terms, 0), weightsFrom(input, tables, terms, 1)] as const
  const free = [bestEdges(input, all[0], terms), bestEdges(input, all[1], terms)] as const
  const list = new Array<LayerTransitions>(layers).fill(free)
  if (edgeLayersFirst + edgeLayersLast === 0) return list
  const pinned: LayerTransitions = [stayEdges(all[0]), stayEdges(all[1])]
  return list.map((edges, layer) =>
    layer < edgeLayersFirst || layer >= layers - edgeLayersLast ? pinned : edges,
  )
}

/** All choices from one side, in columns; objects are created only for the few that are useful. */
interface Weights {
  readonly count: number
  /** Index in the tables. */
  readonly at: Int32Array
  readonly unitsOnCloud: Int32Array
  readonly ffn: Int32Array
  readonly cost: Float64Array
  readonly time: Float64Array
  readonly bytes: Float64Array
}

function weightsFrom(input: OracleInput, tables: LayerTables, terms: Terms, side: Side): Weights {
  const most = 3 * (tables.units + 1)
  const [whole, real] = [new Int32Array(3 * most), new Float64Array(3 * most)]
  const at = whole.subarray(0, most)
  const unitsOnCloud = whole.subarray(most, 2 * most)
  const ffn = whole.subarray(2 * most)
  let count = 0
  for (let k = 0; k <= tables.units; k++) {
    for (let mode = 0; mode < 3; mode++) {
      if (!input.options.mixedLayers && mode === 2) continue
      const place = choiceIndex(tables.units, side, k, mode)
      if (tables.prefillSeconds[place] === Infinity) continue
      at[count] = place
      unitsOnCloud[count] = k
      ffn[count++] = mode
    }
  }
  const [cost, time] = [real.subarray(0, most), real.subarray(most, 2 * most)]
  const weights = { count, at, unitsOnCloud, ffn, cost, time, bytes: real.subarray(2 * most) }
  weigh(input, tables, terms, weights)
  return weights
}

function weigh(input: OracleInput, tables: LayerTables, terms: Terms, weights: Weights): void {
  const { count, at, unitsOnCloud, ffn, cost, time, bytes } = weights
  const parts = partBytes(input.pair)
  const { reservedTokens } = input.options
  for (let i = 0; i < count; i++) {
    const place = at[i]
    const prefill = tables.prefillSeconds[place]
    const decode = tables.decodeSeconds[place]
    cost[i] =
      terms.prefillSecond * prefill +
      terms.decodeSecond * decode +
      terms.edgeSecond * tables.edgeSeconds[place] +
      terms.cloudSecond * tables.cloudSeconds[place] +
      terms.upByte * tables.upBytes[place] +
      terms.downByte * tables.downBytes[place] +
      terms.message * tables.messages[place] +
      terms.crossing * tables.crossings[place]
    time[i] = terms.timeOfPrefill * prefill + terms.timeOfDecode * decode
    bytes[i] = layerBytes(
      parts,
      tables.units - unitsOnCloud[i],
      ffnFirstOnEdge(ffn[i]),
      ffnSecondOnEdge(ffn[i]),
      reservedTokens,
    )
  }
}

function edgeOf({ unitsOnCloud, ffn, cost, time, bytes }: Weights, i: number): LayerTransition {
  return {
    next: sideAfterFfn(ffn[i]),
    unitsOnCloud: unitsOnCloud[i],
    ffn: ffn[i],
    cost: cost[i],
    time: time[i],
    bytes: bytes[i],
  }
}

function stayEdges(weights: Weights): LayerTransition[] {
  const edges: LayerTransition[] = []
  for (let i = 0; i < weights.count; i++) {
    if (weights.unitsOnCloud[i] === 0 && weights.ffn[i] === 0) edges.push(edgeOf(weights, i))
  }
  return edges
}

/**
 * Choices from which those are removed that another choice with the same next side beats in every respect, by rising
 * cost.
 */
function bestEdges(input: OracleInput, weights: Weights, terms: Terms): LayerTransition[] {
  const limited = Number.isFinite(input.options.memoryBytes)
  const timed = terms.timeOfDecode > 0
  const { count, ffn, cost, time, bytes } = weights
  const better = (a: number, b: number): boolean =>
    sideAfterFfn(ffn[a]) === sideAfterFfn(ffn[b]) &&
    cost[a] <= cost[b] &&
    (!timed || time[a] <= time[b]) &&
    (!limited || bytes[a] <= bytes[b])
  const order: number[] = []
  for (let i = 0; i < count; i++) {
    if (!isWorse(weights, i, better)) order.push(i)
  }
  const kept: number[] = []
  for (const i of order.sort((a, b) => cost[a] - cost[b])) {
    let bettered = false
    for (let j = 0; j < kept.length && !bettered; j++) bettered = better(kept[j], i)
    if (!bettered) kept.push(i)
  }
  return kept.map((i) => edgeOf(weights, i))
}

/** Choices with the whole layer on one side beat most others, which then need not be sorted. */
function isWorse(weights: Weights, i: number, better: (a: number, b: number) => boolean): boolean {
  const { count, cost } = weights
  for (let end = 0; end < 6; end++) {
    const whole = end < 3 ? end : count - 6 + end
    if (whole >= 0 && whole < count && cost[whole] < cost[i] && better(whole, i)) return true
  }
  return false
}

/**
 * Adds embedding, lm_head, token ids and the closing of the decode cycle to the layers. Like the tables, these are sums
 * by choice, not an evaluation; test/plan/tables.test.ts holds both to `evaluateProgram`.
 */
export function problemOf(
  input: OracleInput,
  bits: BoundaryBits,
  layers: readonly LayerTransitions[],
  embed: Side,
  head: Side,
): Problem {
  const { pair, state } = input
  const terms = termsOf(input, bits)
  const parts = partBytes(pair)
  const startBytes = endBytes(parts, embed === EDGE, false, 0)
  const headBytes = endBytes(parts, embed === EDGE, head === EDGE, 0) - startBytes
  const start = new Tally(input, terms)
  const cycles = state.outputTokens - 1
  if (embed === CLOUD) start.message(EDGE, tokenIdBytes(pair.network, state.promptTokens), 1, 0)
  if (embed === CLOUD && head === EDGE) start.message(EDGE, tokenIdBytes(pair.network, 1), 0, cycles)
  start.compute(embed, callSeconds(input, embed, true), 1, 0)
  start.compute(embed, callSeconds(input, embed, embed !== head), 0, cycles)
  start.compute(embed, embedSeconds(input, embed, state.promptTokens), 1, 0)
  start.compute(embed, embedSeconds(input, embed, 1), 0, cycles)
  const endFrom = (side: Side): End => {
    const tally = new Tally(input, terms)
    if (side !== head) {
      tally.message(side, boundaryBytes(pair.network, 1, pair.model.width, bits), 1, cycles)
      tally.cost += terms.crossing
      tally.compute(head, callSeconds(input, head, true), 1, cycles)
    }
    tally.compute(head, headSeconds(input, head), 1, cycles)
    if (head === CLOUD) tally.delivery(embed, cycles)
    return { cost: tally.cost, time: tally.time, bytes: headBytes }
  }
  return {
    layers,
    startSide: embed,
    start: { cost: start.cost, time: start.time, bytes: startBytes },
    end: [endFrom(EDGE), endFrom(CLOUD)],
    ...penaltyOf(input),
    memoryBytes: input.options.memoryBytes,
  }
}

function callSeconds({ pair, state }: OracleInput, side: Side, afterPause: boolean): number {
  const { dispatch, wake } = callCosts(pair)
  const slowdown = side === EDGE ? state.edgeSlowdown : state.cloudSlowdown
  return slowdown * (dispatch[side] + (afterPause ? wake[side] : 0))
}

function embedSeconds(input: OracleInput, side: Side, tokens: number): number {
  return side === EDGE
    ? input.state.edgeSlowdown * input.pair.edge.embedSeconds(tokens)
    : input.state.cloudSlowdown * input.pair.cloud.embedSeconds(tokens)
}

function headSeconds(input: OracleInput, side: Side): number {
  return side === EDGE
    ? input.state.edgeSlowdown * input.pair.edge.headSeconds()
    : input.state.cloudSlowdown * input.pair.cloud.headSeconds()
}

/** Sums the cost and penalised time of steps that occur `prefills` times in prefill and `decodes` times in decode. */
class Tally {
  cost = 0
  time = 0
  private readonly input: OracleInput
  private readonly terms: Terms

  constructor(input: OracleInput, terms: Terms) {
    this.input = input
    this.terms = terms
  }

  compute(side: Side, seconds: number, prefills: number, decodes: number): void {
    this.seconds(seconds, prefills, decodes)
    this.cost +=
      (side === EDGE ? this.terms.edgeSecond : this.terms.cloudSecond) * seconds * (prefills + decodes)
  }

  message(from: Side, bytes: number, prefills: number, decodes: number): void {
    this.seconds(this.messageSeconds(from, bytes), prefills, decodes)
    this.bytes(from, bytes, prefills + decodes)
  }

  /** A token id sent to the user: part of the cycle if the edge embeds the next token, beside it if the cloud does. */
  delivery(embed: Side, decodes: number): void {
    const bytes = tokenIdBytes(this.input.pair.network, 1)
    this.seconds(this.messageSeconds(CLOUD, bytes), 1, embed === EDGE ? decodes : 0)
    this.bytes(CLOUD, bytes, 1 + decodes)
  }

  private seconds(seconds: number, prefills: number, decodes: number): void {
    this.cost += seconds * (prefills * this.terms.prefillSecond + decodes * this.terms.decodeSecond)
    this.time += seconds * (prefills * this.terms.timeOfPrefill + decodes * this.terms.timeOfDecode)
  }

  private bytes(from: Side, bytes: number, times: number): void {
    this.cost +=
      times * ((from === EDGE ? this.terms.upByte : this.terms.downByte) * bytes + this.terms.message)
  }

  private messageSeconds(from: Side, bytes: number): number {
    const { link } = this.input.state
    const rate = from === EDGE ? link.upBitsPerSecond : link.downBitsPerSecond
    return serialisationSeconds(rate, bytes) + warmLatencySeconds(this.input.pair.network, link, bytes)
  }
}
