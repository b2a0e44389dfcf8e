import { RESOURCE } from '../plan/price/program.ts'
import { StepCursor } from '../trace/step.ts'
import { checkWorld } from './check.ts'
import type { FlatStageList } from './stageLists.ts'
import {
  CLOUD_PLACE,
  DOWN_PLACE,
  SimRequest,
  profiledSeconds,
  SimToken,
  segmentAt,
  UP_PLACE,
} from './stageLists.ts'
import { OutageTimeline } from './outages.ts'
import { emptyOutcome, emptyTotals } from './outcome.ts'
import { StageQueue, TokensInTransit, MessagesInTransit } from './stores.ts'
import type { SimulationListener, RequestOutcome, Totals, EpisodeInputs } from './types.ts'
import { cloudSlowdown } from '../plan/price/cloud.ts'

/** What the fast simulator knows and counts. Open to its events (fast.ts) and stretches (stretch.ts); users see FastSimulation. */
export class FastState {
  now = 0
  totals: Totals = emptyTotals()
  outcomes: RequestOutcome[] = []
  world: EpisodeInputs
  readonly listener: SimulationListener
  /** When what is in service ends; Infinity: idle. Cloud stages lie at CLOUD_PLACE .. CLOUD_PLACE + cloudCount - 1. */
  ends = new Float64Array(0)
  starts = new Float64Array(0)
  profiled = new Float64Array(0)
  stages = new Int32Array(0)
  runs: SimToken[] = []
  cloudCount = 0
  readonly edgeQueue = new StageQueue()
  readonly cloudQueue = new StageQueue()
  readonly upQueue = new StageQueue()
  readonly downQueue = new StageQueue()
  readonly expressQueue = new StageQueue()
  readonly wires = new MessagesInTransit()
  /** Scratch of stretchCloud. */
  readonly tokenWires = new TokensInTransit()
  private tenants!: StepCursor
  private slowdownActive = NaN
  private slowdown = NaN
  protected upLargeSeconds = 0
  protected downLargeSeconds = 0
  protected flights: SimRequest[] = []
  private spareFlights: SimRequest[] = []
  protected arrived = 0
  protected dispatched = 0
  protected withoutFirstToken = 0
  protected heldStages = 0
  private integratedSeconds = 0
  protected nextArrivalSeconds = Infinity
  protected deciding = false
  /** Requests still to be offered for re-planning at this very moment. */
  protected offered: SimRequest[] = []
  protected outages!: OutageTimeline
  /** Requests in flight whose program has stages besides the edge's: without any, no outage matters. */
  protected networkFlights = 0

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
  protected integrate(timeSeconds: number): void {
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
  protected settle(answer: number): number {
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

  countBytes(run: SimToken, stage: number): void {
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
  slowdownAt(atSeconds: number): number {
    const active = this.tenants.at(atSeconds) + this.cloudCount
    if (active !== this.slowdownActive) {
      this.slowdownActive = active
      this.slowdown = cloudSlowdown(this.world.batchFactors, this.world.cloudSlots, active)
    }
    return this.slowdown
  }

  protected takeFlight(): SimRequest {
    return this.spareFlights.pop() ?? new SimRequest()
  }

  /** Drops all of a flight but the compute stages in service; settle() came before. */
  protected abandon(flight: SimRequest): void {
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
  takeRun(flight: SimRequest, list: FlatStageList, token: number): SimToken {
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
  endRun(run: SimToken): void {
    const { flight } = run
    run.list.spare.push(run)
    if (--flight.liveRuns > 0) return
    this.flights[this.flights.indexOf(flight)] = this.flights[this.flights.length - 1]
    this.flights.pop()
    this.spareFlights.push(flight)
  }

  /** The user has a token when it and all before it are there. */
  protected deliver(flight: SimRequest, token: number): void {
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
  deliverNext(flight: SimRequest, atSeconds: number): void {
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
}

/** Whether any stage of a request's program is not the edge's. */
export function usesNetwork(flight: SimRequest): boolean {
  return flight.networkCycles || (flight.prefill !== null && flight.prefill.networkStages > 0)
}
