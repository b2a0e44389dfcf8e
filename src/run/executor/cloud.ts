import type { Clock } from '../../core/clock.ts'
import { InputError } from '../../core/errors.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { lowerPlan, subgraphsOf, type LoweredPlan } from '../../plan/lower.ts'
import { CLOUD, needsCloud } from '../../plan/plan.ts'
import { readJson, refusalFrame, refusalOf } from '../wire/payloads.ts'
import { systemTimers, type Timers } from '../../core/timers.ts'
import { FRAME, type Connection, type Frame } from '../wire/types.ts'
import { cloudKvCacheBytes, receiveBufferBytes, CloudMemoryBudget } from './memoryBudget.ts'
import { ExecutionError } from './errors.ts'
import { executeExitOnCloud } from './earlyExit.ts'
import { IdleTimeout } from './idle.ts'
import { LoadReporter } from './load.ts'
import { ReceiveBuffer } from './receiveBuffer.ts'
import { resolvedPlanFromJson, readOpen, reportFrame, type OpenMessage } from './messages.ts'
import { NO_RECORD } from './record.ts'
import type { SubgraphRunner } from './subgraphRunner.ts'
import { sendIfOpen } from './sendIfOpen.ts'
import type { ExecutionEvent } from './types.ts'
import { executePlan, type ExecutionContext } from './executePlan.ts'
import type { Plan } from '../../plan/plan.ts'

export interface CloudOptions {
  readonly model: ModelSpec
  /** Shared by all connections: that is where their tokens meet in batches. */
  readonly runner: SubgraphRunner
  readonly clock: Clock
  /** Requests of one connection at a time. */
  readonly maxRequests: number
  /** Plans that one connection may have said. */
  readonly maxPlans: number
  /** Shared by all connections of a cloud; default one of its own. */
  readonly budget?: CloudMemoryBudget
  readonly timers?: Timers
  /** A request that waits for its edge for so long is given up; default 120. */
  readonly idleSeconds?: number
  /** How often the edge is told of the load, where it changed; null: never. Default 1. */
  readonly loadSeconds?: number | null
}

export const CLOUD_DEFAULTS = { maxRequests: 64, maxPlans: 1024 } as const

export const DEFAULT_IDLE_SECONDS = 120
export const DEFAULT_LOAD_SECONDS = 1

interface KnownPlan {
  readonly plan: Plan
  readonly lowered: LoweredPlan
}

/** Carries out the cloud's part of every request of one connection, until it closes. */
export class CloudExecutor {
  private readonly connection: Connection
  private readonly options: CloudOptions
  private readonly plans = new Map<number, KnownPlan>()
  private readonly requests = new Map<number, ReceiveBuffer>()
  private readonly budget: CloudMemoryBudget
  private readonly idle: IdleTimeout
  private readonly load: LoadReporter
  private readonly onEmpty: (() => void)[] = []
  private isDraining = false
  /** Walks that have not ended yet, those of closed requests included. */
  private walking = 0

  constructor(connection: Connection, options: CloudOptions) {
    const { clock, timers = systemTimers, idleSeconds = DEFAULT_IDLE_SECONDS, runner } = options
    const { loadSeconds = DEFAULT_LOAD_SECONDS } = options
    this.connection = connection
    this.options = options
    this.budget = options.budget ?? new CloudMemoryBudget()
    this.idle = new IdleTimeout(idleSeconds, { clock, timers })
    this.load = new LoadReporter(connection, { seconds: loadSeconds, timers }, () => ({
      ...{ sequences: this.budget.sequences, own: this.requests.size },
      ...{ waitingRuns: runner.waitingRuns, freeBytes: Math.max(0, this.budget.freeBytes) },
    }))
    connection.onFrame((frame) => this.take(frame))
    connection.onClose((reason) => this.gone(reason.message))
  }

  /** Requests that are being carried out. */
  get active(): number {
    return this.requests.size
  }

  /** Takes no new request (E_DRAINING) and resolves when those under way are over. */
  drain(): Promise<void> {
    this.isDraining = true
    if (this.walking === 0) return Promise.resolve()
    return new Promise((resolve) => this.onEmpty.push(resolve))
  }

  private take(frame: Frame): void {
    try {
      if (frame.type === FRAME.plan) this.learnPlan(frame)
      else if (frame.type === FRAME.open) this.begin(frame)
      else if (frame.type === FRAME.close) this.end(frame.request)
      else this.requests.get(frame.request)?.deliver(frame, this.options.clock.nowSeconds())
    } catch (error) {
      // A plan's number is no request's.
      if (frame.type === FRAME.plan) this.sayRefused(frame.request, error)
      else this.refuse(frame.request, error)
    }
  }

  private learnPlan(frame: Frame): void {
    const { model, maxPlans } = this.options
    if (this.plans.size >= maxPlans && !this.plans.has(frame.request)) {
      throw new InputError({
        where: 'plans of this connection',
        expected: `at most ${maxPlans}`,
        found: 'one more',
      })
    }
    const placed = resolvedPlanFromJson(model, readJson(frame), `plan ${frame.request}`)
    const { plan, cloudUnits } = placed
    const lowered = lowerPlan(model, plan, cloudUnits)
    this.plans.set(frame.request, { plan, lowered })
    // Whoever says a plan is about to use it.
    this.options.runner.prepare(subgraphsOf(lowered, CLOUD))
  }

  private begin(frame: Frame): void {
    const { request } = frame
    const { model, maxRequests } = this.options
    const message = readOpen(model, frame)
    const known = this.plans.get(message.plan)
    const refuse = (expected: string, found: string): never => {
      throw new InputError({ where: `request ${request}`, expected, found })
    }
    if (known === undefined) return refuse('a plan that was said before', `plan ${message.plan}`)
    // Such a request would wait for nothing and never end.
    if (!needsCloud(known.plan)) return refuse('a plan with a part in the cloud', 'one that needs no cloud')
    if (this.requests.has(request)) return refuse('a new request number', `${request}, which is open`)
    if (this.isDraining) throw new ExecutionError('E_DRAINING', 'the cloud is about to end')
    // One that was closed has made room, but no edge leaves ever more of them behind.
    if (this.requests.size >= maxRequests || this.walking >= 4 * maxRequests)
      throw new ExecutionError(
        'E_BUSY',
        `this connection has ${this.requests.size} open requests, at most ${maxRequests}`,
      )
    const { promptTokens, maxNewTokens } = message
    const cacheBytes = cloudKvCacheBytes(model, known.plan, promptTokens + maxNewTokens)
    this.budget.take(cacheBytes)
    const capBytes = receiveBufferBytes(model, known.lowered, promptTokens, maxNewTokens)
    const mailbox = new ReceiveBuffer(capBytes, this.budget)
    this.requests.set(request, mailbox)
    this.walking++
    this.budget.sequences++
    void this.carryOut(request, message, known, mailbox).finally(() => {
      this.budget.give(cacheBytes)
      this.budget.sequences--
      this.walking--
      if (this.walking === 0) for (const done of this.onEmpty.splice(0)) done()
    })
  }

  private async carryOut(
    request: number,
    open: OpenMessage,
    known: KnownPlan,
    mailbox: ReceiveBuffer,
  ): Promise<void> {
    const events: ExecutionEvent[] = []
    const w = this.walkOf(
      request,
      open,
      known,
      mailbox,
      open.report ? (event) => events.push(event) : NO_RECORD,
    )
    try {
      await (known.plan.exit === null ? executePlan(w, known.lowered) : executeExitOnCloud(w, known.lowered))
    } catch (error) {
      if (error !== ENDED && this.requests.get(request) === mailbox) this.refuse(request, error)
    }
    if (this.requests.get(request) === mailbox) this.requests.delete(request)
    // Whatever was sent and not waited for.
    mailbox.fail(ENDED)
    await w.caches.dispose().catch(() => {})
    if (open.report) this.sayReport(request, events)
  }

  private walkOf(
    request: number,
    open: OpenMessage,
    { plan }: KnownPlan,
    mailbox: ReceiveBuffer,
    record: ExecutionContext['record'],
  ): ExecutionContext {
    const { model, runner, clock } = this.options
    return {
      ...{
        side: CLOUD,
        model,
        runner,
        clock,
        record,
        caches: runner.newCaches(open.promptTokens + open.maxNewTokens),
        prompt: [],
      },
      ...{ promptTokens: open.promptTokens, maxNewTokens: open.maxNewTokens },
      ...{ sampling: open.sampling, stopIds: open.stopIds, boundaryBits: plan.boundaryBits },
      peer: {
        send: (frame) => {
          mailbox.check()
          this.connection.send({ ...frame, request })
        },
        take: (position, step) => this.idle.over(mailbox, mailbox.take(position, step)),
      },
      onToken: () => {},
    }
  }

  /** A report that cannot be sent is told: the edge waits for it. */
  private sayReport(request: number, events: readonly ExecutionEvent[]): void {
    try {
      this.connection.send(reportFrame(request, events))
    } catch (error) {
      this.sayRefused(request, error)
    }
  }

  /** The edge has all it wanted: its place is free at once, whatever is left to tidy up. */
  private end(request: number): void {
    this.requests.get(request)?.fail(ENDED)
    this.requests.delete(request)
  }

  private refuse(request: number, error: unknown): void {
    this.end(request)
    this.sayRefused(request, error)
  }

  private sayRefused(request: number, error: unknown): void {
    sendIfOpen(this.connection, refusalFrame(FRAME.fail, refusalOf(error), { request }))
  }

  private gone(reason: string): void {
    this.load.stop()
    const error = new ExecutionError('E_PEER_FAILED', reason)
    for (const mailbox of this.requests.values()) mailbox.fail(error)
    this.requests.clear()
  }
}

/** How a request ends that the edge closed: no failure. */
const ENDED = new ExecutionError('E_CANCELLED', 'the edge closed the request')
