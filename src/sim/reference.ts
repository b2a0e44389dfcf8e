import { latencySeconds } from '../plan/network.ts'
import type { Program, Stage, StageList } from '../plan/program.ts'
import { askedOfCloud, curveAt, RESOURCE } from '../plan/program.ts'
import type { Direction, StepSeries } from '../trace/types.ts'
import { checkProgram, checkWorld, refuseDeadLink, refuseDispatch } from './check.ts'
import { Heap } from './heap.ts'
import { emptyOutcome, emptyTotals } from './outcome.ts'
import type { Listener, Outcome, Simulation, Totals, World } from './types.ts'
import { cloudSlowdown } from './types.ts'

/** A request that was dispatched and has stages left. */
interface Flight {
  readonly request: number
  readonly program: Program
  readonly outcome: Outcome
  /** Tokens launched so far that have stages left, in order. */
  runs: Run[]
  /** Tokens whose deliver stage is complete, by number. */
  readonly arrivedTokens: Set<number>
  deliveredTokens: number
  /** The cloud works on one stage of a request at a time. */
  cloudOccupied: boolean
}

/** One token under way: its list of stages and what is complete. */
interface Run {
  readonly flight: Flight
  readonly token: number
  readonly list: StageList
  readonly complete: boolean[]
  readonly tasks: Task[]
}

/** One stage of one token. Times are NaN until they happen. */
interface Task {
  readonly run: Run
  readonly index: number
  readonly stage: Stage
  /** Seconds of work by the profile (0 for a transfer). */
  readonly profiledSeconds: number
  readySeconds: number
  startSeconds: number
  /** Compute: the end. Transfer: the last byte has left. */
  sentSeconds: number
  endSeconds: number
}

interface Completion {
  readonly timeSeconds: number
  readonly task: Task
  /** A transfer leaves the link (`sent`) before it is complete. */
  readonly phase: 'sent' | 'end'
}

/** Order of stages that compete: request, then token, then stage. */
function compareTasks(a: Task, b: Task): number {
  return a.run.flight.request - b.run.flight.request || a.run.token - b.run.token || a.index - b.index
}

function completesBefore(a: Completion, b: Completion): boolean {
  if (a.timeSeconds !== b.timeSeconds) return a.timeSeconds < b.timeSeconds
  const order = compareTasks(a.task, b.task)
  return order !== 0 ? order < 0 : a.phase === 'sent' && b.phase === 'end'
}

/** A serialised direction of the link. */
interface LinkDirection {
  readonly name: Direction
  readonly waiting: Task[]
  underWay: Task | null
  /** When the last message past the window was sent; the connection is warm at the start. */
  lastLargeSentSeconds: number
}

function stepAt(series: StepSeries, atSeconds: number): number {
  let index = 0
  while (index + 1 < series.timeSeconds.length && series.timeSeconds[index + 1] <= atSeconds) index++
  return series.value[index]
}

/** Takes the stage that became ready first out of a queue. */
function takeFirst(queue: Task[]): Task {
  let best = 0
  for (let i = 1; i < queue.length; i++) {
    const difference = queue[i].readySeconds - queue[best].readySeconds
    if (difference < 0 || (difference === 0 && compareTasks(queue[i], queue[best]) < 0)) best = i
  }
  return queue.splice(best, 1)[0]
}

class ReferenceSimulation implements Simulation {
  now = 0
  readonly totals: Totals = emptyTotals()
  readonly outcomes: Outcome[]
  private readonly world: World
  private readonly listener: Listener
  private readonly completions = new Heap<Completion>(completesBefore)
  private readonly edgeQueue: Task[] = []
  private edgeTask: Task | null = null
  private readonly cloudQueue: Task[] = []
  private readonly cloudTasks: Task[] = []
  private readonly up: LinkDirection = { name: 'up', waiting: [], underWay: null, lastLargeSentSeconds: 0 }
  private readonly down: LinkDirection = {
    name: 'down',
    waiting: [],
    underWay: null,
    lastLargeSentSeconds: 0,
  }
  private readonly expressReady: Task[] = []
  /** Cloud stages whose predecessors are complete, of requests whose earlier cloud stages are not. */
  private cloudHeld: Task[] = []
  private arrived = 0
  private dispatched = 0
  private withoutFirstToken = 0
  private deciding = false

  constructor(world: World, listener: Listener) {
    checkWorld(world)
    this.world = world
    this.listener = listener
    this.outcomes = world.arrivals.map((_, request) => emptyOutcome(request))
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
    if (this.deciding) return this.dispatched
    for (;;) {
      this.startAll()
      if (this.completeAll()) continue
      this.receiveArrivals()
      if (this.waiting() > 0 && this.inFlight() < this.world.maxInFlight) {
        this.deciding = true
        return this.dispatched
      }
      const nextArrival = this.world.arrivals[this.arrived]?.arrivalSeconds ?? Infinity
      const next = Math.min(this.completions.peek()?.timeSeconds ?? Infinity, nextArrival)
      if (next === Infinity) return -1
      this.moveTo(next)
    }
  }

  dispatch(program: Program): void {
    if (!this.deciding) refuseDispatch()
    checkProgram(program)
    this.deciding = false
    const request = this.dispatched++
    const outcome = this.outcomes[request]
    outcome.dispatchSeconds = this.now
    outcome.accuracyLoss = program.accuracyLoss
    const flight: Flight = {
      request,
      program,
      outcome,
      runs: [],
      arrivedTokens: new Set(),
      deliveredTokens: 0,
      cloudOccupied: false,
    }
    this.launch(flight, 1)
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

  private launch(flight: Flight, token: number): void {
    const { program } = flight
    const kind = askedOfCloud(program.askShare, token) && program.cycles.length > 1 ? 1 : 0
    const list = token === 1 ? program.prefill : program.cycles[kind]
    const context = this.world.arrivals[flight.request].promptTokens + token - 1
    const run: Run = { flight, token, list, complete: list.stages.map(() => false), tasks: [] }
    list.stages.forEach((stage, index) => {
      const knots = stage.resource === RESOURCE.edge ? program.edgeKnots : program.cloudKnots
      const profiledSeconds =
        stage.seconds + (stage.curve === null ? 0 : curveAt(knots, stage.curve, context))
      const task = { run, index, stage, profiledSeconds }
      run.tasks.push({ ...task, readySeconds: NaN, startSeconds: NaN, sentSeconds: NaN, endSeconds: NaN })
    })
    flight.runs.push(run)
    this.findReady(run)
  }

  /** Queues the stages of a token whose predecessors are complete. */
  private findReady(run: Run): void {
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
  private releaseCloud(flight: Flight): void {
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

  private startCompute(task: Task, actualSeconds: number): void {
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

  private startExpress(task: Task): void {
    this.send(task, task.stage.resource === RESOURCE.up ? 'up' : 'down', false)
  }

  private send(task: Task, direction: Direction, cold: boolean): void {
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
  private leaveLink(task: Task): void {
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

  private complete(task: Task): void {
    const { run, index, stage } = task
    const { flight, token, list } = run
    this.totals.stageEvents++
    run.complete[index] = true
    if (stage.resource === RESOURCE.edge || stage.resource === RESOURCE.cloud) this.leaveCompute(task)
    else if (!stage.express) this.reportTransfer(task)
    if (index === list.deliver) this.deliver(flight, token)
    if (index === list.loop && token < this.world.arrivals[flight.request].outputTokens)
      this.launch(flight, token + 1)
    if (run.complete.every((done) => done)) flight.runs = flight.runs.filter((other) => other !== run)
    this.findReady(run)
  }

  private leaveCompute(task: Task): void {
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

  private reportTransfer(task: Task): void {
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
  private deliver(flight: Flight, token: number): void {
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
 * (design: physics.md section 3). Completions of one moment are processed before anything
 * starts, in the order request, token, stage; then arrivals; then the decision.
 * Cloud stages that wait for an earlier one of their request count in cloudQueuedSeconds.
 * Throws InputError on a world or program that cannot run.
 */
export function createReference(world: World, listener: Listener = {}): Simulation {
  return new ReferenceSimulation(world, listener)
}
