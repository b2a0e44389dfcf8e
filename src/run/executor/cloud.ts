import type { Clock } from '../../core/clock.ts'
import { InputError } from '../../core/errors.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { lowerPlan, subgraphsOf, type LoweredPlan } from '../../plan/lower.ts'
import { CLOUD, needsCloud } from '../../plan/plan.ts'
import { cloudKvBytesPerToken, cloudWeightBytes, type EdgeMemoryTerms } from '../../plan/price/memory.ts'
import { readJson, refusalFrame, refusalOf } from '../wire/payloads.ts'
import { systemTimers, type Timers } from '../../core/timers.ts'
import { FRAME, type Connection, type Frame } from '../wire/types.ts'
import { receiveBufferBytes, CloudMemoryBudget } from './memoryBudget.ts'
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

/** Options of a cloud executor. */
export interface CloudOptions {
  readonly model: ModelSpec
  /** Shared by all connections, so that their tokens run in common batches. */
  readonly runner: SubgraphRunner
  readonly clock: Clock
  /** Largest number of open requests of one connection. */
  readonly maxRequests: number
  /** Largest number of plans that one connection may register. */
  readonly maxPlans: number
  /** Memory budget shared by all connections of a cloud; default: a budget of its own. */
  readonly budget?: CloudMemoryBudget
  /** What a plan's weights may take here; a request whose plan needs more is refused. Default: no limit. */
  readonly weights?: { readonly terms: EdgeMemoryTerms; readonly limitBytes: number }
  readonly timers?: Timers
  /** A request whose edge sends nothing for this time is ended; default 120. */
  readonly idleSeconds?: number
  /** Shortest period of load reports, which are sent when the load has changed; null: none are sent. Default 1. */
  readonly loadSeconds?: number | null
}

/** Default limits of a cloud executor. */
export const CLOUD_DEFAULTS = { maxRequests: 64, maxPlans: 1024 } as const

/** Default of CloudOptions.idleSeconds. */
const DEFAULT_IDLE_SECONDS = 120
/** Default of CloudOptions.loadSeconds. */
const DEFAULT_LOAD_SECONDS = 1

interface KnownPlan {
  readonly plan: Plan
  readonly lowered: LoweredPlan
}

/** Executes the cloud's part of every request of one connection, until it closes. */
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
  /** Executions that have not ended, including those of closed requests. */
  private executing = 0

  constructor(connection: Connection, options: CloudOptions) {
    const { clock, timers = systemTimers, idleSeconds = DEFAULT_IDLE_SECONDS, runner } = options
    const { loadSeconds = DEFAULT_LOAD_SECONDS } = options
    this.connection = connection
    this.options = options
    this.budget = options.budget ?? new CloudMemoryBudget()
    this.idle = new IdleTimeout(idleSeconds, { clock, timers })
    this.load = new LoadReporter(connection, { seconds: loadSeconds, timers }, () => ({
      sequences: this.budget.sequences,
      own: this.requests.size,
      waitingRuns: runner.waitingRuns,
      freeBytes: Math.max(0, this.budget.freeBytes),
    }))
    connection.onFrame((frame) => this.take(frame))
    connection.onClose((reason) => this.gone(reason.message))
  }

  /** Number of open requests. */
  get active(): number {
    return this.requests.size
  }

  /** Refuses new requests (E_DRAINING) and resolves when the open ones have ended. */
  drain(): Promise<void> {
    this.isDraining = true
    if (this.executing === 0) return Promise.resolve()
    return new Promise((resolve) => this.onEmpty.push(resolve))
  }

  private take(frame: Frame): void {
    try {
      if (frame.type === FRAME.plan) this.learnPlan(frame)
      else if (frame.type === FRAME.open) this.begin(frame)
      else if (frame.type === FRAME.close) this.end(frame.request)
      else this.requests.get(frame.request)?.deliver(frame, this.options.clock.nowSeconds())
    } catch (error) {
      // `request` holds the plan's number here.
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
    if (this.excessWeights(plan) === null) this.options.runner.prepare(subgraphsOf(lowered, CLOUD))
  }

  /** Bytes of a plan's weights where they are more than this cloud may load, or null. */
  private excessWeights(plan: Plan): number | null {
    const { weights } = this.options
    if (weights === undefined) return null
    const bytes = cloudWeightBytes(weights.terms, plan)
    return bytes > weights.limitBytes ? bytes : null
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
    const excess = this.excessWeights(known.plan)
    if (excess !== null) {
      refuse(`a plan whose weights here fit ${this.options.weights!.limitBytes} bytes`, `${excess} bytes`)
    }
    if (this.isDraining) throw new ExecutionError('E_DRAINING', 'the cloud is about to end')
    // A closed request frees its place before its execution ends; the second limit keeps an edge from accumulating such
    // executions.
    if (this.requests.size >= maxRequests || this.executing >= 4 * maxRequests)
      throw new ExecutionError(
        'E_BUSY',
        `this connection has ${this.requests.size} open requests, at most ${maxRequests}`,
      )
    const { promptTokens, maxNewTokens } = message
    const cacheBytes = (promptTokens + maxNewTokens) * cloudKvBytesPerToken(model, known.plan)
    this.budget.take(cacheBytes)
    const capBytes = receiveBufferBytes(model, known.lowered, promptTokens, maxNewTokens)
    const mailbox = new ReceiveBuffer(capBytes, this.budget)
    this.requests.set(request, mailbox)
    this.executing++
    this.budget.sequences++
    void this.carryOut(request, message, known, mailbox).finally(() => {
      this.budget.give(cacheBytes)
      this.budget.sequences--
      this.executing--
      if (this.executing === 0) for (const done of this.onEmpty.splice(0)) done()
    })
  }

  private async carryOut(
    request: number,
    open: OpenMessage,
    known: KnownPlan,
    mailbox: ReceiveBuffer,
  ): Promise<void> {
    const events: ExecutionEvent[] = []
    const context = this.contextOf(
      request,
      open,
      known,
      mailbox,
      open.report ? (event) => events.push(event) : NO_RECORD,
    )
    try {
      await (known.plan.exit === null
        ? executePlan(context, known.lowered)
        : executeExitOnCloud(context, known.lowered))
    } catch (error) {
      if (error !== ENDED && this.requests.get(request) === mailbox) this.refuse(request, error)
    }
    if (this.requests.get(request) === mailbox) this.requests.delete(request)
    // Discards messages that no step waits for.
    mailbox.fail(ENDED)
    await context.caches.dispose().catch(() => {})
    if (open.report) this.sayReport(request, events)
  }

  private contextOf(
    request: number,
    open: OpenMessage,
    { plan }: KnownPlan,
    mailbox: ReceiveBuffer,
    record: ExecutionContext['record'],
  ): ExecutionContext {
    const { model, runner, clock } = this.options
    return {
      side: CLOUD,
      model,
      runner,
      clock,
      record,
      caches: runner.newCaches(open.promptTokens + open.maxNewTokens),
      prompt: [],
      promptTokens: open.promptTokens,
      maxNewTokens: open.maxNewTokens,
      sampling: open.sampling,
      stopIds: open.stopIds,
      boundaryBits: plan.boundaryBits,
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

  /** A report that cannot be sent is answered with a failure, because the edge waits for it. */
  private sayReport(request: number, events: readonly ExecutionEvent[]): void {
    try {
      this.connection.send(reportFrame(request, events))
    } catch (error) {
      this.sayRefused(request, error)
    }
  }

  /** The edge has closed the request: its place is freed immediately, before the execution ends. */
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

/** The error that ends the execution of a request that the edge closed; not a failure. */
const ENDED = new ExecutionError('E_CANCELLED', 'the edge closed the request')
