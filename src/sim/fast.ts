import { latencySeconds } from '../plan/price/network.ts'
import type { Program } from '../plan/price/program.ts'
import { askedOfCloud, RESOURCE } from '../plan/price/program.ts'
import { refuseDeadLink, refuseDispatch, refuseKeep } from './check.ts'
import type { FlatStageList, SimRequest, SimToken } from './stageLists.ts'
import {
  CLOUD_PLACE,
  comesBefore,
  DOWN_PLACE,
  EDGE_PLACE,
  loadProgram,
  profiledSeconds,
} from './stageLists.ts'
import { UP_PLACE, WIRE_PLACE } from './stageLists.ts'
import { changeLoss } from './outcome.ts'
import { FastState, usesNetwork } from './state.ts'
import type { StageQueue } from './stores.ts'
import { fastForwardCloud, fastForwardEdge } from './fastForward.ts'
import type { DecisionKind, SimulationListener, Simulation, EpisodeInputs } from './types.ts'

/** A simulation that can start over with another world and keep its buffers. */
export interface FastSimulation extends Simulation {
  /** Starts an episode; outcomes and totals handed out before stay as they were. */
  reset(world: EpisodeInputs): void
}

/** The events; what they change is FastState. */
class Engine extends FastState implements FastSimulation {
  /** The next completion: its place and time, and the time of the one after it. */
  private nextPlace = WIRE_PLACE
  private nextSeconds = Infinity
  private secondSeconds = Infinity

  get decision(): DecisionKind {
    return this.offered.length > 0 ? 'replan' : 'dispatch'
  }

  deliveredTokens(): number {
    return this.offered.length > 0 ? this.offered[0].deliveredTokens : 0
  }

  advance(): number {
    if (this.offered.length > 0) return this.offered[0].request
    if (this.deciding) return this.dispatched
    for (;;) {
      this.startAll()
      this.findNext()
      if (this.nextSeconds > this.now) {
        if (this.nextArrivalSeconds <= this.now) this.integrate(this.now)
        const outageSeconds = this.networkFlights > 0 ? this.outages.nextSeconds : Infinity
        if (outageSeconds <= this.now) {
          if (this.outages.pass(this.now) && this.offer()) return this.settle(this.offered[0].request)
          continue
        }
        const free = this.dispatched - this.totals.finished < this.world.maxInFlight
        if (free && this.arrived > this.dispatched) return this.settle(this.dispatched)
        const decisionSeconds = free ? Math.min(this.nextArrivalSeconds, outageSeconds) : outageSeconds
        if (decisionSeconds < this.nextSeconds) {
          this.now = decisionSeconds
          continue
        }
        if (this.nextSeconds === Infinity) return this.settle(-1)
        if (this.stretch(decisionSeconds)) continue
        this.now = this.nextSeconds
      }
      if (this.secondSeconds > this.nextSeconds) this.completePlace(this.nextPlace)
      // A message may arrive at the very moment it was sent.
      if (this.secondSeconds === this.nextSeconds || this.wires.firstSeconds === this.now) this.completeTied()
    }
  }

  dispatch(program: Program): void {
    if (!this.deciding && this.offered.length === 0) refuseDispatch()
    const flight = this.takeFlight()
    loadProgram(flight, program)
    this.deciding = false
    const present = this.offered.shift()
    if (present !== undefined) {
      this.replan(present, flight, program)
      return
    }
    this.integrate(this.now)
    const request = this.dispatched++
    this.outcomes[request].dispatchSeconds = this.now
    this.outcomes[request].accuracyLoss = program.accuracyLoss
    this.begin(flight, request, 0)
  }

  keep(): void {
    if (this.offered.shift() === undefined) refuseKeep()
    this.deciding = false
  }

  /** Finds the requests to be offered for re-planning, if any. */
  private offer(): boolean {
    this.offered = this.flights
      .filter((flight) => flight.deliveredTokens < flight.outputTokens)
      .filter((flight) => flight.networkCycles || flight.networkPrefill > 0)
      .sort((a, b) => a.request - b.request)
    return this.offered.length > 0
  }

  private replan(present: SimRequest, flight: SimRequest, program: Program): void {
    const { request, outcome, deliveredTokens: delivered, outputTokens: output } = present
    changeLoss(outcome, { delivered, output }, present.accuracyLoss, program.accuracyLoss)
    this.abandon(present)
    flight.firstTokenSeconds = present.firstTokenSeconds
    flight.deliveredSeconds = present.deliveredSeconds
    this.begin(flight, request, delivered)
  }

  /** A request's program, loaded into `flight`, starts, with so many of its tokens delivered. */
  private begin(flight: SimRequest, request: number, deliveredTokens: number): void {
    const arrival = this.world.arrivals[request]
    flight.request = request
    flight.outcome = this.outcomes[request]
    flight.promptTokens = arrival.promptTokens
    flight.outputTokens = arrival.outputTokens
    flight.launchedTokens = flight.deliveredTokens = deliveredTokens
    flight.firstToken = deliveredTokens + 1
    flight.earlyTokens = flight.liveRuns = 0
    if (usesNetwork(flight)) {
      this.networkFlights++
      this.outages.pass(this.now)
    }
    flight.edgeSegment = flight.cloudSegment = -1
    flight.cloudRun = flight.lastCloudRun = null
    flight.cloudOccupied = false
    if (flight.early.length <= arrival.outputTokens)
      flight.early = new Uint8Array(2 * arrival.outputTokens + 2)
    this.flights.push(flight)
    this.launch(flight)
  }

  private findNext(): void {
    const { ends } = this
    let first = this.wires.firstSeconds
    let second = this.wires.tied ? first : Infinity
    let place = WIRE_PLACE
    for (let i = CLOUD_PLACE + this.cloudCount - 1; i >= 0; i--) {
      const end = ends[i]
      if (end < first) {
        second = first
        first = end
        place = i
      } else if (end < second) second = end
    }
    this.nextPlace = place
    this.nextSeconds = first
    this.secondSeconds = second
  }

  /** Advances the request that is next in a loop of its own, if it can; the next decision may be at `decisionSeconds`. */
  private stretch(decisionSeconds: number): boolean {
    const place = this.nextPlace
    if (place === EDGE_PLACE) return fastForwardEdge(this, Math.min(this.secondSeconds, decisionSeconds))
    return place >= CLOUD_PLACE && fastForwardCloud(this, place, decisionSeconds)
  }

  private completePlace(place: number): void {
    if (place === WIRE_PLACE) this.completeWire(this.wires.first)
    else if (place === EDGE_PLACE) this.completeEdge()
    else if (place >= CLOUD_PLACE) this.completeCloud(place)
    else this.leaveLink(place)
  }

  /** Several completions at this very moment: in the order request, token, stage. */
  private completeTied(): void {
    const { ends, wires, now } = this
    for (;;) {
      let best: SimToken | null = null
      let bestStage = -1
      let bestPlace = WIRE_PLACE
      let bestWire = -1
      for (let i = 0; i < CLOUD_PLACE + this.cloudCount; i++) {
        if (ends[i] !== now || (best !== null && !comesBefore(this.runs[i], this.stages[i], best, bestStage)))
          continue
        best = this.runs[i]
        bestStage = this.stages[i]
        bestPlace = i
      }
      for (let i = 0; i < wires.length; i++) {
        if (wires.arriveSeconds[i] !== now) continue
        if (best !== null && !comesBefore(wires.runs[i], wires.stages[i], best, bestStage)) continue
        best = wires.runs[i]
        bestStage = wires.stages[i]
        bestPlace = WIRE_PLACE
        bestWire = i
      }
      if (best === null) return
      if (bestPlace === WIRE_PLACE) this.completeWire(bestWire)
      else this.completePlace(bestPlace)
    }
  }

  private completeEdge(): void {
    const run = this.runs[EDGE_PLACE]
    const seconds = this.now - this.starts[EDGE_PLACE]
    this.ends[EDGE_PLACE] = Infinity
    run.flight.outcome.edgeBusySeconds += seconds
    this.totals.edgeBusySeconds += seconds
    this.listener.compute?.(0, this.profiled[EDGE_PLACE], seconds, this.now)
    if (run.flight.abandoned) this.totals.stageEvents++
    else this.complete(run, this.stages[EDGE_PLACE])
  }

  private completeCloud(place: number): void {
    const run = this.runs[place]
    const stage = this.stages[place]
    const seconds = this.now - this.starts[place]
    const profiled = this.profiled[place]
    const last = CLOUD_PLACE + --this.cloudCount
    this.runs[place] = this.runs[last]
    this.stages[place] = this.stages[last]
    this.ends[place] = this.ends[last]
    this.starts[place] = this.starts[last]
    this.profiled[place] = this.profiled[last]
    this.ends[last] = Infinity
    const { flight, list } = run
    flight.outcome.cloudBusySeconds += seconds
    this.totals.cloudBusySeconds += seconds
    this.listener.compute?.(1, profiled, seconds, this.now)
    if (flight.abandoned) {
      this.totals.stageEvents++
      return
    }
    if (run.token === flight.firstToken) flight.networkPrefill--
    flight.cloudOccupied = false
    flight.cloudStage = list.nextCloud[stage]
    if (flight.cloudStage < 0) {
      flight.cloudRun = run.nextCloudRun
      flight.cloudStage = flight.cloudRun === null ? -1 : flight.cloudRun.list.firstCloud
    }
    this.complete(run, stage)
    this.releaseCloud(flight)
  }

  private leaveLink(place: number): void {
    const run = this.runs[place]
    const stage = this.stages[place]
    const start = this.starts[place]
    const sent = this.ends[place]
    this.ends[place] = Infinity
    if (place === UP_PLACE) this.totals.upBusySeconds += sent - start
    else this.totals.downBusySeconds += sent - start
    this.countBytes(run, stage)
    // startTransfer kept the arrival in `profiled`.
    this.wires.push(run, stage, start, sent, this.profiled[place], 1)
  }

  private completeWire(at: number): void {
    const { wires } = this
    const run = wires.runs[at]
    const stage = wires.stages[at]
    if (wires.counted[at] === 0) this.countBytes(run, stage)
    if (!run.list.express[stage] && this.listener.transfer !== undefined) {
      const direction = run.list.resource[stage] === RESOURCE.up ? 'up' : 'down'
      const bytes = run.list.bytes[stage]
      this.listener.transfer(
        direction,
        bytes,
        wires.startSeconds[at],
        wires.sentSeconds[at],
        wires.arriveSeconds[at],
      )
    }
    wires.remove(at)
    if (run.token === run.flight.firstToken) run.flight.networkPrefill--
    this.complete(run, stage)
  }

  private complete(run: SimToken, stage: number): void {
    const { list, flight } = run
    this.totals.stageEvents++
    const end = list.followerStart[stage + 1]
    for (let i = list.followerStart[stage]; i < end; i++) {
      const follower = list.followers[i]
      if (--run.waitsFor[follower] === 0) this.makeReady(run, follower)
    }
    if (stage === list.deliver) this.deliver(flight, run.token)
    if (stage === list.loop && run.token < flight.outputTokens) this.launch(flight)
    if (--run.left === 0) this.endRun(run)
  }

  private launch(flight: SimRequest): void {
    const token = ++flight.launchedTokens
    const run = this.takeRun(flight, this.listOf(flight, token), token)
    const { list } = run
    if (list.firstCloud >= 0) {
      run.nextCloudRun = null
      if (flight.cloudRun === null) {
        flight.cloudRun = run
        flight.cloudStage = list.firstCloud
      } else if (flight.lastCloudRun !== null) flight.lastCloudRun.nextCloudRun = run
      flight.lastCloudRun = run
    }
    for (let s = 0; s < list.count; s++) if (list.waitsFor[s] === 0) this.makeReady(run, s)
  }

  private listOf(flight: SimRequest, token: number): FlatStageList {
    if (token === flight.firstToken) return flight.prefill as FlatStageList
    const asked = flight.askCycle !== null && askedOfCloud(flight.askShare, token)
    return (asked ? flight.askCycle : flight.edgeCycle) as FlatStageList
  }

  private makeReady(run: SimToken, stage: number): void {
    const resource = run.list.resource[stage]
    if (resource === RESOURCE.edge) this.edgeQueue.push(run, stage, this.now)
    else if (resource === RESOURCE.cloud) {
      run.held[stage] = true
      this.heldStages++
      this.releaseCloud(run.flight)
    } else if (run.list.express[stage]) this.expressQueue.push(run, stage, this.now)
    else (resource === RESOURCE.up ? this.upQueue : this.downQueue).push(run, stage, this.now)
  }

  /** Queues a request's first incomplete cloud stage if its predecessors are complete. */
  private releaseCloud(flight: SimRequest): void {
    const run = flight.cloudRun
    if (flight.cloudOccupied || run === null || !run.held[flight.cloudStage]) return
    run.held[flight.cloudStage] = false
    this.heldStages--
    flight.cloudOccupied = true
    this.cloudQueue.push(run, flight.cloudStage, this.now)
  }

  private startAll(): void {
    const { ends } = this
    if (ends[EDGE_PLACE] === Infinity && this.edgeQueue.length > 0) this.startEdge()
    while (this.cloudQueue.length > 0 && this.cloudCount < this.world.cloudSlots) this.startCloud()
    if (ends[UP_PLACE] === Infinity && this.upQueue.length > 0) this.startTransfer(UP_PLACE, this.upQueue)
    if (ends[DOWN_PLACE] === Infinity && this.downQueue.length > 0)
      this.startTransfer(DOWN_PLACE, this.downQueue)
    while (this.expressQueue.length > 0) this.startExpress()
  }

  /** Takes the head of a queue into a place. */
  private occupy(place: number, queue: StageQueue): void {
    this.runs[place] = queue.run()
    this.stages[place] = queue.stage()
    this.starts[place] = this.now
    queue.drop()
  }

  private startEdge(): void {
    this.occupy(EDGE_PLACE, this.edgeQueue)
    const seconds = profiledSeconds(this.runs[EDGE_PLACE], this.stages[EDGE_PLACE])
    this.profiled[EDGE_PLACE] = seconds
    this.ends[EDGE_PLACE] = this.now + seconds
  }

  private startCloud(): void {
    const place = CLOUD_PLACE + this.cloudCount++
    this.occupy(place, this.cloudQueue)
    const seconds = profiledSeconds(this.runs[place], this.stages[place])
    this.profiled[place] = seconds
    this.ends[place] = this.now + seconds * this.slowdownAt(this.now)
  }

  private startTransfer(place: number, queue: StageQueue): void {
    this.occupy(place, queue)
    const { link, network } = this.world
    const bytes = this.runs[place].list.bytes[this.stages[place]]
    const direction = place === UP_PLACE ? 'up' : 'down'
    const sent = link.sentSeconds(direction, this.now, bytes)
    if (sent === Infinity) refuseDeadLink(direction, this.now)
    let cold = false
    if (bytes > network.windowBytes) {
      const lastLarge = place === UP_PLACE ? this.upLargeSeconds : this.downLargeSeconds
      cold = lastLarge <= this.now - network.coldAfterSeconds
      if (place === UP_PLACE) this.upLargeSeconds = sent
      else this.downLargeSeconds = sent
    }
    this.ends[place] = sent
    this.profiled[place] = sent + latencySeconds(network, bytes, link.rttSeconds(sent), cold)
  }

  private startExpress(): void {
    const run = this.expressQueue.run()
    const stage = this.expressQueue.stage()
    this.expressQueue.drop()
    const { link, network } = this.world
    const bytes = run.list.bytes[stage]
    const direction = run.list.resource[stage] === RESOURCE.up ? 'up' : 'down'
    const sent = link.sentSeconds(direction, this.now, bytes)
    if (sent === Infinity) refuseDeadLink(direction, this.now)
    const arrive = sent + latencySeconds(network, bytes, link.rttSeconds(sent), false)
    this.wires.push(run, stage, this.now, sent, arrive, 0)
  }
}

/**
 * The fast simulator: equal to the reference (createReference) in every outcome, total and
 * decision time, without a heap and without an allocation per token; a request alone on the
 * edge, or streaming from the cloud, advances in a loop of its own until the next event that
 * could touch it. Listener.compute is then called once for the whole stretch.
 * Throws InputError on a world or program that cannot run.
 */
export function createFast(world: EpisodeInputs, listener: SimulationListener = {}): FastSimulation {
  return new Engine(world, listener)
}
