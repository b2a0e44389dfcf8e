import { boundaryLoss } from '../profile/accuracy.ts'
import { tokenIdBytes, boundaryBytes, serialisationSeconds, warmLatencySeconds } from './boundary.ts'
import { compileProgram, edgeMemory } from './compile.ts'
import { evaluateProgram, type PlanCost } from './evaluate.ts'
import { edgeJoulesAlone } from './evaluate.ts'
import { exitUse } from './exits.ts'
import { planAccuracyLoss } from './loss.ts'
import { latencyTerm, requestCost, type Objective } from './objective.ts'
import { blockBytes, pairUnits, type Pair } from './pair.ts'
import {
  BOUNDARY_BITS,
  CLOUD,
  EDGE,
  exitPlan,
  sideAfterFfn,
  type BoundaryBits,
  type EarlyExit,
  type Plan,
  type Side,
} from './plan.ts'
import { solve, type Edge, type End, type LayerEdges, type Path, type Problem } from './solve.ts'
import { AttentionTimes, choiceIndex, layerTables, type LayerTables, type PlanningState } from './tables.ts'

/** Prices that a planner adds to the objective for contended resources. */
export interface Prices {
  readonly edgeSecond: number
  readonly cloudSecond: number
  readonly upByte: number
}

export const NO_PRICES: Prices = { edgeSecond: 0, cloudSecond: 0, upByte: 0 }

/** What a plan may be. */
export interface PlanOptions {
  readonly boundaryBits: readonly BoundaryBits[]
  /** Early exits considered (they need the first layers, the embedding and an exit head on the edge). */
  readonly earlyExit: boolean
  /** Thresholds of collaborative exits considered; null for all in the table. */
  readonly exitThresholds: readonly number[] | null
  /** Heads of one layer on both sides, and FFN mode 2. */
  readonly mixedLayers: boolean
  /** Edge memory for weights and K/V, bytes; Infinity for no limit. */
  readonly memoryBytes: number
  /** K/V is reserved for this many tokens. */
  readonly reservedTokens: number
  /** The first and last layers, with embedding and LM head, pinned to the edge. */
  readonly edgeLayersFirst: number
  readonly edgeLayersLast: number
}

export function defaultOptions(pair: Pair, promptTokens: number, outputTokens: number): PlanOptions {
  return {
    boundaryBits: BOUNDARY_BITS,
    earlyExit: false,
    exitThresholds: null,
    mixedLayers: true,
    memoryBytes: pair.edgeMemoryBytes,
    reservedTokens: Math.min(pair.model.contextTokens, promptTokens + outputTokens),
    edgeLayersFirst: 0,
    edgeLayersLast: 0,
  }
}

export interface OracleInput {
  readonly pair: Pair
  readonly state: PlanningState
  readonly objective: Objective
  readonly readingTokensPerSecond: number
  readonly options: PlanOptions
  readonly prices: Prices
}

export interface OracleAnswer {
  readonly plan: Plan
  /** Objective plus prices, the value that is minimal. */
  readonly value: number
}

/** The best plan of one request under a constant link (physics.md section 4), or null if none fits. Exact. */
export function optimalPlan(input: OracleInput): OracleAnswer | null {
  const times = new AttentionTimes(input.pair, input.state)
  let best: OracleAnswer | null = null
  if (reachable(input)) {
    for (const bits of input.options.boundaryBits) {
      const found = bestSplit(input, bits, times, best?.value ?? Infinity)
      if (found !== null) best = found
    }
  } else {
    best = pricedPlan(input, edgeOnlyPlan(input), best)
  }
  if (input.options.earlyExit) {
    for (const plan of exitPlans(input.pair, input.options)) {
      if (reachable(input) || plan.exit?.mode === 'standalone') best = pricedPlan(input, plan, best)
    }
  }
  return best
}

function reachable(input: OracleInput): boolean {
  return input.state.link.upBitsPerSecond > 0 && input.state.link.downBitsPerSecond > 0
}

function edgeOnlyPlan(input: OracleInput): Plan {
  const { layers } = input.pair.model
  return {
    embed: EDGE,
    unitsOnCloud: new Uint8Array(layers),
    ffn: new Uint8Array(layers),
    head: EDGE,
    boundaryBits: 32,
    exit: null,
  }
}

/** Every early-exit plan that the table and the pinned ends allow. */
export function exitPlans(pair: Pair, options: PlanOptions): Plan[] {
  if (options.edgeLayersLast > 0) return []
  const plans: Plan[] = []
  const layers = new Set<number>()
  for (const { layer, threshold } of pair.accuracy.exits) {
    if (layer < options.edgeLayersFirst) continue
    // Standalone never looks at the confidence: one plan a layer.
    if (!layers.has(layer))
      plans.push(exitPlan(pair.model.layers, pairUnits(pair), { layer, threshold, mode: 'standalone' }, 32))
    layers.add(layer)
    if (options.exitThresholds !== null && !options.exitThresholds.includes(threshold)) continue
    for (const bits of options.boundaryBits) {
      plans.push(
        exitPlan(pair.model.layers, pairUnits(pair), { layer, threshold, mode: 'collaborative' }, bits),
      )
    }
  }
  return plans
}

/** Whether a plan's weights and reserved K/V fit the edge. */
export function fitsEdge(
  pair: Pair,
  plan: Plan,
  options: Pick<PlanOptions, 'memoryBytes' | 'reservedTokens'>,
): boolean {
  const { weightBytes, kvBytesPerToken } = edgeMemory(pair, plan)
  return weightBytes + kvBytesPerToken * options.reservedTokens <= options.memoryBytes
}

function pricedPlan(input: OracleInput, plan: Plan, best: OracleAnswer | null): OracleAnswer | null {
  if (!fitsEdge(input.pair, plan, input.options)) return best
  const value = plan.exit === null ? planValue(input, plan) : exitValue(input, plan, plan.exit)
  return best !== null && best.value <= value ? best : { plan, value }
}

/** planValue of an early-exit plan, summed without its program. */
function exitValue(input: OracleInput, plan: Plan, exit: EarlyExit): number {
  const { pair, objective, prices } = input
  const use = exitUse(pair, input.state, exit, plan.boundaryBits, input.readingTokensPerSecond)
  const used = requestCost(objective.weights, {
    latencySeconds: latencyTerm(objective.latency, use.ttftSeconds, use.e2eSeconds, use.stallSeconds),
    edgeJoules: edgeJoulesAlone(pair.power, use),
    cloudSeconds: use.cloudSeconds,
    upBytes: use.upBytes,
    accuracyLoss: planAccuracyLoss(pair.accuracy, pairUnits(pair), plan),
  })
  return (
    used +
    prices.edgeSecond * use.edgeSeconds +
    prices.cloudSecond * use.cloudSeconds +
    prices.upByte * use.upBytes
  )
}

/** Objective plus prices of any plan in a state. */
export function planValue(input: OracleInput, plan: Plan): number {
  const used = planCost(input, plan)
  return (
    used.cost +
    input.prices.edgeSecond * used.edgeSeconds +
    input.prices.cloudSecond * used.cloudSeconds +
    input.prices.upByte * used.upBytes
  )
}

/** What any plan takes in a state: the program's walk, with each side as slow as it was seen to be. */
export function planCost(input: Omit<OracleInput, 'options' | 'prices'>, plan: Plan): PlanCost {
  const { state, pair } = input
  const program = compileProgram(pair, plan, {
    promptTokens: state.promptTokens,
    loadBytes: 0,
    decisionSeconds: 0,
  })
  const slowed =
    state.edgeSlowdown === 1 && state.cloudSlowdown === 1
      ? program
      : slowProgram(program, state.edgeSlowdown, state.cloudSlowdown)
  return evaluateProgram(slowed, { ...input, ...state })
}

function slowProgram(
  program: ReturnType<typeof compileProgram>,
  edge: number,
  cloud: number,
): typeof program {
  const list = (stages: typeof program.prefill): typeof program.prefill => ({
    ...stages,
    stages: stages.stages.map((stage) => {
      const factor = stage.resource === 0 ? edge : stage.resource === 2 ? cloud : 1
      return factor === 1
        ? stage
        : {
            ...stage,
            seconds: factor * stage.seconds,
            curve: stage.curve?.map((value) => factor * value) ?? null,
          }
    }),
  })
  return { ...program, prefill: list(program.prefill), cycles: program.cycles.map(list) }
}

function bestSplit(
  input: OracleInput,
  bits: BoundaryBits,
  times: AttentionTimes,
  bound: number,
): OracleAnswer | null {
  const tables = layerTables(input.pair, input.state, bits, times, input.options.mixedLayers)
  const layers = layerEdges(input, tables, bits)
  const pinned = input.options.edgeLayersFirst + input.options.edgeLayersLast > 0
  const sides: readonly Side[] = pinned ? [EDGE] : [EDGE, CLOUD]
  let best: OracleAnswer | null = null
  for (const embed of sides) {
    for (const head of sides) {
      const path = solve(problemOf(input, bits, layers, embed, head), best?.value ?? bound)
      if (path !== null) best = { plan: planOf(path, embed, head, bits), value: path.value }
    }
  }
  return best
}

function planOf(path: Path, embed: Side, head: Side, bits: BoundaryBits): Plan {
  return {
    embed,
    unitsOnCloud: Uint8Array.from(path.edges, (edge) => edge.unitsOnCloud),
    ffn: Uint8Array.from(path.edges, (edge) => edge.ffn),
    head,
    boundaryBits: bits,
    exit: null,
  }
}

/** Coefficients of the additive part of the objective, and what is left to the penalty on time. */
interface Terms {
  readonly prefillSecond: number
  readonly decodeSecond: number
  readonly edgeSecond: number
  readonly cloudSecond: number
  readonly upByte: number
  readonly downByte: number
  readonly message: number
  readonly crossing: number
  /** Weight of prefill and decode seconds in the penalised time. */
  readonly timeOfPrefill: number
  readonly timeOfDecode: number
}

function termsOf(input: OracleInput, bits: BoundaryBits): Terms {
  const { weights, latency } = input.objective
  const { power, accuracy } = input.pair
  const idle = weights.energy * power.idleWatts
  const perByte = weights.energy * power.radioJoulesPerByte
  const qoe = latency.form === 'qoe'
  return {
    prefillSecond: weights.latency + idle,
    decodeSecond: (qoe ? 0 : weights.latency) + idle,
    edgeSecond: weights.energy * (power.busyWatts - power.idleWatts) + input.prices.edgeSecond,
    cloudSecond: weights.cloud + input.prices.cloudSecond,
    upByte: weights.bytes / 1e6 + perByte + input.prices.upByte,
    downByte: perByte,
    message: weights.energy * power.radioJoulesPerMessage,
    crossing: weights.accuracy * boundaryLoss(accuracy, bits),
    timeOfPrefill: latency.form === 'convex' ? 1 : 0,
    timeOfDecode: latency.form === 'mean' ? 0 : 1,
  }
}

/** The penalty on time, with lines below it that make good relaxations. */
function penaltyOf(input: OracleInput): Pick<Problem, 'penalty' | 'tangents'> {
  const { weights, latency } = input.objective
  const w = weights.latency
  if (latency.form === 'mean') return { penalty: () => 0, tangents: [{ slope: 0, intercept: 0 }] }
  if (latency.form === 'qoe') {
    const allowance = (input.state.outputTokens - 1) / input.readingTokensPerSecond
    const tangents = [0, 0.25, 0.5, 0.75, 1].map((part) => ({
      slope: part * w,
      intercept: -part * w * allowance,
    }))
    return { penalty: (time) => w * Math.max(0, time - allowance), tangents }
  }
  const { deadlineSeconds } = latency
  const tangents = [0, 0.1, 0.3, 1, 3, 10, 30, 100].map((late) => ({
    slope: 2 * w * late,
    intercept: -w * late * (late + 2 * deadlineSeconds),
  }))
  return { penalty: (time) => w * Math.max(0, time - deadlineSeconds) ** 2, tangents }
}

function layerEdges(input: OracleInput, tables: LayerTables, bits: BoundaryBits): LayerEdges[] {
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
function problemOf(
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
  start.compute(embed, embedSeconds(input, embed, state.promptTokens), 1, 0)
  start.compute(embed, embedSeconds(input, embed, 1), 0, cycles)
  const endFrom = (side: Side): End => {
    const tally = new Tally(input, terms)
    if (side !== head) {
      tally.message(side, boundaryBytes(pair.network, 1, pair.model.width, bits), 1, cycles)
      tally.cost += terms.crossing
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
