import { changedLoss } from '../plan/price/loss.ts'
import { latencySeconds } from '../plan/price/network.ts'
import type { Program } from '../plan/price/program.ts'
import { askedOfCloud, RESOURCE, stageSeconds } from '../plan/price/program.ts'
import { stepAt } from '../trace/step.ts'
import type { Direction } from '../trace/types.ts'
import { checkProgram, checkWorld, refuseDeadLink, refuseDispatch, refuseKeep } from './check.ts'
import { Heap } from './heap.ts'
import { emptyOutcome, emptyTotals } from './outcome.ts'
import type { Completion, SimRequest, LinkDirection, SimToken, SimStage } from './tasks.ts'
import { completesBefore, isCompute, needsNetwork, OutageWatch, takeFirst, withdraw } from './tasks.ts'
import type {
  DecisionKind,
  SimulationListener,
  RequestOutcome,
  Simulation,
  Totals,
  EpisodeInputs,
} from './types.ts'
import { cloudSlowdown } from '../plan/price/cloud.ts'

class ReferenceSimulation implements Simulation {
  now = 0
  readonly totals: Totals = emptyTotals()
  readonly outcomes: RequestOutcome[]
  private readonly world: EpisodeInputs
  private readonly listener: SimulationListener
  private readonly completions = new Heap<Completion>(completesBefore)
  private readonly edgeQueue: SimStage[] = []
  private edgeTask: SimStage | null = null
  private readonly cloudQueue: SimStage[] = []
  private readonly cloudTasks: SimStage[] = []
  private readonly up: LinkDirection = { name: 'up', waiting: [], underWay: null, lastLargeSentSeconds: 0 }
  private readonly down: LinkDirection = {
    name: 'down',
    waiting: [],
    underWay: null,
    lastLargeSentSeconds: 0,
  }
  private readonly expressReady: SimStage[] = []
  /** Cloud stages whose predecessors are complete, of requests whose earlier cloud stages are not. */
  private cloudHeld: SimStage[] = []
  private arrived = 0
  private dispatched = 0
  private withoutFirstToken = 0
  private deciding = false
  /** In order of dispatch; a re-planned request stays in its place. */
  private readonly flights: SimRequest[] = []
  /** Requests still to be offered for re-planning at this very moment. */
  private offered: SimRequest[] = []
  private readonly outage: OutageWatch | null

  constructor(world: EpisodeInputs, listener: SimulationListener) {
    checkWorld(world)
    this.world = world
    this.outage = world.outageSeconds === null ? null : new OutageWatch(world.link, world.outageSeconds)
    this.listener = listener
    this.outcomes = world.arrivals.map((_, request) => emptyOutcome(request))
  }

  get decision(): DecisionKind {
    return this.offered.length > 0 ? 'replan' : 'dispatch'
  }

  deliveredTokens(): number {
    return this.offered[0]?.deliveredTokens ?? 0
  }

  waiting(): number {
    return this.arrived - this.dispatched
  }

  inFlight(): number {
    return this.dispatched - this.totals.finished
  }

  uplinkQueuedBytes(): number {
    const queued = this.up.waiting.reduce((sum, task) => sum + task.stage.bytes, 0)
    return queued + (this.up.underWay?.stage.bytes ?? 0)
  }

  cloudQueuedSeconds(): number {
    let seconds = 0
    for (const task of [...this.cloudHeld, ...this.cloudQueue]) seconds += task.profiledSeconds
    for (const task of this.cloudTasks) {
      const share = (task.endSeconds - this.now) / (task.endSeconds - task.startSeconds)
      if (task.endSeconds > this.now) seconds += task.profiledSeconds * share
    }
    return seconds
  }

  advance(): number {
    if (this.offered.length > 0) return this.offered[0].request
    if (this.deciding) return this.dispatched
    for (;;) {
      this.startAll()
      if (this.completeAll()) continue
      this.receiveArrivals()
      if (this.outage?.detect(this.now) === true) {
        this.offered = this.flights.filter((flight) => this.isUnderWay(flight) && needsNetwork(flight))
        if (this.offered.length > 0) return this.offered[0].request
      }
      if (this.waiting() > 0 && this.inFlight() < this.world.maxInFlight) {
        this.deciding = true
        return this.dispatched
      }
      const nextArrival = this.world.arrivals[this.arrived]?.arrivalSeconds ?? Infinity
      const next = Math.min(this.completions.peek()?.timeSeconds ?? Infinity, nextArrival)
      if (next === Infinity) return -1
      this.moveTo(Math.min(next, this.outage?.nextSeconds() ?? Infinity))
    }
  }

  dispatch(program: Program): void {
    if (!this.deciding && this.offered.length === 0) refuseDispatch()
    checkProgram(program)
    const present = this.offered.shift()
    if (present !== undefined) {
      this.replan(present, program)
      return
    }
    this.deciding = false
    const request = this.dispatched++
    const outcome = this.outcomes[request]
    outcome.dispatchSeconds = this.now
    outcome.accuracyLoss = program.accuracyLoss
    this.flights.push(this.begin(request, program, 0))
  }

  keep(): void {
    if (this.offered.shift() === undefined) refuseKeep()
  }

  /** A request's program starts, with so many of its tokens delivered. */
  private begin(request: number, program: Program, deliveredTokens: number): SimRequest {
    const flight: SimRequest = {
      request,
      program,
      outcome: this.outcomes[request],
      firstToken: deliveredTokens + 1,
      abandoned: false,
      runs: [],
      arrivedTokens: new Set(),
      deliveredTokens,
      cloudOccupied: false,
    }
    this.launch(flight, flight.firstToken)
    return flight
  }

  private replan(present: SimRequest, program: Program): void {
    const { request, deliveredTokens: delivered, outcome } = present
    const output = this.world.arrivals[request].outputTokens
    const [was, is] = [present.program.accuracyLoss, program.accuracyLoss]
    outcome.accuracyLoss = changedLoss(outcome.accuracyLoss, { delivered, output }, was, is)
    this.abandon(present)
    this.flights[this.flights.indexOf(present)] = this.begin(request, program, delivered)
  }

  /** Drops all of a flight but the compute stages in service. */
  private abandon(flight: SimRequest): void {
    flight.abandoned = true
    const queues = [this.edgeQueue, this.cloudQueue, this.cloudHeld, this.expressReady]
    for (const queue of [...queues, this.up.waiting, this.down.waiting]) withdraw(queue, flight)
    for (const direction of [this.up, this.down]) {
      if (direction.underWay?.run.flight === flight) this.breakOff(direction, direction.underWay)
    }
    this.completions.retain(({ task }) => task.run.flight !== flight || isCompute(task))
  }

  /** The link is free again; what was on it never arrives. */
  private breakOff(direction: LinkDirection, task: SimStage): void {
    const busySeconds = this.now - task.startSeconds
    if (direction === this.up) this.totals.upBusySeconds += busySeconds
    else this.totals.downBusySeconds += busySeconds
    if (task.stage.bytes > this.world.network.windowBytes) direction.lastLargeSentSeconds = this.now
    direction.underWay = null
  }

  private isUnderWay({ request, deliveredTokens }: SimRequest): boolean {
    return deliveredTokens < this.world.arrivals[request].outputTokens
  }

  private moveTo(timeSeconds: number): void {
    const elapsed = timeSeconds - this.now
    this.totals.inSystemSeconds += elapsed * (this.arrived - this.totals.finished)
    this.totals.awaitingFirstTokenSeconds += elapsed * this.withoutFirstToken
    this.totals.waitingSeconds += elapsed * this.waiting()
    this.now = timeSeconds
  }

  private receiveArrivals(): void {
    const { arrivals } = this.world
    while (this.arrived < arrivals.length && arrivals[this.arrived].arrivalSeconds <= this.now) {
      this.arrived++
      this.withoutFirstToken++
    }
  }

  /** Processes the completions of this very moment, in order; false if there are none. */
  private completeAll(): boolean {
    let any = false
    while (this.completions.peek()?.timeSeconds === this.now) {
      const { task, phase } = this.completions.pop() as Completion
      if (phase === 'sent') this.leaveLink(task)
      else this.complete(task)
      any = true
    }
    return any
  }

  private launch(flight: SimRequest, token: number): void {
    const { program } = flight
    const kind = askedOfCloud(program.askShare, token) && program.cycles.length > 1 ? 1 : 0
    const list = token === flight.firstToken ? program.prefill : program.cycles[kind]
    const context = this.world.arrivals[flight.request].promptTokens + token - 1
    const run: SimToken = { flight, token, list, complete: list.stages.map(() => false), tasks: [] }
    list.stages.forEach((stage, index) => {
      const profiledSeconds = stageSeconds(program, stage, context)
      const task = { run, index, stage, profiledSeconds }
      run.tasks.push({ ...task, readySeconds: NaN, startSeconds: NaN, sentSeconds: NaN, endSeconds: NaN })
    })
    flight.runs.push(run)
    this.findReady(run)
  }

  /** Queues the stages of a token whose predecessors are complete. */
  private findReady(run: SimToken): void {
    for (const task of run.tasks) {
      if (!Number.isNaN(task.readySeconds)) continue
      if (!task.stage.after.every((index) => run.complete[index])) continue
      task.readySeconds = this.now
      const { resource, express } = task.stage
      if (resource === RESOURCE.edge) this.edgeQueue.push(task)
      else if (resource === RESOURCE.cloud) this.cloudHeld.push(task)
      else if (express) this.expressReady.push(task)
      else (resource === RESOURCE.up ? this.up : this.down).waiting.push(task)
    }
    this.releaseCloud(run.flight)
  }

  /** Moves a request's first incomplete cloud stage to the cloud's queue if its predecessors are complete. */
  private releaseCloud(flight: SimRequest): void {
    if (flight.cloudOccupied) return
    const tasks = flight.runs.flatMap((run) => run.tasks.filter(({ index }) => !run.complete[index]))
    const first = tasks.find(({ stage }) => stage.resource === RESOURCE.cloud)
    if (first === undefined || Number.isNaN(first.readySeconds)) return
    this.cloudHeld = this.cloudHeld.filter((task) => task !== first)
    first.readySeconds = this.now
    flight.cloudOccupied = true
    this.cloudQueue.push(first)
  }

  private startAll(): void {
    if (this.edgeTask === null && this.edgeQueue.length > 0) {
      this.edgeTask = takeFirst(this.edgeQueue)
      this.startCompute(this.edgeTask, this.edgeTask.profiledSeconds)
    }
    while (this.cloudTasks.length < this.world.cloudSlots && this.cloudQueue.length > 0) {
      const task = takeFirst(this.cloudQueue)
      this.cloudTasks.push(task)
      const active = stepAt(this.world.tenants, this.now) + this.cloudTasks.length
      const slowdown = cloudSlowdown(this.world.batchFactors, this.world.cloudSlots, active)
      this.startCompute(task, task.profiledSeconds * slowdown)
    }
    for (const direction of [this.up, this.down]) {
      if (direction.underWay === null && direction.waiting.length > 0) this.startTransfer(direction)
    }
    for (const task of this.expressReady.splice(0)) this.startExpress(task)
  }

  private startCompute(task: SimStage, actualSeconds: number): void {
    task.startSeconds = this.now
    task.endSeconds = this.now + actualSeconds
    this.completions.push({ timeSeconds: task.endSeconds, task, phase: 'end' })
  }

  private startTransfer(direction: LinkDirection): void {
    const task = takeFirst(direction.waiting)
    const { network } = this.world
    const large = task.stage.bytes > network.windowBytes
    const cold = large && direction.lastLargeSentSeconds <= this.now - network.coldAfterSeconds
    direction.underWay = task
    this.send(task, direction.name, cold)
    if (large) direction.lastLargeSentSeconds = task.sentSeconds
  }

  private startExpress(task: SimStage): void {
    this.send(task, task.stage.resource === RESOURCE.up ? 'up' : 'down', false)
  }

  private send(task: SimStage, direction: Direction, cold: boolean): void {
    const { link, network } = this.world
    const { bytes } = task.stage
    task.startSeconds = this.now
    task.sentSeconds = link.sentSeconds(direction, this.now, bytes)
    if (task.sentSeconds === Infinity) refuseDeadLink(direction, this.now)
    task.endSeconds =
      task.sentSeconds + latencySeconds(network, bytes, link.rttSeconds(task.sentSeconds), cold)
    this.completions.push({ timeSeconds: task.sentSeconds, task, phase: 'sent' })
    this.completions.push({ timeSeconds: task.endSeconds, task, phase: 'end' })
  }

  /** The last byte of a transfer has left: it counts, and the link is free. */
  private leaveLink(task: SimStage): void {
    const { bytes, resource, express } = task.stage
    const { outcome } = task.run.flight
    const busySeconds = express ? 0 : task.sentSeconds - task.startSeconds
    if (resource === RESOURCE.up) {
      outcome.upBytes += bytes
      this.totals.upBytes += bytes
      this.totals.upBusySeconds += busySeconds
      if (!express) this.up.underWay = null
    } else {
      outcome.downBytes += bytes
      this.totals.downBytes += bytes
      this.totals.downBusySeconds += busySeconds
      if (!express) this.down.underWay = null
    }
    outcome.messages++
    this.totals.messages++
  }

  private complete(task: SimStage): void {
    const { run, index, stage } = task
    const { flight, token, list } = run
    this.totals.stageEvents++
    run.complete[index] = true
    if (isCompute(task)) this.leaveCompute(task)
    else if (!stage.express) this.reportTransfer(task)
    if (flight.abandoned) return
    if (index === list.deliver) this.deliver(flight, token)
    if (index === list.loop && token < this.world.arrivals[flight.request].outputTokens)
      this.launch(flight, token + 1)
    if (run.complete.every((done) => done)) flight.runs = flight.runs.filter((other) => other !== run)
    this.findReady(run)
  }

  private leaveCompute(task: SimStage): void {
    const { flight } = task.run
    const actualSeconds = task.endSeconds - task.startSeconds
    if (task.stage.resource === RESOURCE.edge) {
      this.edgeTask = null
      flight.outcome.edgeBusySeconds += actualSeconds
      this.totals.edgeBusySeconds += actualSeconds
      this.listener.compute?.(0, task.profiledSeconds, actualSeconds, this.now)
    } else {
      this.cloudTasks.splice(this.cloudTasks.indexOf(task), 1)
      flight.cloudOccupied = false
      flight.outcome.cloudBusySeconds += actualSeconds
      this.totals.cloudBusySeconds += actualSeconds
      this.listener.compute?.(1, task.profiledSeconds, actualSeconds, this.now)
    }
  }

  private reportTransfer(task: SimStage): void {
    const direction = task.stage.resource === RESOURCE.up ? 'up' : 'down'
    this.listener.transfer?.(
      direction,
      task.stage.bytes,
      task.startSeconds,
      task.sentSeconds,
      task.endSeconds,
    )
  }

  /** The user has a token when it and all before it are there. */
  private deliver(flight: SimRequest, token: number): void {
    const { outcome, arrivedTokens, request } = flight
    arrivedTokens.add(token)
    while (arrivedTokens.delete(flight.deliveredTokens + 1)) {
      const position = ++flight.deliveredTokens
      if (position === 1) {
        outcome.firstTokenSeconds = this.now
        this.withoutFirstToken--
      }
      const due = outcome.firstTokenSeconds + (position - 1) / this.world.readingTokensPerSecond
      const further = Math.max(0, this.now - due - outcome.stallSeconds)
      outcome.stallSeconds += further
      this.totals.stallSeconds += further
      if (position === this.world.arrivals[request].outputTokens) {
        outcome.lastTokenSeconds = this.now
        this.totals.finished++
        this.listener.finished?.(request, this.now)
      }
    }
  }
}

/**
 * The slow simulator: an event queue through which every stage of every token passes
 * (docs/model.md, section 9). It shares no times with `evaluateProgram`, because its independence is its purpose:
 * test/plan/cost.test.ts holds the two to each other for lone requests under random plans. Completions of one moment are processed before anything
 * starts, in the order request, token, stage; then arrivals; then the decision.
 * Cloud stages that wait for an earlier one of their request count in cloudQueuedSeconds.
 * Throws InputError on a world or program that cannot run.
 */
export function createReference(world: EpisodeInputs, listener: SimulationListener = {}): Simulation {
  return new ReferenceSimulation(world, listener)
}
