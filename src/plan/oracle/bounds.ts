import { boundaryLoss } from '../profile/accuracy.ts'
import { tokenIdBytes, serialisationSeconds, warmLatencySeconds, type LinkState } from '../price/boundary.ts'
import type { Link, RequestArrival } from '../../trace/types.ts'
import { energyPrices } from '../price/energy.ts'
import type { Objective } from '../price/objective.ts'
import { pairUnits, type DevicePair } from '../price/pair.ts'
import { sideAfterFfn, type BoundaryBits } from '../plan.ts'
import { AttentionTimes, choiceIndex, layerTables, type LayerTables } from './tables.ts'
import { type PlanningState } from '../price/question.ts'

/** Inputs of a bound for one request, including the best state of the link during its lifetime. */
export interface BoundInput {
  readonly pair: DevicePair
  readonly objective: Objective
  readonly readingTokensPerSecond: number
  /** Highest rates and lowest RTT between arrival and the latest considered finish. */
  readonly bestLink: LinkState
  readonly promptTokens: number
  readonly outputTokens: number
  readonly boundaryBits: readonly BoundaryBits[]
  readonly earlyExit: boolean
}

/**
 * Contexts are grouped in steps of this many tokens; the cost at a step's lower end is a lower bound for its tokens.
 */
const CONTEXT_STEP = 16

/** Weights of one linear relaxation of the objective. */
interface Weighting {
  readonly prefillSecond: number
  readonly decodeSecond: number
  readonly intercept: number
}

/**
 * A lower bound of one request's cost under any policy, docs/model.md (56): no queueing, every transfer at the link's
 * best rates, a free choice of plan for each token, marginal energy only, weights in memory, best batch rate.
 */
export function requestLowerBound(input: BoundInput): number {
  const choices = weightings(input)
  const first = passOf(input, input.promptTokens, true)
  const costs = choices.map((weighting) => weighting.intercept + passCost(input, weighting, first))
  // After a re-plan a token comes from another prefill, of this prompt or a longer one.
  const again = choices.map((weighting) =>
    passCost(input, { ...weighting, prefillSecond: weighting.decodeSecond }, first),
  )
  const last = input.promptTokens + input.outputTokens - 1
  for (let context = input.promptTokens + 1; context <= last; context += CONTEXT_STEP) {
    const tokens = Math.min(CONTEXT_STEP, last - context + 1)
    const pass = passOf(input, context, false)
    choices.forEach((weighting, i) => {
      costs[i] += tokens * Math.min(passCost(input, weighting, pass), again[i])
    })
  }
  return Math.max(0, ...costs)
}

/**
 * The bound of a request on a link for any policy that finishes it by `untilSeconds` (absolute), from the highest rates
 * and the lowest RTT between its arrival and then.
 */
export function lowerBoundUntil(
  problem: Omit<BoundInput, 'bestLink' | 'promptTokens' | 'outputTokens'>,
  link: Link,
  { arrivalSeconds, promptTokens, outputTokens }: RequestArrival,
  untilSeconds: number,
): number {
  const bestLink = {
    upBitsPerSecond: link.bestBitsPerSecond('up', arrivalSeconds, untilSeconds),
    downBitsPerSecond: link.bestBitsPerSecond('down', arrivalSeconds, untilSeconds),
    rttSeconds: link.bestRttSeconds(arrivalSeconds, untilSeconds),
  }
  return requestLowerBound({ ...problem, bestLink, promptTokens, outputTokens })
}

/** Every weighting gives a bound, because the penalty on time is convex and so lies above each of its tangents. */
function weightings(input: BoundInput): Weighting[] {
  const { latency, weights } = input.objective
  const w = weights.latency
  if (latency.form === 'mean') return [{ prefillSecond: w, decodeSecond: w, intercept: 0 }]
  if (latency.form === 'qoe') {
    const allowance = (input.outputTokens - 1) / input.readingTokensPerSecond
    return [0, 0.5, 1].map((part) => ({
      prefillSecond: w,
      decodeSecond: part * w,
      intercept: -part * w * allowance,
    }))
  }
  const { deadlineSeconds } = latency
  return [0, 0.3, 1, 3, 10, 30].map((late) => {
    const second = w * (1 + 2 * late)
    return {
      prefillSecond: second,
      decodeSecond: second,
      intercept: -w * late * (late + 2 * deadlineSeconds),
    }
  })
}

/** One pass through the layers: the prompt's, or that of one token at a context. */
interface Pass {
  readonly prefill: boolean
  /** Tokens of the prompt, or 1. */
  readonly tokens: number
  readonly times: AttentionTimes
  readonly tables: readonly { readonly bits: BoundaryBits; readonly of: LayerTables }[]
}

function passOf(input: BoundInput, context: number, prefill: boolean): Pass {
  const state: PlanningState = {
    link: input.bestLink,
    promptTokens: prefill ? context : context - 1,
    outputTokens: prefill ? 1 : 2,
    edgeSlowdown: 1,
    cloudSlowdown: 1,
  }
  const times = new AttentionTimes(input.pair, state, prefill ? 'prefill' : 'decode')
  const tables = input.boundaryBits.map((bits) => ({ bits, of: layerTables(input.pair, state, bits, times) }))
  return { prefill, tokens: prefill ? context : 1, times, tables }
}

/** The lowest cost of one pass. */
function passCost(input: BoundInput, weighting: Weighting, pass: Pass): number {
  const price = new PassPrice(input, weighting, pass.prefill)
  let least = input.earlyExit ? exitCost(input, price, pass) : Infinity
  for (const { bits, of } of pass.tables) least = Math.min(least, splitCost(input, price, of, bits, pass))
  return least
}

/** Prices of what a pass uses, with marginal energy only. */
class PassPrice {
  readonly second: number
  readonly edgeSecond: number
  readonly cloudSecond: number
  readonly upByte: number
  readonly downByte: number
  readonly message: number
  readonly nat: number

  constructor(input: BoundInput, weighting: Weighting, prefill: boolean) {
    const { weights } = input.objective
    const energy = energyPrices(input.pair.power, weights.energy)
    this.second = prefill ? weighting.prefillSecond : weighting.decodeSecond
    this.edgeSecond = Math.max(0, energy.computeSecond)
    this.cloudSecond = weights.cloud
    this.downByte = energy.byte
    this.upByte = weights.bytes / 1e6 + this.downByte
    this.message = energy.message
    // A request's accuracy loss is a mean over its tokens.
    this.nat = weights.accuracy / input.outputTokens
  }

  choice(tables: LayerTables, at: number, prefill: boolean, lossPerCrossing: number): number {
    return (
      this.second * (prefill ? tables.prefillSeconds[at] : tables.decodeSeconds[at]) +
      this.edgeSecond * tables.edgeSeconds[at] +
      this.cloudSecond * tables.cloudSeconds[at] +
      this.upByte * tables.upBytes[at] +
      this.downByte * tables.downBytes[at] +
      this.message * tables.messages[at] +
      this.nat * lossPerCrossing * tables.crossings[at]
    )
  }
}

/**
 * Shortest path through the layers. The sides where a token starts and ends are free, except for sending the prompt up
 * and the answer down.
 */
function splitCost(
  input: BoundInput,
  price: PassPrice,
  tables: LayerTables,
  bits: BoundaryBits,
  { prefill, tokens }: Pass,
): number {
  const { pair } = input
  const loss = boundaryLoss(pair.accuracy, bits)
  const step = leastSteps(tables, price, prefill, loss)
  // A pass begins with one call; the tables contain the further calls.
  const { edge: onEdge, cloud: inCloud } = pair
  let edge = (price.second + price.edgeSecond) * (onEdge.dispatchSeconds + onEdge.embedSeconds(tokens))
  let cloud = (price.second + price.cloudSecond) * (inCloud.dispatchSeconds + inCloud.embedSeconds(tokens))
  if (prefill) cloud += messageCost(input, price, 'up', tokens)
  for (let layer = 0; layer < pair.model.layers; layer++) {
    const toEdge = Math.min(edge + step[0][0], cloud + step[1][0])
    cloud = Math.min(edge + step[0][1], cloud + step[1][1])
    edge = toEdge
  }
  // A change of side for the lm_head alone costs nothing here, which keeps this a lower bound.
  const headOnEdge = (price.second + price.edgeSecond) * pair.edge.headSeconds()
  const headInCloud = (price.second + price.cloudSecond) * pair.cloud.headSeconds()
  const answer = prefill ? messageCost(input, price, 'down', 1) : 0
  return Math.min(edge, cloud) + Math.min(headOnEdge, headInCloud + answer)
}

/** Lowest cost of a layer from side s to side s'. */
function leastSteps(
  tables: LayerTables,
  price: PassPrice,
  prefill: boolean,
  loss: number,
): [[number, number], [number, number]] {
  const least: [[number, number], [number, number]] = [
    [Infinity, Infinity],
    [Infinity, Infinity],
  ]
  for (const side of [0, 1] as const) {
    for (let k = 0; k <= tables.units; k++) {
      for (let ffn = 0; ffn < 3; ffn++) {
        const cost = price.choice(tables, choiceIndex(tables.units, side, k, ffn), prefill, loss)
        const next = sideAfterFfn(ffn)
        if (cost < least[side][next]) least[side][next] = cost
      }
    }
  }
  return least
}

/** Cost of sending token ids over the link at its best. */
function messageCost(input: BoundInput, price: PassPrice, direction: 'up' | 'down', tokens: number): number {
  const { bestLink, pair } = input
  const bytes = tokenIdBytes(pair.network, tokens)
  const rate = direction === 'up' ? bestLink.upBitsPerSecond : bestLink.downBitsPerSecond
  const seconds = serialisationSeconds(rate, bytes) + warmLatencySeconds(pair.network, bestLink, bytes)
  // A link that never carries anything: impossible, whatever the price of a second.
  if (seconds === Infinity) return Infinity
  return price.second * seconds + (direction === 'up' ? price.upByte : price.downByte) * bytes + price.message
}

/** A token that leaves at an exit: its edge work, and the smallest loss of any exit there. */
function exitCost(input: BoundInput, price: PassPrice, { prefill, tokens, times }: Pass): number {
  const { pair } = input
  const units = pairUnits(pair)
  const layer =
    (prefill ? times.prefill[0][units] : times.decodeSum[0][units]) + pair.edge.ffnSeconds('whole', tokens)
  const ends = pair.edge.dispatchSeconds + pair.edge.embedSeconds(tokens) + pair.edge.headSeconds()
  let least = Infinity
  for (const exit of pair.accuracy.exits) {
    const loss = Math.min(exit.standaloneLoss.value, exit.collaborativeLoss.value)
    const seconds = exit.layer * layer + ends
    least = Math.min(least, (price.second + price.edgeSecond) * seconds + price.nat * loss)
  }
  return least
}
