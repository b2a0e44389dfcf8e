import type { PlanningState } from '../price/question.ts'
import type { BlockCosts } from '../profile/costs.ts'
import { boundaryBytes, serialisationSeconds, warmLatencySeconds, type LinkState } from '../price/boundary.ts'
import { curveAt, lastIntegerInSegment, sumCurve } from '../price/curves.ts'
import { layerCrossings } from '../price/loss.ts'
import { callCosts, pairUnits, type DevicePair } from '../price/pair.ts'
import { CLOUD, EDGE, sideOfFfnInput, type Side } from '../plan.ts'

/**
 * What each choice of a layer takes, for one state and one number of boundary bits. Index ((side x (units + 1)) +
 * unitsOnCloud) x 3 + ffn, with the side of the residual before the layer; prefill once, decode summed over the
 * outputTokens - 1 cycles.
 *
 * Another algorithm than `evaluateProgram`, because the search needs all 3 (units + 1) choices of a layer at once, with
 * decode in closed form. test/plan/tables.test.ts holds every path over them to the evaluation of its plan.
 */
export interface LayerTables {
  readonly units: number
  readonly prefillSeconds: Float64Array
  readonly decodeSeconds: Float64Array
  readonly edgeSeconds: Float64Array
  readonly cloudSeconds: Float64Array
  readonly upBytes: Float64Array
  readonly downBytes: Float64Array
  readonly messages: Float64Array
  readonly crossings: Float64Array
}

/** Index of a layer's choice in the tables. */
export function choiceIndex(units: number, side: number, unitsOnCloud: number, ffn: number): number {
  return (side * (units + 1) + unitsOnCloud) * 3 + ffn
}

/** Passes that times and tables cover; the bounds ask for one at a time. */
type Passes = 'prefill' | 'decode' | 'both'

/** Ranges of decode contexts on which both sides' curves are linear. */
interface Stretches {
  /** First and last context of each range in turn. */
  readonly ends: readonly number[]
  /** By side: decode seconds, index units x ends + end. */
  readonly seconds: readonly [Float64Array, Float64Array]
}

/** Attention times of both sides that do not depend on the boundary bits. */
export class AttentionTimes {
  readonly passes: Passes
  /** Seconds of the prompt's pass, by units; 0 if it is not among the passes. */
  readonly prefill: readonly [Float64Array, Float64Array]
  /** Decode seconds summed over all cycles, by units. */
  readonly decodeSum: readonly [Float64Array, Float64Array]
  private readonly pair: DevicePair
  private readonly state: PlanningState
  private known: Stretches | null = null

  constructor(pair: DevicePair, state: PlanningState, passes: Passes = 'both') {
    this.pair = pair
    this.state = state
    this.passes = passes
    const first = state.promptTokens + 1
    const last = state.promptTokens + state.outputTokens - 1
    const units = pairUnits(pair)
    const row = (costs: BlockCosts, slowdown: number, decode: boolean): Float64Array => {
      const seconds = new Float64Array(units + 1)
      if (passes === (decode ? 'prefill' : 'decode')) return seconds
      for (let k = 1; k <= units; k++) {
        const alone = decode
          ? sumCurve(costs.contextKnots, costs.attentionDecodeCurve(k), first, last)
          : costs.attentionPrefillSeconds(state.promptTokens, k)
        seconds[k] = slowdown * alone
      }
      return seconds
    }
    this.prefill = [row(pair.edge, state.edgeSlowdown, false), row(pair.cloud, state.cloudSlowdown, false)]
    this.decodeSum = [row(pair.edge, state.edgeSlowdown, true), row(pair.cloud, state.cloudSlowdown, true)]
  }

  /** Decode seconds by side and units at the ends of each range, computed once for all boundary bits. */
  get stretches(): Stretches {
    this.known ??= this.stretchesOf()
    return this.known
  }

  private stretchesOf(): Stretches {
    const { promptTokens, outputTokens } = this.state
    const last = promptTokens + outputTokens - 1
    const ends: number[] = []
    for (let from = promptTokens + 1; from <= last;) {
      const to = Math.min(last, this.linearUntil(from))
      ends.push(from, to)
      from = to + 1
    }
    const units = pairUnits(this.pair)
    const rows = (side: Side): Float64Array => {
      const seconds = new Float64Array((units + 1) * ends.length)
      for (let k = 0, at = 0; k <= units; k++) {
        for (const context of ends) seconds[at++] = this.decodeAt(side, k, context)
      }
      return seconds
    }
    return { ends, seconds: [rows(0), rows(1)] }
  }

  /** The last integer y >= x such that both sides' curves are linear on [x, y]. */
  linearUntil(x: number): number {
    const { edge, cloud } = this.pair
    return Math.min(lastIntegerInSegment(edge.contextKnots, x), lastIntegerInSegment(cloud.contextKnots, x))
  }

  /** Decode seconds of `k` units at one context. */
  decodeAt(side: Side, k: number, context: number): number {
    const costs = side === EDGE ? this.pair.edge : this.pair.cloud
    const slowdown = side === EDGE ? this.state.edgeSlowdown : this.state.cloudSlowdown
    return slowdown * curveAt(costs.contextKnots, costs.attentionDecodeCurve(k), context)
  }
}

/** One message on the state's link: seconds on the wire, and until it has arrived. */
interface Message {
  readonly bytes: number
  readonly serialisation: number
  readonly total: number
}

function message(pair: DevicePair, link: LinkState, from: Side, bytes: number): Message {
  const serialisation = serialisationSeconds(
    from === EDGE ? link.upBitsPerSecond : link.downBitsPerSecond,
    bytes,
  )
  return { bytes, serialisation, total: serialisation + warmLatencySeconds(pair.network, link, bytes) }
}

/** A layer with units on both sides ends at max(near + its offset, far + its offset, floor) after its start. */
interface Join {
  readonly near: number
  readonly far: number
  readonly floor: number
}

function joinSeconds(join: Join, near: number, far: number): number {
  return Math.max(join.near + near, join.far + far, join.floor)
}

/**
 * Sum of the join over steps + 1 contexts on which both branches are linear, given at both ends. Between the steps at
 * which two of the three terms cross, one of them is the largest throughout.
 */
function sumOfGreatest(
  join: Join,
  near0: number,
  near1: number,
  far0: number,
  far1: number,
  steps: number,
): number {
  if (steps === 0) return joinSeconds(join, near0, far0)
  const nearSlope = (near1 - near0) / steps
  const farSlope = (far1 - far0) / steps
  const gap = join.near + near0 - join.far - far0
  let low = crossing(gap, nearSlope - farSlope)
  let middle = crossing(join.near + near0 - join.floor, nearSlope)
  let high = crossing(join.far + far0 - join.floor, farSlope)
  if (low > middle) [low, middle] = [middle, low]
  if (middle > high) [middle, high] = [high, middle]
  if (low > middle) [low, middle] = [middle, low]
  let sum = 0
  let from = 0
  for (let i = 0; i < 4; i++) {
    const to = Math.min(steps, Math.floor(i === 0 ? low : i === 1 ? middle : i === 2 ? high : steps))
    if (to < from) continue
    const begin = joinSeconds(join, near0 + nearSlope * from, far0 + farSlope * from)
    const end = joinSeconds(join, near0 + nearSlope * to, far0 + farSlope * to)
    sum += 0.5 * (to - from + 1) * (begin + end)
    from = to + 1
  }
  return sum
}

/** Where gap + slope x step is 0; Infinity if nowhere ahead. */
function crossing(gap: number, slope: number): number {
  const step = -gap / slope
  return step >= 0 ? step : Infinity
}

/**
 * Fills the tables for the passes of `times`; `mixed` = false leaves out layers with units on both sides (their time is
 * Infinity).
 */
export function layerTables(
  pair: DevicePair,
  state: PlanningState,
  bits: number,
  times: AttentionTimes,
  mixed = true,
): LayerTables {
  const units = pairUnits(pair)
  const size = 2 * (units + 1) * 3
  // One allocation for all tables: a device decides often, and each array is collected separately.
  const memory = new Float64Array(8 * size)
  let used = 0
  const column = (): Float64Array => memory.subarray(used, (used += size))
  const tables: LayerTables = {
    units,
    prefillSeconds: column(),
    decodeSeconds: column(),
    edgeSeconds: column(),
    cloudSeconds: column(),
    upBytes: column(),
    downBytes: column(),
    messages: column(),
    crossings: column(),
  }
  const passes: Pass[] = []
  if (times.passes !== 'decode') passes.push(new Pass(pair, state, bits, times, true))
  if (times.passes !== 'prefill') passes.push(new Pass(pair, state, bits, times, false))
  for (const side of [0, 1] as const) {
    for (let k = 0; k <= units; k++) {
      for (let ffn = 0; ffn < 3; ffn++) {
        const at = choiceIndex(units, side, k, ffn)
        tables.crossings[at] = layerCrossings(side, k, units, ffn)
        if (!mixed && k > 0 && k < units) tables.prefillSeconds[at] = Infinity
        else for (const pass of passes) pass.add(tables, at, side, k, ffn)
      }
    }
  }
  return tables
}

/** Adds what one layer choice takes: in the prefill, or in all decode cycles together. */
class Pass {
  private readonly units: number
  private readonly cycles: number
  private readonly x: readonly [Message, Message]
  private readonly inner: Message
  private readonly ffn: Readonly<Record<'edge' | 'cloud' | 'first' | 'second', number>>
  /** Cost of one call, by side; and of one that follows a message. */
  private readonly dispatch: readonly [number, number]
  private readonly woken: readonly [number, number]
  private readonly times: AttentionTimes
  private readonly prefill: boolean
  /** By near side and side of the sum: index 2 near + sum. */
  private readonly join: readonly Join[]
  /** Seconds of joins over all cycles, index 4 units in the cloud + 2 near + sum; negative: not computed yet. */
  private readonly joins: Float64Array

  constructor(pair: DevicePair, state: PlanningState, bits: number, times: AttentionTimes, prefill: boolean) {
    this.times = times
    this.prefill = prefill
    this.units = pairUnits(pair)
    this.cycles = prefill ? 1 : state.outputTokens - 1
    const tokens = prefill ? state.promptTokens : 1
    const { width, ffnWidth } = pair.model
    const x = boundaryBytes(pair.network, tokens, width, bits)
    this.x = [message(pair, state.link, 0, x), message(pair, state.link, 1, x)]
    this.inner = message(pair, state.link, 0, boundaryBytes(pair.network, tokens, width + ffnWidth, bits))
    const { dispatch, wake } = callCosts(pair)
    const slowdown = [state.edgeSlowdown, state.cloudSlowdown] as const
    this.dispatch = [slowdown[0] * dispatch[0], slowdown[1] * dispatch[1]]
    this.woken = [slowdown[0] * (dispatch[0] + wake[0]), slowdown[1] * (dispatch[1] + wake[1])]
    this.ffn = {
      edge: state.edgeSlowdown * pair.edge.ffnSeconds('whole', tokens),
      cloud: state.cloudSlowdown * pair.cloud.ffnSeconds('whole', tokens),
      first: state.edgeSlowdown * pair.edge.ffnSeconds('first', tokens),
      second: state.cloudSlowdown * pair.cloud.ffnSeconds('second', tokens),
    }
    this.join = [this.joinOf(0, 0), this.joinOf(0, 1), this.joinOf(1, 0), this.joinOf(1, 1)]
    this.joins = new Float64Array(4 * (this.units + 1)).fill(-1)
  }

  add(tables: LayerTables, at: number, side: Side, k: number, mode: number): void {
    if (this.cycles === 0) return
    const seconds = this.prefill ? tables.prefillSeconds : tables.decodeSeconds
    seconds[at] += this.attention(tables, at, side, k, sideOfFfnInput(mode))
    seconds[at] += this.feedForward(tables, at, mode)
  }

  /**
   * Seconds of the attention, up to the start of the FFN; counts its compute and messages. A layer continues the open
   * call on its side; every message ends a call, and the next compute begins one.
   */
  private attention(tables: LayerTables, at: number, side: Side, k: number, sumAt: Side): number {
    const work = this.prefill ? this.times.prefill : this.times.decodeSum
    tables.edgeSeconds[at] += work[0][this.units - k]
    tables.cloudSeconds[at] += work[1][k]
    if (k > 0 && k < this.units) return this.fork(tables, at, side, k, sumAt)
    const where: Side = k > 0 ? CLOUD : EDGE
    let seconds = work[where][this.units]
    if (where !== side) seconds += this.send(tables, at, side) + this.call(tables, at, where)
    if (where !== sumAt) seconds += this.send(tables, at, where) + this.call(tables, at, sumAt)
    return seconds
  }

  private fork(tables: LayerTables, at: number, near: Side, k: number, sumAt: Side): number {
    const far: Side = near === 0 ? 1 : 0
    this.send(tables, at, near)
    this.send(tables, at, sumAt === near ? far : near)
    // The near side continues without a pause; the far one and the sum wait for messages.
    this.busy(tables, at, near, this.dispatch[near])
    this.call(tables, at, far)
    this.call(tables, at, sumAt)
    return this.cycles * this.woken[sumAt] + this.knownJoin(near, far, sumAt, k)
  }

  /** Choices that differ only in the rest of the FFN have the same join. */
  private knownJoin(near: Side, far: Side, sumAt: Side, k: number): number {
    const key = 4 * k + 2 * near + sumAt
    const known = this.joins[key]
    if (known >= 0) return known
    const join = this.join[2 * near + sumAt]
    const nearUnits = near === EDGE ? this.units - k : k
    const farUnits = this.units - nearUnits
    const { prefill } = this.times
    const sum = this.prefill
      ? joinSeconds(join, prefill[near][nearUnits], prefill[far][farUnits])
      : this.sumJoin(join, near, far, nearUnits, farUnits)
    this.joins[key] = sum
    return sum
  }

  private joinOf(near: Side, sumAt: Side): Join {
    const far: Side = near === 0 ? 1 : 0
    const there = this.x[near]
    const [nearCall, farCall] = [this.dispatch[near], this.woken[far]]
    // The partial sum comes back from the far side, or follows x in the same direction.
    return sumAt === near
      ? { near: nearCall, far: there.total + farCall + this.x[far].total, floor: 0 }
      : {
          near: nearCall + there.total,
          far: there.total + farCall,
          floor: there.serialisation + there.total,
        }
  }

  /** Sum of the join over all cycles; needs a loop only if the slower branch changes on the way. */
  private sumJoin(join: Join, near: Side, far: Side, nearUnits: number, farUnits: number): number {
    const { ends, seconds } = this.times.stretches
    const count = ends.length
    const [nearAt, farAt] = [seconds[near], seconds[far]]
    const [nearFirst, farFirst] = [nearUnits * count, farUnits * count]
    // Every branch grows with the context, so the ends show whether one of them is the slowest throughout.
    if (join.far + farAt[farFirst] >= Math.max(join.near + nearAt[nearFirst + count - 1], join.floor)) {
      return this.times.decodeSum[far][farUnits] + this.cycles * join.far
    }
    if (join.near + nearAt[nearFirst] >= Math.max(join.far + farAt[farFirst + count - 1], join.floor)) {
      return this.times.decodeSum[near][nearUnits] + this.cycles * join.near
    }
    let sum = 0
    for (let i = 0; i < count; i += 2) {
      const [n, f] = [nearFirst + i, farFirst + i]
      sum += sumOfGreatest(join, nearAt[n], nearAt[n + 1], farAt[f], farAt[f + 1], ends[i + 1] - ends[i])
    }
    return sum
  }

  private feedForward(tables: LayerTables, at: number, mode: number): number {
    const n = this.cycles
    if (mode === 0) {
      tables.edgeSeconds[at] += n * this.ffn.edge
      return n * this.ffn.edge
    }
    if (mode === 1) {
      tables.cloudSeconds[at] += n * this.ffn.cloud
      return n * this.ffn.cloud
    }
    tables.edgeSeconds[at] += n * this.ffn.first
    tables.cloudSeconds[at] += n * this.ffn.second
    tables.upBytes[at] += n * this.inner.bytes
    tables.messages[at] += n
    return n * (this.ffn.first + this.inner.total + this.ffn.second) + this.call(tables, at, CLOUD)
  }

  /** Counts one call per cycle on `side`, after a message; returns its seconds over all cycles. */
  private call(tables: LayerTables, at: number, side: Side): number {
    return this.busy(tables, at, side, this.woken[side])
  }

  /** Counts `seconds` per cycle on `side`; returns them over all cycles. */
  private busy(tables: LayerTables, at: number, side: Side, seconds: number): number {
    const total = this.cycles * seconds
    const busy = side === EDGE ? tables.edgeSeconds : tables.cloudSeconds
    busy[at] += total
    return total
  }

  /** Counts one boundary tensor per cycle from `from`; returns its seconds over all cycles. */
  private send(tables: LayerTables, at: number, from: Side): number {
    const sent = this.x[from]
    const bytes = from === 0 ? tables.upBytes : tables.downBytes
    bytes[at] += this.cycles * sent.bytes
    tables.messages[at] += this.cycles
    return this.cycles * sent.total
  }
}
