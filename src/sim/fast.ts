import { segmentAt } from '../plan/price/curves.ts'
/* eslint max-lines: ['error', 900] -- one simulator: its events and its stretches share every field */
import { changedLoss } from '../plan/price/loss.ts'
import { latencySeconds } from '../plan/price/network.ts'
import { cloudSlowdown } from '../plan/price/cloud.ts'
import type { Program } from '../plan/price/program.ts'
import { askedOfCloud, RESOURCE } from '../plan/price/program.ts'
import { StepCursor } from '../trace/step.ts'
import { checkWorld, refuseDeadLink, refuseDispatch, refuseKeep } from './check.ts'
import type { FlatStageList } from './stageLists.ts'
import { comesBefore, profiledSeconds, SHAPE, SimRequest, SimToken, StageLists } from './stageLists.ts'
import { OutageTimeline } from './outages.ts'
import { emptyOutcome, emptyTotals } from './outcome.ts'
import { MessagesInTransit, StageQueue, TokensInTransit } from './stores.ts'
import type {
  DecisionKind,
  EpisodeInputs,
  RequestOutcome,
  Simulation,
  SimulationListener,
  Totals,
} from './types.ts'

/** Places of what is in service: the edge, both directions of the link, then the cloud's stages, close together. */
const EDGE_PLACE = 0
const UP_PLACE = 1
const DOWN_PLACE = 2
const CLOUD_PLACE = 3
const WIRE_PLACE = -1

/** A simulation that can start over with another world and keep its buffers. */
interface FastSimulation extends Simulation {
  /** Starts an episode; outcomes and totals handed out before stay as they were. */
  reset(world: EpisodeInputs): void
}

/**
 * One episode: its state, its events, and the stretches that it advances in one go. What it holds most of lies apart: the
 * programs' lists and tokens (stageLists.ts), the queues and what is on the wire (stores.ts), the outages (outages.ts).
 */
class FastSimulator implements FastSimulation {
  now = 0
  totals: Totals = emptyTotals()
  outcomes: RequestOutcome[] = []
  private world: EpisodeInputs
  private readonly listener: SimulationListener
  /** When what is in service ends; Infinity: idle. Cloud stages lie at CLOUD_PLACE .. CLOUD_PLACE + cloudCount - 1. */
  private ends = new Float64Array(0)
  private starts = new Float64Array(0)
  private profiled = new Float64Array(0)
  private stages = new Int32Array(0)
  private runs: SimToken[] = []
  private cloudCount = 0
  private readonly edgeQueue = new StageQueue()
  private readonly cloudQueue = new StageQueue()
  private readonly upQueue = new StageQueue()
  private readonly downQueue = new StageQueue()
  private readonly expressQueue = new StageQueue()
  private readonly wires = new MessagesInTransit()
  /** Scratch of fastForwardCloud. */
  private readonly tokenWires = new TokensInTransit()
  private tenants!: StepCursor
  private slowdownActive = NaN
  private slowdown = NaN
  private upLargeSeconds = 0
  private downLargeSeconds = 0
  private flights: SimRequest[] = []
  private spareFlights: SimRequest[] = []
  private arrived = 0
  private dispatched = 0
  private withoutFirstToken = 0
  private heldStages = 0
  private integratedSeconds = 0
  private nextArrivalSeconds = Infinity
  private deciding = false
  /** Requests still to be offered for re-planning at this very moment. */
  private offered: SimRequest[] = []
  private outages!: OutageTimeline
  /** Requests in flight whose program has stages besides the edge's: without any, no outage matters. */
  private networkFlights = 0
  private readonly lists = new StageLists()
  /** The next completion: its place and time, and the time of the one after it. */
  private nextPlace = WIRE_PLACE
  private nextSeconds = Infinity
  private secondSeconds = Infinity

  constructor(world: EpisodeInputs, listener: SimulationListener) {
    this.world = world
    this.listener = listener
    this.reset(world)
  }

  reset(world: EpisodeInputs): void {
    checkWorld(world)
    this.world = world
    this.tenants = new StepCursor(world.tenants)
    this.now = this.integratedSeconds = 0
    this.totals = emptyTotals()
    this.outcomes = world.arrivals.map((_, request) => emptyOutcome(request))
    const places = CLOUD_PLACE + world.cloudSlots
    if (this.ends.length !== places) {
      this.ends = new Float64Array(places)
      this.starts = new Float64Array(places)
      this.profiled = new Float64Array(places)
      this.stages = new Int32Array(places)
    }
    this.ends.fill(Infinity)
    for (const queue of [this.edgeQueue, this.cloudQueue, this.upQueue, this.downQueue, this.expressQueue])
      queue.clear()
    this.wires.clear()
    this.cloudCount = this.arrived = this.dispatched = this.withoutFirstToken = this.heldStages = 0
    this.upLargeSeconds = this.downLargeSeconds = 0
    this.slowdownActive = NaN
    this.flights = []
    this.offered = []
    this.networkFlights = 0
    this.outages = new OutageTimeline(world.link, world.outageSeconds)
    this.deciding = false
    this.nextArrivalSeconds = world.arrivals[0]?.arrivalSeconds ?? Infinity
  }

  waiting(): number {
    return this.arrived - this.dispatched
  }

  inFlight(): number {
    return this.dispatched - this.totals.finished
  }

  uplinkQueuedBytes(): number {
    const { upQueue } = this
    let bytes = this.ends[UP_PLACE] === Infinity ? 0 : this.runs[UP_PLACE].list.bytes[this.stages[UP_PLACE]]
    for (let i = 0; i < upQueue.length; i++) bytes += upQueue.run(i).list.bytes[upQueue.stage(i)]
    return bytes
  }

  cloudQueuedSeconds(): number {
    const { cloudQueue, ends, starts } = this
    let seconds = 0
    for (let i = 0; i < cloudQueue.length; i++)
      seconds += profiledSeconds(cloudQueue.run(i), cloudQueue.stage(i))
    for (let place = CLOUD_PLACE; place < CLOUD_PLACE + this.cloudCount; place++) {
      const left = ends[place] - this.now
      if (left > 0) seconds += this.profiled[place] * (left / (ends[place] - starts[place]))
    }
    return this.heldStages > 0 ? seconds + this.heldSeconds() : seconds
  }

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
    this.lists.load(flight, program)
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
    const [was, is] = [present.accuracyLoss, program.accuracyLoss]
    outcome.accuracyLoss = changedLoss(outcome.accuracyLoss, { delivered, output }, was, is)
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
    if (place === EDGE_PLACE) return this.fastForwardEdge(Math.min(this.secondSeconds, decisionSeconds))
    return place >= CLOUD_PLACE && this.fastForwardCloud(place, decisionSeconds)
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

  private heldSeconds(): number {
    let seconds = 0
    for (const flight of this.flights) {
      for (let run = flight.cloudRun; run !== null; run = run.nextCloudRun) {
        for (let s = 0; s < run.list.count; s++) if (run.held[s]) seconds += profiledSeconds(run, s)
      }
    }
    return seconds
  }

  /** Integrals over time up to `timeSeconds`, arrivals until then taken in; call before a count changes. */
  private integrate(timeSeconds: number): void {
    while (this.nextArrivalSeconds <= timeSeconds) {
      this.integrateCounts(this.nextArrivalSeconds)
      this.arrived++
      this.withoutFirstToken++
      this.nextArrivalSeconds = this.world.arrivals[this.arrived]?.arrivalSeconds ?? Infinity
    }
    this.integrateCounts(timeSeconds)
  }

  private integrateCounts(timeSeconds: number): void {
    const elapsed = timeSeconds - this.integratedSeconds
    this.integratedSeconds = timeSeconds
    const { totals } = this
    totals.inSystemSeconds += elapsed * (this.arrived - totals.finished)
    totals.awaitingFirstTokenSeconds += elapsed * this.withoutFirstToken
    totals.waitingSeconds += elapsed * (this.arrived - this.dispatched)
  }

  /** Ends advance(): all that can be seen is brought up to the present. */
  private settle(answer: number): number {
    this.integrate(this.now)
    const { wires } = this
    for (let i = 0; i < wires.length; i++) {
      if (wires.counted[i] === 1 || wires.sentSeconds[i] > this.now) continue
      wires.counted[i] = 1
      this.countBytes(wires.runs[i], wires.stages[i])
    }
    this.deciding = answer >= 0
    return answer
  }

  private countBytes(run: SimToken, stage: number): void {
    const { list, flight } = run
    const { totals } = this
    if (list.resource[stage] === RESOURCE.up) {
      flight.outcome.upBytes += list.bytes[stage]
      totals.upBytes += list.bytes[stage]
    } else {
      flight.outcome.downBytes += list.bytes[stage]
      totals.downBytes += list.bytes[stage]
    }
    flight.outcome.messages++
    totals.messages++
  }

  /** Slowdown of a cloud stage that starts now, itself counted in cloudCount. */
  private slowdownAt(atSeconds: number): number {
    const active = this.tenants.at(atSeconds) + this.cloudCount
    if (active !== this.slowdownActive) {
      this.slowdownActive = active
      this.slowdown = cloudSlowdown(this.world.batchFactors, this.world.cloudSlots, active)
    }
    return this.slowdown
  }

  private takeFlight(): SimRequest {
    return this.spareFlights.pop() ?? new SimRequest()
  }

  /** Drops all of a flight but the compute stages in service; settle() came before. */
  private abandon(flight: SimRequest): void {
    flight.abandoned = true
    if (usesNetwork(flight)) this.networkFlights--
    this.flights.splice(this.flights.indexOf(flight), 1)
    for (let run = flight.cloudRun; run !== null; run = run.nextCloudRun) {
      for (let s = 0; s < run.list.count; s++) if (run.held[s]) this.heldStages--
    }
    for (const queue of [this.edgeQueue, this.cloudQueue, this.upQueue, this.downQueue, this.expressQueue])
      queue.withdraw(flight)
    this.wires.withdraw(flight)
    for (const place of [UP_PLACE, DOWN_PLACE]) {
      if (this.ends[place] !== Infinity && this.runs[place].flight === flight) this.breakOff(place)
    }
  }

  /** The link is free again; what was on it never arrives. */
  private breakOff(place: number): void {
    const busySeconds = this.now - this.starts[place]
    const large = this.runs[place].list.bytes[this.stages[place]] > this.world.network.windowBytes
    this.ends[place] = Infinity
    if (place === UP_PLACE) {
      this.totals.upBusySeconds += busySeconds
      if (large) this.upLargeSeconds = this.now
    } else {
      this.totals.downBusySeconds += busySeconds
      if (large) this.downLargeSeconds = this.now
    }
  }

  /** A run of `list` for a token, nothing complete yet. Tokens are taken in order. */
  private takeRun(flight: SimRequest, list: FlatStageList, token: number): SimToken {
    const run = list.spare.pop() ?? new SimToken(list, flight)
    run.flight = flight
    run.token = token
    run.left = list.count
    for (let s = 0; s < list.count; s++) run.waitsFor[s] = list.waitsFor[s]
    run.context = flight.promptTokens + token - 1
    run.edgeSegment = flight.edgeSegment = segmentAt(flight.edgeKnots, flight.edgeSegment, run.context)
    run.cloudSegment = flight.cloudSegment = segmentAt(flight.cloudKnots, flight.cloudSegment, run.context)
    flight.liveRuns++
    return run
  }

  /** Gives a run whose stages are all complete back, and its request when that was the last one. */
  private endRun(run: SimToken): void {
    const { flight } = run
    run.list.spare.push(run)
    if (--flight.liveRuns > 0) return
    this.flights[this.flights.indexOf(flight)] = this.flights[this.flights.length - 1]
    this.flights.pop()
    this.spareFlights.push(flight)
  }

  /** The user has a token when it and all before it are there. */
  private deliver(flight: SimRequest, token: number): void {
    if (token !== flight.deliveredTokens + 1) {
      flight.early[token] = 1
      flight.earlyTokens++
      return
    }
    this.deliverNext(flight, this.now)
    while (flight.earlyTokens > 0 && flight.early[flight.deliveredTokens + 1] === 1) {
      flight.early[flight.deliveredTokens + 1] = 0
      flight.earlyTokens--
      this.deliverNext(flight, this.now)
    }
  }

  /** Delivers a request's next token at a time. */
  private deliverNext(flight: SimRequest, atSeconds: number): void {
    const { outcome, outputTokens } = flight
    const token = ++flight.deliveredTokens
    flight.deliveredSeconds = atSeconds
    if (token === 1) {
      this.integrate(atSeconds)
      this.withoutFirstToken--
      outcome.firstTokenSeconds = flight.firstTokenSeconds = atSeconds
    } else {
      const due = flight.firstTokenSeconds + (token - 1) / this.world.readingTokensPerSecond
      const further = atSeconds - due - outcome.stallSeconds
      if (further > 0) {
        outcome.stallSeconds += further
        this.totals.stallSeconds += further
      }
    }
    if (token < outputTokens) return
    this.integrate(atSeconds)
    outcome.lastTokenSeconds = atSeconds
    this.totals.finished++
    if (usesNetwork(flight)) this.networkFlights--
    this.listener.finished?.(flight.request, atSeconds)
  }

  // Stretches: what one request does over and over while nothing else can touch it, in a loop without events. They stop
  // before the horizon (the next event of anything else) and before the last token, whose completion frees a slot.

  /** Edge-only decode while nobody waits for the edge (a token is delivered as it is made); false if not a token could be done. */
  private fastForwardEdge(horizonSeconds: number): boolean {
    const run = this.runs[EDGE_PLACE]
    const { flight } = run
    let end = this.ends[EDGE_PLACE]
    if (!(end < horizonSeconds) || this.edgeQueue.length > 0 || !repeats(run, flight, SHAPE.edgeOnly))
      return false
    const { outcome, outputTokens, firstTokenSeconds, edgeKnots } = flight
    const rate = this.world.readingTokensPerSecond
    const firstToken = run.token
    let start = this.starts[EDGE_PLACE]
    let profiled = this.profiled[EDGE_PLACE]
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
    this.starts[EDGE_PLACE] = start
    this.ends[EDGE_PLACE] = end
    this.profiled[EDGE_PLACE] = profiled
    flight.launchedTokens = run.token
    flight.deliveredTokens = run.token - 1
    this.totals.stageEvents += run.token - firstToken
    this.totals.stallSeconds += stall - outcome.stallSeconds
    this.totals.edgeBusySeconds += busySum
    outcome.stallSeconds = stall
    outcome.edgeBusySeconds += busySum
    this.listener.compute?.(0, profiledSum, busySum, start)
    return true
  }

  /** Token streaming from the cloud while its batch stays as it is; false if not a token could be done. */
  private fastForwardCloud(place: number, decisionSeconds: number): boolean {
    const run = this.runs[place]
    const { flight, list } = run
    if (this.stages[place] !== 0 || this.cloudQueue.length > 0) return false
    if (!repeats(run, flight, SHAPE.cloudStreaming) || !this.onlyTokensUnderWay(flight)) return false
    const horizonSeconds = Math.min(decisionSeconds, this.othersNext(place, flight))
    let end = this.ends[place]
    if (!(end < horizonSeconds)) return false
    const { link, network } = this.world
    const { outcome, outputTokens } = flight
    const bytes = list.bytes[1]
    const base = flight.deliveredTokens + 1
    const firstToken = run.token
    const wires = this.tokenWires
    wires.reserve(outputTokens)
    this.collectTokens(flight, base)
    let start = this.starts[place]
    let profiled = this.profiled[place]
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
      end = start + profiled * this.slowdownAt(start)
    }
    this.starts[place] = start
    this.ends[place] = end
    this.profiled[place] = profiled
    flight.launchedTokens = run.token
    this.totals.stageEvents += run.token - firstToken
    this.totals.cloudBusySeconds += busySum
    outcome.cloudBusySeconds += busySum
    this.listener.compute?.(1, profiledSum, busySum, start)
    // A token that arrives later than the next stage ends may be overtaken when the RTT falls: an event delivers it.
    this.deliverTokens(run, base, Math.min(horizonSeconds, end))
    return true
  }

  /** Whether all that a request has under way besides the token in service are tokens on their way to the user. */
  private onlyTokensUnderWay(flight: SimRequest): boolean {
    const { wires } = this
    let tokens = 0
    for (let i = 0; i < wires.length; i++) {
      const run = wires.runs[i]
      if (run.flight !== flight) continue
      if (run.left !== 1 || wires.stages[i] !== run.list.deliver || run.list !== flight.edgeCycle)
        return false
      tokens++
    }
    return tokens === flight.liveRuns - 1 && tokens === flight.launchedTokens - 1 - flight.deliveredTokens
  }

  /** The next event of anything but a request's stage in service and its tokens under way. */
  private othersNext(place: number, flight: SimRequest): number {
    const { ends, wires } = this
    let next = Infinity
    for (let i = 0; i < CLOUD_PLACE + this.cloudCount; i++) if (i !== place && ends[i] < next) next = ends[i]
    for (let i = 0; i < wires.length; i++) {
      if (wires.runs[i].flight !== flight && wires.arriveSeconds[i] < next) next = wires.arriveSeconds[i]
    }
    return next
  }

  /** Moves a request's tokens under way from the wires to tokenWires, token `base` at place 0. */
  private collectTokens(flight: SimRequest, base: number): void {
    const { wires, tokenWires } = this
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
  private deliverTokens(run: SimToken, base: number, horizonSeconds: number): void {
    const { wires, tokenWires, totals } = this
    const { flight, list, token } = run
    const { outcome, firstTokenSeconds } = flight
    const { arriveSeconds, sentSeconds, counted, runs } = tokenWires
    const rate = this.world.readingTokensPerSecond
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
      if (existing !== null) this.endRun(existing)
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
      const waiting = runs[at] ?? this.takeRun(flight, list, base + at)
      waiting.left = 1
      wires.push(waiting, 1, sentSeconds[at], sentSeconds[at], arriveSeconds[at], counted[at])
    }
  }
}

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

/** Whether any stage of a request's program is not the edge's. */
function usesNetwork(flight: SimRequest): boolean {
  return flight.networkCycles || (flight.prefill !== null && flight.prefill.networkStages > 0)
}

/**
 * The fast simulator: equal to the reference (createReference) in every outcome, total and
 * decision time (test/sim/equality.test.ts), without a heap and without an allocation per token; a request alone on the
 * edge, or streaming from the cloud, advances in a loop of its own until the next event that
 * could touch it. Listener.compute is then called once for the whole stretch.
 * Throws InputError on a world or program that cannot run.
 */
export function createFast(world: EpisodeInputs, listener: SimulationListener = {}): FastSimulation {
  return new FastSimulator(world, listener)
}
