import type { BlockCosts } from '../profile/costs.ts'
import { boundaryBytes, serialisationSeconds, warmLatencySeconds, type LinkState } from './boundary.ts'
import { lastIntegerInSegment, sumCurve } from './curves.ts'
import { layerCrossings } from './loss.ts'
import { callCosts, pairUnits, type Pair } from './pair.ts'
import { CLOUD, EDGE, sideOfFfnInput, type Side } from './plan.ts'
import { curveAt } from './program.ts'

/** One request under a constant link: what the oracle is asked about. */
export interface PlanningState {
  readonly link: LinkState
  readonly promptTokens: number
  readonly outputTokens: number
  /** Measured over profiled time of each side (1 = as profiled). */
  readonly edgeSlowdown: number
  readonly cloudSlowdown: number
}

/**
 * What each of a layer's choices takes, for one state and one boundary width.
 * Index ((side x (units + 1)) + unitsOnCloud) x 3 + ffn, with side that of the residual before the layer;
 * prefill once, decode summed over the outputTokens - 1 cycles.
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

/** Place of a layer's choice in the tables. */
export function choiceIndex(units: number, side: number, unitsOnCloud: number, ffn: number): number {
  return (side * (units + 1) + unitsOnCloud) * 3 + ffn
}

/** Passes that times and tables are about; the bounds ask for one at a time. */
export type Passes = 'prefill' | 'decode' | 'both'

/** Attention times of both sides that do not depend on the boundary width. */
export class AttentionTimes {
  readonly passes: Passes
  /** Seconds of the prompt's pass, by units; zeros where it is not among the passes. */
  readonly prefill: readonly [Float64Array, Float64Array]
  /** Decode seconds summed over all cycles, by units. */
  readonly decodeSum: readonly [Float64Array, Float64Array]
  private readonly pair: Pair
  private readonly state: PlanningState

  constructor(pair: Pair, state: PlanningState, passes: Passes = 'both') {
    this.pair = pair
    this.state = state
    this.passes = passes
    const fill = (of: (costs: BlockCosts, k: number) => number): readonly [Float64Array, Float64Array] => {
      const side = (costs: BlockCosts, slowdown: number): Float64Array =>
        Float64Array.from({ length: pairUnits(pair) + 1 }, (_, k) => (k === 0 ? 0 : slowdown * of(costs, k)))
      return [side(pair.edge, state.edgeSlowdown), side(pair.cloud, state.cloudSlowdown)]
    }
    const first = state.promptTokens + 1
    const last = state.promptTokens + state.outputTokens - 1
    this.prefill = fill((costs, k) =>
      passes === 'decode' ? 0 : costs.attentionPrefillSeconds(state.promptTokens, k),
    )
    this.decodeSum = fill((costs, k) =>
      passes === 'prefill' ? 0 : sumCurve(costs.contextKnots, costs.attentionDecodeCurve(k), first, last),
    )
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

/** One message under the state's link: time on the wire, and until it has arrived. */
interface Message {
  readonly bytes: number
  readonly serialisation: number
  readonly total: number
}

function message(pair: Pair, link: LinkState, from: Side, bytes: number): Message {
  const serialisation = serialisationSeconds(
    from === EDGE ? link.upBitsPerSecond : link.downBitsPerSecond,
    bytes,
  )
  return { bytes, serialisation, total: serialisation + warmLatencySeconds(pair.network, link, bytes) }
}

/** A layer with heads on both sides ends at max(near + its offset, far + its offset, floor) after it began. */
interface Join {
  readonly near: number
  readonly far: number
  readonly floor: number
}

function joinSeconds(join: Join, near: number, far: number): number {
  return Math.max(join.near + near, join.far + far, join.floor)
}

/**
 * Sum of the join over steps + 1 contexts on which both branches are linear, given at both ends. Between the
 * steps at which two of the three terms cross, one of them is the greatest throughout.
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
  const at = (step: number): number => joinSeconds(join, near0 + nearSlope * step, far0 + farSlope * step)
  const gap = join.near + near0 - join.far - far0
  const crossings = [
    crossing(gap, nearSlope - farSlope),
    crossing(join.near + near0 - join.floor, nearSlope),
    crossing(join.far + far0 - join.floor, farSlope),
  ].sort((a, b) => a - b)
  let sum = 0
  let from = 0
  for (const cut of [...crossings, steps]) {
    const to = Math.min(steps, Math.floor(cut))
    if (to < from) continue
    sum += 0.5 * (to - from + 1) * (at(from) + at(to))
    from = to + 1
  }
  return sum
}

/** Where gap + slope x step is 0; Infinity if nowhere ahead. */
function crossing(gap: number, slope: number): number {
  const step = -gap / slope
  return step >= 0 ? step : Infinity
}

/** Fills the tables for the passes of `times`; `mixed` = false leaves out layers with heads on both sides (their time is Infinity). */
export function layerTables(
  pair: Pair,
  state: PlanningState,
  bits: number,
  times: AttentionTimes,
  mixed = true,
): LayerTables {
  const units = pairUnits(pair)
  const size = 2 * (units + 1) * 3
  // One piece of memory: a device decides often, and each piece is collected on its own.
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
  /** Of one call, by side; and of one that follows a message. */
  private readonly dispatch: readonly [number, number]
  private readonly woken: readonly [number, number]
  private readonly state: PlanningState
  private readonly times: AttentionTimes
  private readonly prefill: boolean
  private readonly joins = new Map<number, number>()

  constructor(pair: Pair, state: PlanningState, bits: number, times: AttentionTimes, prefill: boolean) {
    this.state = state
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
  }

  add(tables: LayerTables, at: number, side: Side, k: number, mode: number): void {
    if (this.cycles === 0) return
    const seconds = this.prefill ? tables.prefillSeconds : tables.decodeSeconds
    seconds[at] += this.attention(tables, at, side, k, sideOfFfnInput(mode))
    seconds[at] += this.feedForward(tables, at, mode)
  }

  /**
   * Seconds of the attention, up to where the FFN begins; counts its compute and messages. A layer goes on with the
   * call that is open on its side; every message ends a call, and the next compute begins one.
   */
  private attention(tables: LayerTables, at: number, side: Side, k: number, sumAt: Side): number {
    const unitsAt = [this.units - k, k] as const
    const work = this.prefill ? this.times.prefill : this.times.decodeSum
    tables.edgeSeconds[at] += work[0][unitsAt[0]]
    tables.cloudSeconds[at] += work[1][unitsAt[1]]
    const far: Side = side === 0 ? 1 : 0
    if (unitsAt[0] > 0 && unitsAt[1] > 0) return this.fork(tables, at, side, unitsAt, sumAt)
    const where: Side = unitsAt[far] > 0 ? far : side
    let seconds = work[where][this.units]
    if (where !== side) seconds += this.send(tables, at, side) + this.call(tables, at, where)
    if (where !== sumAt) seconds += this.send(tables, at, where) + this.call(tables, at, sumAt)
    return seconds
  }

  private fork(
    tables: LayerTables,
    at: number,
    near: Side,
    unitsAt: readonly [number, number],
    sumAt: Side,
  ): number {
    const far: Side = near === 0 ? 1 : 0
    this.send(tables, at, near)
    this.send(tables, at, sumAt === near ? far : near)
    // The near side goes on without a pause; the far one and the sum wait for messages.
    this.busy(tables, at, near, this.dispatch[near])
    for (const side of [far, sumAt] as const) this.call(tables, at, side)
    const there = this.x[near]
    const [nearCall, farCall] = [this.dispatch[near], this.woken[far]]
    // The partial sum goes back from the far side, or follows x on the same direction.
    const join: Join =
      sumAt === near
        ? { near: nearCall, far: there.total + farCall + this.x[far].total, floor: 0 }
        : {
            near: nearCall + there.total,
            far: there.total + farCall,
            floor: there.serialisation + there.total,
          }
    const after = this.cycles * this.woken[sumAt]
    if (!this.prefill) return after + this.knownJoin(near, far, sumAt, unitsAt, join)
    const { prefill } = this.times
    return after + joinSeconds(join, prefill[near][unitsAt[near]], prefill[far][unitsAt[far]])
  }

  /** Choices that differ in the rest of the FFN alone have the same join. */
  private knownJoin(
    near: Side,
    far: Side,
    sumAt: Side,
    unitsAt: readonly [number, number],
    join: Join,
  ): number {
    const key = 4 * unitsAt[CLOUD] + 2 * near + sumAt
    const known = this.joins.get(key)
    if (known !== undefined) return known
    const sum = this.sumJoin(near, far, unitsAt, join)
    this.joins.set(key, sum)
    return sum
  }

  /** Sum of the join over all cycles; a loop only where the slower branch changes on the way. */
  private sumJoin(near: Side, far: Side, unitsAt: readonly [number, number], join: Join): number {
    const first = this.state.promptTokens + 1
    const last = first + this.cycles - 1
    const nearAt = (context: number): number => this.times.decodeAt(near, unitsAt[near], context)
    const farAt = (context: number): number => this.times.decodeAt(far, unitsAt[far], context)
    // Every branch grows with the context, so the ends tell whether one of them wins throughout.
    if (join.far + farAt(first) >= Math.max(join.near + nearAt(last), join.floor)) {
      return this.times.decodeSum[far][unitsAt[far]] + this.cycles * join.far
    }
    if (join.near + nearAt(first) >= Math.max(join.far + farAt(last), join.floor)) {
      return this.times.decodeSum[near][unitsAt[near]] + this.cycles * join.near
    }
    let sum = 0
    for (let from = first; from <= last;) {
      const to = Math.min(last, this.times.linearUntil(from))
      sum += sumOfGreatest(join, nearAt(from), nearAt(to), farAt(from), farAt(to), to - from)
      from = to + 1
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

  /** Counts one call a cycle on `side`, after a message; returns its seconds over all cycles. */
  private call(tables: LayerTables, at: number, side: Side): number {
    return this.busy(tables, at, side, this.woken[side])
  }

  /** Counts `seconds` a cycle on `side`; returns them over all cycles. */
  private busy(tables: LayerTables, at: number, side: Side, seconds: number): number {
    const total = this.cycles * seconds
    const busy = side === EDGE ? tables.edgeSeconds : tables.cloudSeconds
    busy[at] += total
    return total
  }

  /** Counts one boundary tensor a cycle from `from`; returns its seconds over all cycles. */
  private send(tables: LayerTables, at: number, from: Side): number {
    const sent = this.x[from]
    const bytes = from === 0 ? tables.upBytes : tables.downBytes
    bytes[at] += this.cycles * sent.bytes
    tables.messages[at] += this.cycles
    return this.cycles * sent.total
  }
}
