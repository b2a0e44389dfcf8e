import { latencySeconds } from '../plan/price/network.ts'
import { refuseDeadLink } from './check.ts'
import type { FastState } from './state.ts'
import type { SimRequest, SimToken } from './stageLists.ts'
import { CLOUD_PLACE, EDGE_PLACE, profiledSeconds, segmentAt, SHAPE } from './stageLists.ts'

/**
 * The stretches of the fast simulator: what one request does over and over while nothing
 * else can touch it, in a loop without events. They stop before the horizon (the next event of
 * anything else) and before the last token, whose completion frees a slot.
 */

/** Whether the token in service repeats itself: a decode token of a program with one cycle, not the last one. */
function repeats(run: SimToken, flight: SimRequest, shape: number): boolean {
  return (
    run.list.shape === shape &&
    run.list === flight.edgeCycle &&
    flight.askCycle === null &&
    flight.deliveredTokens >= flight.firstToken &&
    !flight.abandoned &&
    run.token < flight.outputTokens
  )
}

/** Edge-only decode while nobody waits for the edge (a token is delivered as it is made); false if not a token could be done. */
export function fastForwardEdge(sim: FastState, horizonSeconds: number): boolean {
  const run = sim.runs[EDGE_PLACE]
  const { flight } = run
  let end = sim.ends[EDGE_PLACE]
  if (!(end < horizonSeconds) || sim.edgeQueue.length > 0 || !repeats(run, flight, SHAPE.edgeOnly))
    return false
  const { outcome, outputTokens, firstTokenSeconds, edgeKnots } = flight
  const rate = sim.world.readingTokensPerSecond
  const firstToken = run.token
  let start = sim.starts[EDGE_PLACE]
  let profiled = sim.profiled[EDGE_PLACE]
  let profiledSum = 0
  let busySum = 0
  let stall = outcome.stallSeconds
  while (end < horizonSeconds && run.token < outputTokens) {
    profiledSum += profiled
    busySum += end - start
    const lateness = end - (firstTokenSeconds + (run.token - 1) / rate)
    if (lateness > stall) stall = lateness
    run.token++
    run.context++
    run.edgeSegment = segmentAt(edgeKnots, run.edgeSegment, run.context)
    profiled = profiledSeconds(run, 0)
    start = end
    end = start + profiled
  }
  sim.starts[EDGE_PLACE] = start
  sim.ends[EDGE_PLACE] = end
  sim.profiled[EDGE_PLACE] = profiled
  flight.launchedTokens = run.token
  flight.deliveredTokens = run.token - 1
  sim.totals.stageEvents += run.token - firstToken
  sim.totals.stallSeconds += stall - outcome.stallSeconds
  sim.totals.edgeBusySeconds += busySum
  outcome.stallSeconds = stall
  outcome.edgeBusySeconds += busySum
  sim.listener.compute?.(0, profiledSum, busySum, start)
  return true
}

/** Token streaming from the cloud while its batch stays as it is; false if not a token could be done. */
export function fastForwardCloud(sim: FastState, place: number, decisionSeconds: number): boolean {
  const run = sim.runs[place]
  const { flight, list } = run
  if (sim.stages[place] !== 0 || sim.cloudQueue.length > 0) return false
  if (!repeats(run, flight, SHAPE.cloudStreaming) || !onlyTokensUnderWay(sim, flight)) return false
  const horizonSeconds = Math.min(decisionSeconds, othersNext(sim, place, flight))
  let end = sim.ends[place]
  if (!(end < horizonSeconds)) return false
  const { link, network } = sim.world
  const { outcome, outputTokens } = flight
  const bytes = list.bytes[1]
  const base = flight.deliveredTokens + 1
  const firstToken = run.token
  const wires = sim.tokenWires
  wires.reserve(outputTokens)
  collectTokens(sim, flight, base)
  let start = sim.starts[place]
  let profiled = sim.profiled[place]
  let profiledSum = 0
  let busySum = 0
  while (end < horizonSeconds && run.token < outputTokens) {
    profiledSum += profiled
    busySum += end - start
    const sent = link.sentSeconds('down', end, bytes)
    if (sent === Infinity) refuseDeadLink('down', end)
    const at = run.token - base
    wires.sentSeconds[at] = sent
    wires.arriveSeconds[at] = sent + latencySeconds(network, bytes, link.rttSeconds(sent), false)
    wires.counted[at] = 0
    wires.runs[at] = null
    run.token++
    run.context++
    run.cloudSegment = segmentAt(flight.cloudKnots, run.cloudSegment, run.context)
    profiled = profiledSeconds(run, 0)
    start = end
    end = start + profiled * sim.slowdownAt(start)
  }
  sim.starts[place] = start
  sim.ends[place] = end
  sim.profiled[place] = profiled
  flight.launchedTokens = run.token
  sim.totals.stageEvents += run.token - firstToken
  sim.totals.cloudBusySeconds += busySum
  outcome.cloudBusySeconds += busySum
  sim.listener.compute?.(1, profiledSum, busySum, start)
  // A token that arrives later than the next stage ends may be overtaken when the RTT falls: an event delivers it.
  deliverTokens(sim, run, base, Math.min(horizonSeconds, end))
  return true
}

/** Whether all that a request has under way besides the token in service are tokens on their way to the user. */
function onlyTokensUnderWay(sim: FastState, flight: SimRequest): boolean {
  const { wires } = sim
  let tokens = 0
  for (let i = 0; i < wires.length; i++) {
    const run = wires.runs[i]
    if (run.flight !== flight) continue
    if (run.left !== 1 || wires.stages[i] !== run.list.deliver || run.list !== flight.edgeCycle) return false
    tokens++
  }
  return tokens === flight.liveRuns - 1 && tokens === flight.launchedTokens - 1 - flight.deliveredTokens
}

/** The next event of anything but a request's stage in service and its tokens under way. */
function othersNext(sim: FastState, place: number, flight: SimRequest): number {
  const { ends, wires } = sim
  let next = Infinity
  for (let i = 0; i < CLOUD_PLACE + sim.cloudCount; i++) if (i !== place && ends[i] < next) next = ends[i]
  for (let i = 0; i < wires.length; i++) {
    if (wires.runs[i].flight !== flight && wires.arriveSeconds[i] < next) next = wires.arriveSeconds[i]
  }
  return next
}

/** Moves a request's tokens under way from the wires to tokenWires, token `base` at place 0. */
function collectTokens(sim: FastState, flight: SimRequest, base: number): void {
  const { wires, tokenWires } = sim
  for (let i = wires.length - 1; i >= 0; i--) {
    const run = wires.runs[i]
    if (run.flight !== flight) continue
    const at = run.token - base
    tokenWires.sentSeconds[at] = wires.sentSeconds[i]
    tokenWires.arriveSeconds[at] = wires.arriveSeconds[i]
    tokenWires.counted[at] = wires.counted[i]
    tokenWires.runs[at] = run
    wires.remove(i)
  }
}

/** Delivers, in order, the tokens that arrive before the horizon, and puts the others back on the wires. */
function deliverTokens(sim: FastState, run: SimToken, base: number, horizonSeconds: number): void {
  const { wires, tokenWires, totals } = sim
  const { flight, list, token } = run
  const { outcome, firstTokenSeconds } = flight
  const { arriveSeconds, sentSeconds, counted, runs } = tokenWires
  const rate = sim.world.readingTokensPerSecond
  const bytes = list.bytes[1]
  const count = token - base
  let stall = outcome.stallSeconds
  let delivered = flight.deliveredSeconds
  let at = 0
  let messages = 0
  for (; at < count && arriveSeconds[at] < horizonSeconds; at++) {
    if (arriveSeconds[at] > delivered) delivered = arriveSeconds[at]
    if (counted[at] === 0) messages++
    const lateness = delivered - (firstTokenSeconds + (base + at - 1) / rate)
    if (lateness > stall) stall = lateness
    const existing = runs[at]
    if (existing !== null) sim.endRun(existing)
  }
  flight.deliveredSeconds = delivered
  flight.deliveredTokens += at
  totals.stageEvents += at
  totals.stallSeconds += stall - outcome.stallSeconds
  outcome.stallSeconds = stall
  totals.downBytes += messages * bytes
  outcome.downBytes += messages * bytes
  totals.messages += messages
  outcome.messages += messages
  for (; at < count; at++) {
    const waiting = runs[at] ?? sim.takeRun(flight, list, base + at)
    waiting.left = 1
    wires.push(waiting, 1, sentSeconds[at], sentSeconds[at], arriveSeconds[at], counted[at])
  }
}
