import { boundaryBytes, serialisationSeconds, tokenIdBytes, warmLatencySeconds } from './boundary.ts'
import { blockBytes, callCosts } from './pair.ts'
import { CLOUD, EDGE, sideAfterFfn, type BoundaryBits, type Side } from './plan.ts'
import type { OracleInput } from './question.ts'
import type { Edge, End, LayerEdges, Problem } from './solve.ts'
import { choiceIndex, type LayerTables } from './tables.ts'
import { penaltyOf, termsOf, type Terms } from './terms.ts'

/** Every layer's choices, as edges of the shortest path. Equal layers share theirs. */
export function layerEdges(input: OracleInput, tables: LayerTables, bits: BoundaryBits): LayerEdges[] {
  const { layers } = input.pair.model
  const { edgeLayersFirst, edgeLayersLast } = input.options
  const terms = termsOf(input, bits)
  const limited = Number.isFinite(input.options.memoryBytes)
  const timed = terms.timeOfDecode > 0
  const free = [
    edgesFrom(input, tables, terms, 0, limited, timed),
    edgesFrom(input, tables, terms, 1, limited, timed),
  ] as const
  const stay = (edge: Edge): boolean => edge.unitsOnCloud === 0 && edge.ffn === 0
  const pinned: LayerEdges = [
    allEdges(input, tables, terms, 0).filter(stay),
    allEdges(input, tables, terms, 1).filter(stay),
  ]
  return Array.from({ length: layers }, (_, layer) =>
    layer < edgeLayersFirst || layer >= layers - edgeLayersLast ? pinned : free,
  )
}

function allEdges(input: OracleInput, tables: LayerTables, terms: Terms, side: Side): Edge[] {
  const edges: Edge[] = []
  for (let k = 0; k <= tables.units; k++) {
    for (let ffn = 0; ffn < 3; ffn++) {
      if (!input.options.mixedLayers && ffn === 2) continue
      const at = choiceIndex(tables.units, side, k, ffn)
      if (tables.prefillSeconds[at] === Infinity) continue
      edges.push(edgeOf(input, tables, terms, at, k, ffn))
    }
  }
  return edges
}

/** Choices from one side, less those that another choice with the same next side betters in every respect. */
function edgesFrom(
  input: OracleInput,
  tables: LayerTables,
  terms: Terms,
  side: Side,
  limited: boolean,
  timed: boolean,
): Edge[] {
  const better = (a: Edge, b: Edge): boolean =>
    a.next === b.next && a.cost <= b.cost && (!timed || a.time <= b.time) && (!limited || a.bytes <= b.bytes)
  const kept: Edge[] = []
  for (const edge of allEdges(input, tables, terms, side).sort((a, b) => a.cost - b.cost)) {
    if (!kept.some((other) => better(other, edge))) kept.push(edge)
  }
  return kept
}

function edgeOf(
  input: OracleInput,
  tables: LayerTables,
  terms: Terms,
  at: number,
  k: number,
  ffn: number,
): Edge {
  const bytes = blockBytes(input.pair.model, input.pair.edgePrecision)
  const unit = bytes.unit + bytes.kvPerUnitToken * input.options.reservedTokens
  const prefill = tables.prefillSeconds[at]
  const decode = tables.decodeSeconds[at]
  return {
    next: sideAfterFfn(ffn),
    unitsOnCloud: k,
    ffn,
    cost:
      terms.prefillSecond * prefill +
      terms.decodeSecond * decode +
      terms.edgeSecond * tables.edgeSeconds[at] +
      terms.cloudSecond * tables.cloudSeconds[at] +
      terms.upByte * tables.upBytes[at] +
      terms.downByte * tables.downBytes[at] +
      terms.message * tables.messages[at] +
      terms.crossing * tables.crossings[at],
    time: terms.timeOfPrefill * prefill + terms.timeOfDecode * decode,
    bytes: (tables.units - k) * unit + (ffn === 1 ? 0 : bytes.ffnFirst) + (ffn === 0 ? bytes.ffnSecond : 0),
  }
}

/** Embedding, LM head, token ids and the closing of the decode cycle around the layers. */
export function problemOf(
  input: OracleInput,
  bits: BoundaryBits,
  layers: readonly LayerEdges[],
  embed: Side,
  head: Side,
): Problem {
  const { pair, state } = input
  const terms = termsOf(input, bits)
  const bytes = blockBytes(pair.model, pair.edgePrecision)
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
    return { cost: tally.cost, time: tally.time, bytes: headBytes(input, embed, head, bytes.head) }
  }
  return {
    layers,
    startSide: embed,
    start: { cost: start.cost, time: start.time, bytes: embed === EDGE ? bytes.embed : 0 },
    end: [endFrom(EDGE), endFrom(CLOUD)],
    ...penaltyOf(input),
    memoryBytes: input.options.memoryBytes,
  }
}

function headBytes(input: OracleInput, embed: Side, head: Side, bytes: number): number {
  return head === CLOUD || (input.pair.model.tiedHead && embed === EDGE) ? 0 : bytes
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

/** Sums the cost and penalised time of steps done `prefills` times in prefill and `decodes` times in decode. */
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

  /** A token id to the user: in the cycle where the edge embeds the next token, beside it where the cloud does. */
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
