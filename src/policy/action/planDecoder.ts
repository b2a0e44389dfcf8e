import { pairUnits } from '../../plan/price/pair.ts'
import { boundaryBytes, serialisationSeconds } from '../../plan/price/boundary.ts'
import {
  edgeMemory,
  endBytes,
  ffnFirstOnEdge,
  ffnSecondOnEdge,
  layerBytes,
  partBytes,
  type PartBytes,
} from '../../plan/price/memory.ts'
import { sumCurve } from '../../plan/price/curves.ts'
import { layerCrossings } from '../../plan/price/loss.ts'
import { exitPlans } from '../../plan/oracle/value.ts'
import {
  CLOUD,
  EDGE,
  endsNeedCloud,
  sideAfterFfn,
  type BoundaryBits,
  type EarlyExit,
  type Plan,
  type Side,
} from '../../plan/plan.ts'
import { expectedCloudSlowdown, isOutage, type DecisionProblem } from '../../plan/price/problem.ts'
import type { Situation } from '../../plan/price/situation.ts'

/** A plan-wide choice: the first row of an action. */
export interface GlobalChoice {
  readonly boundaryBits: BoundaryBits
  readonly embed: Side
  readonly head: Side
  readonly exit: EarlyExit | null
}

/** Names of a layer row's features: everything about the earlier rows that matters for this one. */
export const ROW_FEATURE_NAMES = [
  'residualOnEdge',
  'residualInCloud',
  'layerShare',
  'edgeSecondsShare',
  'cloudSecondsShare',
  'log1pLinkSeconds',
  'crossingsPerLayer',
  'memoryShare',
  'headInCloud',
  'logBoundaryBits',
] as const

/** Number of features of a layer row. */
export const ROW_FEATURE_SIZE = ROW_FEATURE_NAMES.length

/** Version of rows, features and masks; a bundle with another version is refused. */
export const ACTION_VERSION = 2

/** How often an untrained policy leaves the residual's side in a whole plan, about. */
const INITIAL_MOVES_PER_PLAN = 0.3

/** Every plan-wide choice of a problem, in a fixed order. */
export function globalChoices(problem: DecisionProblem): GlobalChoice[] {
  const { pair, edgeLayersFirst, edgeLayersLast } = problem
  const sides: readonly Side[] = edgeLayersFirst + edgeLayersLast > 0 ? [EDGE] : [EDGE, CLOUD]
  const choices: GlobalChoice[] = []
  for (const boundaryBits of problem.boundaryBits) {
    for (const embed of sides)
      for (const head of sides) choices.push({ boundaryBits, embed, head, exit: null })
  }
  if (!problem.earlyExit) return choices
  const options = { ...problem, mixedLayers: false, memoryBytes: Infinity, reservedTokens: 0 }
  const exits = exitPlans(pair, options).map(({ boundaryBits, embed, head, exit }) => ({
    boundaryBits,
    embed,
    head,
    exit,
  }))
  return [...choices, ...exits]
}

/**
 * Initial linear term of the logits, [ROW_FEATURE_SIZE, (units + 1) x 3] row-major: prefers to stay on the residual's
 * side.
 */
export function stayBias(units: number, layers: number): Float32Array {
  const choices = (units + 1) * 3
  const bias = new Float32Array(ROW_FEATURE_SIZE * choices)
  const strength = Math.log((choices * layers) / INITIAL_MOVES_PER_PLAN)
  bias[0 * choices + layerChoice(0, 0)] = strength
  bias[1 * choices + layerChoice(units, 1)] = strength
  return bias
}

/** Index of a layer's choice: unitsOnCloud x 3 + FFN mode. */
export function layerChoice(unitsOnCloud: number, ffn: number): number {
  return unitsOnCloud * 3 + ffn
}

/** Estimated seconds of one layer over the whole request, by part. */
interface LayerSeconds {
  readonly edgeAttention: number
  readonly cloudAttention: number
  readonly edgeFfn: number
  readonly edgeFirst: number
  readonly cloudFfn: number
  readonly cloudSecond: number
  /** Serialisation of one boundary tensor in prefill and every cycle, up and down, and of FFN mode 2's. */
  readonly up: number
  readonly down: number
  readonly inner: number
}

/**
 * Decodes a plan row by row: the plan-wide choice, then each layer. For each row it gives the choices that leave a
 * feasible completion, and the features of the rows before it. Training, export and runtime share it.
 */
export class PlanDecoder {
  readonly choices: readonly GlobalChoice[]
  readonly layers: number
  readonly units: number
  private readonly problem: DecisionProblem
  private readonly parts: PartBytes
  private readonly exitBytes: readonly { readonly weights: number; readonly perToken: number }[]
  private readonly unitsOnCloud: Uint8Array
  private readonly ffn: Uint8Array
  private situation: Situation | null = null
  private seconds: LayerSeconds | null = null
  /** True in an outage if the edge can run without the network: then plans that need it are masked. */
  private alone = false
  /** In an outage: whether the whole model fits on the edge; a standalone exit needs less. */
  private wholeFits = false
  private wide: GlobalChoice
  private side: Side = EDGE
  private edgeSeconds = 0
  private cloudSeconds = 0
  private linkSeconds = 0
  private crossings = 0
  private memory = 0

  constructor(problem: DecisionProblem) {
    this.problem = problem
    this.layers = problem.pair.model.layers
    this.units = pairUnits(problem.pair)
    this.choices = globalChoices(problem)
    this.wide = this.choices[0]
    this.parts = partBytes(problem.pair)
    this.unitsOnCloud = new Uint8Array(this.layers)
    this.ffn = new Uint8Array(this.layers)
    this.exitBytes = this.choices.map((choice) => {
      const memory = edgeMemory(problem.pair, this.planOf(choice))
      return { weights: memory.weightBytes, perToken: memory.kvBytesPerToken }
    })
  }

  /** Number of rows of an action. */
  get rows(): number {
    return 1 + this.layers
  }

  begin(situation: Situation): void {
    this.situation = situation
    this.seconds = null
    const outage = isOutage(situation)
    this.wholeFits = outage && this.wholeBytes() <= situation.freeMemoryBytes
    this.alone = outage && (this.wholeFits || this.choices.some((_, i) => this.leavesAlone(i)))
  }

  /** Writes a row's features and mask (1 = allowed); returns the number of allowed choices. */
  input(row: number, features: Float32Array, mask: Uint8Array): number {
    return row === 0 ? this.wideInput(features, mask) : this.layerInput(row - 1, features, mask)
  }

  choose(row: number, choice: number): void {
    if (row === 0) this.chooseWide(this.choices[choice])
    else this.chooseLayer(row - 1, Math.floor(choice / 3), choice % 3)
  }

  /** The complete plan. */
  plan(): Plan {
    const { boundaryBits, embed, head, exit } = this.wide
    return { embed, unitsOnCloud: this.unitsOnCloud.slice(), ffn: this.ffn.slice(), head, boundaryBits, exit }
  }

  private wideInput(features: Float32Array, mask: Uint8Array): number {
    features.fill(0)
    let allowed = 0
    for (let i = 0; i < this.choices.length; i++) {
      mask[i] = this.fits(i) && !(this.alone && !this.isAlone(i)) ? 1 : 0
      allowed += mask[i]
    }
    return allowed
  }

  /** Whether memory suffices for a plan-wide choice: for its exit's part, or for both ends and what is pinned. */
  private fits(i: number): boolean {
    const { freeMemoryBytes, reservedTokens } = this.known()
    const { weights, perToken } = this.exitBytes[i]
    const needed =
      this.choices[i].exit === null
        ? this.endBytes(this.choices[i]) + this.pinnedBytes(0)
        : weights + perToken * reservedTokens
    return needed <= freeMemoryBytes
  }

  private leavesAlone(i: number): boolean {
    return this.choices[i].exit?.mode === 'standalone' && this.fits(i)
  }

  /** Whether a plan-wide choice can run without the network. */
  private isAlone(i: number): boolean {
    return !endsNeedCloud(this.choices[i]) && (this.choices[i].exit !== null || this.wholeFits)
  }

  private layerInput(layer: number, features: Float32Array, mask: Uint8Array): number {
    this.writeFeatures(layer, features)
    const size = (this.units + 1) * 3
    mask.fill(0, 0, size)
    const forced = this.forcedChoice(layer)
    if (forced >= 0) {
      mask[forced] = 1
      return 1
    }
    const room = this.known().freeMemoryBytes - this.memory - this.pinnedBytes(layer + 1)
    let allowed = 0
    for (let k = 0; k <= this.units; k++) {
      for (let mode = 0; mode < 3; mode++) {
        if (this.layerBytes(k, mode) > room) continue
        mask[layerChoice(k, mode)] = 1
        allowed++
      }
    }
    return allowed
  }

  /** The only choice of a layer that is determined by an exit, a pinned layer or an outage; -1 if it is free. */
  private forcedChoice(layer: number): number {
    const { exit } = this.wide
    if (exit !== null) return layer < exit.layer ? layerChoice(0, 0) : layerChoice(this.units, 1)
    return this.alone || this.isPinned(layer) ? layerChoice(0, 0) : -1
  }

  /** Bytes of the whole model on the edge, with its K/V cache. */
  private wholeBytes(): number {
    return endBytes(this.parts, true, true, 0) + this.layers * this.layerBytes(0, 0)
  }

  private isPinned(layer: number): boolean {
    return layer < this.problem.edgeLayersFirst || layer >= this.layers - this.problem.edgeLayersLast
  }

  private pinnedBytes(fromLayer: number): number {
    let pinned = 0
    for (let layer = fromLayer; layer < this.layers; layer++) if (this.isPinned(layer)) pinned++
    return pinned * this.layerBytes(0, 0)
  }

  private layerBytes(k: number, mode: number): number {
    const { reservedTokens } = this.known()
    return layerBytes(this.parts, this.units - k, ffnFirstOnEdge(mode), ffnSecondOnEdge(mode), reservedTokens)
  }

  private endBytes({ embed, head, exit }: GlobalChoice): number {
    return endBytes(this.parts, embed === EDGE, exit === null && head === EDGE, exit === null ? 0 : 1)
  }

  private chooseWide(choice: GlobalChoice): void {
    this.wide = choice
    this.side = choice.embed
    this.edgeSeconds = 0
    this.cloudSeconds = 0
    this.linkSeconds = 0
    this.crossings = 0
    this.memory = this.endBytes(choice)
    this.seconds = layerSeconds(this.problem, this.known(), choice.boundaryBits)
  }

  private chooseLayer(layer: number, k: number, mode: number): void {
    this.unitsOnCloud[layer] = k
    this.ffn[layer] = mode
    const { seconds, units } = this
    if (seconds === null) throw new RangeError('layer chosen before the plan-wide choice')
    const cloudShare = k / units
    const ffnEdge = mode === 0 ? seconds.edgeFfn : mode === 2 ? seconds.edgeFirst : 0
    const ffnCloud = mode === 1 ? seconds.cloudFfn : mode === 2 ? seconds.cloudSecond : 0
    this.edgeSeconds += (1 - cloudShare) * seconds.edgeAttention + ffnEdge
    this.cloudSeconds += cloudShare * seconds.cloudAttention + ffnCloud
    const crossings = layerCrossings(this.side, k, units, mode) - (mode === 2 ? 1 : 0)
    const first = this.side === EDGE ? seconds.up : seconds.down
    this.linkSeconds +=
      (crossings > 0 ? first : 0) +
      (crossings > 1 ? (seconds.up + seconds.down) / 2 : 0) +
      (mode === 2 ? seconds.inner : 0)
    this.crossings += crossings + (mode === 2 ? 1 : 0)
    this.memory += this.layerBytes(k, mode)
    this.side = sideAfterFfn(mode)
  }

  private writeFeatures(layer: number, out: Float32Array): void {
    const { seconds } = this
    if (seconds === null) throw new RangeError('layer asked for before the plan-wide choice')
    const free = this.known().freeMemoryBytes
    out[0] = this.side === EDGE ? 1 : 0
    out[1] = this.side === CLOUD ? 1 : 0
    out[2] = layer / this.layers
    out[3] = this.edgeSeconds / (this.layers * (seconds.edgeAttention + seconds.edgeFfn))
    out[4] = this.cloudSeconds / (this.layers * (seconds.cloudAttention + seconds.cloudFfn))
    out[5] = Math.log1p(this.linkSeconds)
    out[6] = this.crossings / this.layers
    out[7] = free > 0 && Number.isFinite(free) ? this.memory / free : 0
    out[8] = this.wide.head
    out[9] = Math.log2(this.wide.boundaryBits) / 5
  }

  private known(): Situation {
    if (this.situation === null) throw new RangeError('begin(situation) first')
    return this.situation
  }

  private planOf(choice: GlobalChoice): Plan {
    const unitsOnCloud = new Uint8Array(this.layers).fill(this.units, choice.exit?.layer ?? this.layers)
    const ffn = new Uint8Array(this.layers).fill(1, choice.exit?.layer ?? this.layers)
    return { ...choice, unitsOnCloud, ffn }
  }
}

function layerSeconds(problem: DecisionProblem, s: Situation, bits: number): LayerSeconds {
  const { edge, cloud, network, model } = problem.pair
  const units = pairUnits(problem.pair)
  const cycles = Math.max(0, Math.round(s.predictedOutputTokens) - 1)
  const cloudSlowdown = expectedCloudSlowdown(problem, s)
  const attention = (costs: typeof edge): number =>
    costs.attentionPrefillSeconds(s.promptTokens, units) +
    sumCurve(
      costs.contextKnots,
      costs.attentionDecodeCurve(units),
      s.promptTokens + 1,
      s.promptTokens + cycles,
    )
  const ffn = (costs: typeof edge, part: 'whole' | 'first' | 'second'): number =>
    costs.ffnSeconds(part, s.promptTokens) + cycles * costs.ffnSeconds(part, 1)
  const wire = (rate: number, elements: number): number =>
    serialisationSeconds(
      Math.max(1e3, rate),
      boundaryBytes(network, s.promptTokens, elements, bits) +
        cycles * boundaryBytes(network, 1, elements, bits),
    ) +
    (1 + cycles) * 0.5 * s.rttSeconds
  return {
    edgeAttention: s.edgeSlowdown * attention(edge),
    cloudAttention: cloudSlowdown * attention(cloud),
    edgeFfn: s.edgeSlowdown * ffn(edge, 'whole'),
    edgeFirst: s.edgeSlowdown * ffn(edge, 'first'),
    cloudFfn: cloudSlowdown * ffn(cloud, 'whole'),
    cloudSecond: cloudSlowdown * ffn(cloud, 'second'),
    up: wire(s.up.shortBitsPerSecond, model.width),
    down: wire(s.down.shortBitsPerSecond, model.width),
    inner: wire(s.up.shortBitsPerSecond, model.width + model.ffnWidth),
  }
}
