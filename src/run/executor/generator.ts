import type { Clock } from '../../core/clock.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { cloudSamples, lowerPlan } from '../../plan/lower.ts'
import { EDGE, needsCloud } from '../../plan/plan.ts'
import type { Timers } from '../../core/timers.ts'
import type { Connection } from '../wire/types.ts'
import type { RequestKvCache } from './kvCache.ts'
import { CloudStream, type CloudStreamHost } from './cloudStream.ts'
import { EdgePassMeter, type EdgePass } from './edgePasses.ts'
import { abortReason, ExecutionError, noCloud } from './errors.ts'
import { executeExitOnEdge } from './earlyExit.ts'
import type { SampledToken } from './frames.ts'
import type { EdgeLink } from './link.ts'
import { readReport, type ResolvedPlan } from './messages.ts'
import { NO_RECORD } from './record.ts'
import type { GeneratorHandle, PlanSwitch, RecoveryEvent } from './recoveryTypes.ts'
import { checkPlan } from './request.ts'
import { RequestTraffic, type TrafficCounts } from './requestTraffic.ts'
import type { SubgraphRunner } from './subgraphRunner.ts'
import type { EdgeMemoryBudget } from './memoryBudget.ts'
import type { Semaphore } from './semaphore.ts'
import { StallWatch, type StallLimits } from './stallWatch.ts'
import { planKvCacheMigration, type KvCacheMigration } from './kvCacheMigration.ts'
import type { ExecutionEvent, OutputToken, GenerationRequest, RequestOutput } from './types.ts'
import { recordRun, executePlan, type PeerChannel, type ExecutionContext } from './executePlan.ts'

/** Callbacks and limits of one generation. */
export interface GenerateOptions {
  /** Called with each delivered token. */
  readonly onToken?: (token: OutputToken) => void
  /** Gives the request up, wherever it is; it fails with the signal's reason where that is an EdgewiseError. */
  readonly signal?: AbortSignal
  /** Records the events of both sides; the cloud is asked for its events. */
  readonly explain?: boolean
  /** Called with the edge's engine time for each pass, before the pass's token. */
  readonly onEdgeRun?: (pass: EdgePass) => void
  /** How long a request waits for a cloud that it needs; null: no limit. With a FixedLink, requests do not wait. */
  readonly recovery?: { readonly waitSeconds: number | null }
  readonly stalls?: Partial<StallLimits>
  /** Switches the plan at exactly these tokens: repeats a run with faults without the faults. */
  readonly planSwitches?: readonly PlanSwitch[]
}

/** A request that needs the cloud fails after this time without one. */
const DEFAULT_WAIT_SECONDS = 60

/** What a generator needs from its executor. */
export interface GeneratorHost {
  readonly model: ModelSpec
  readonly runner: SubgraphRunner
  readonly clock: Clock
  readonly timers: Timers
  readonly link: EdgeLink | null
  /** Null if there is no link. */
  readonly streams: CloudStreamHost | null
  readonly slots: Semaphore
  /** Null: not limited. */
  readonly memory: EdgeMemoryBudget | null
  onEvent(event: RecoveryEvent): void
  /** The clock of a connection's cloud minus ours. */
  clockOffset(connection: Connection): Promise<number>
}

interface PendingSwitch {
  readonly to: ResolvedPlan
  readonly rebuild: 'boundary' | 'ids'
}

/** Generates one request's tokens in plan spans: each runs one plan from one token on. */
export class SplitGenerator implements GeneratorHandle {
  readonly number: number
  readonly result: Promise<RequestOutput>
  readonly tokens: OutputToken[] = []
  readonly planSwitches: PlanSwitch[]
  resolvedPlan: ResolvedPlan
  private readonly host: GeneratorHost
  private readonly request: GenerationRequest
  private readonly options: GenerateOptions
  private readonly forced: PlanSwitch[]
  private readonly watch: StallWatch
  private readonly passes: EdgePassMeter
  private readonly events: ExecutionEvent[] = []
  private readonly leaveQueue = new AbortController()
  private caches: RequestKvCache
  private stream: CloudStream | null = null
  private migration: KvCacheMigration | null = null
  /** Of earlier plan spans. */
  private readonly pastTraffic = new RequestTraffic()
  /** Tokens that earlier plan spans delivered. */
  private spanStart = 0
  private change: PendingSwitch | null = null
  private failure: Error | null = null
  /** The last token was delivered, or none will be. */
  private isOver = false

  constructor(host: GeneratorHost, number: number, request: GenerationRequest, options: GenerateOptions) {
    const { planSwitches: forced = [], onEdgeRun, stalls = {} } = options
    const start = forced.find(({ rebuild }) => rebuild === 'start') ?? request
    this.host = host
    this.number = number
    this.request = request
    this.options = options
    this.resolvedPlan = { plan: start.plan, cloudUnits: start.cloudUnits }
    this.planSwitches = [{ ...this.resolvedPlan, fromToken: 0, rebuild: 'start' }]
    this.forced = forced.filter(({ rebuild }) => rebuild !== 'start')
    for (const resolved of [this.resolvedPlan, ...this.forced]) this.checkPlan(resolved)
    this.caches = host.runner.newCaches(this.reservedTokens)
    this.passes = new EdgePassMeter(onEdgeRun)
    this.watch = new StallWatch(stalls, host, (error) => this.fail(error))
    this.result = this.run()
    // The caller may look at the result later: a rejection until then is not unhandled.
    this.result.catch(() => {})
  }

  /** Prompt and longest answer together, the same under every plan. */
  private get reservedTokens(): number {
    return this.request.prompt.length + this.request.maxNewTokens
  }

  get needsCloud(): boolean {
    return needsCloud(this.resolvedPlan.plan)
  }

  get waitingSinceSeconds(): number | null {
    return this.stream?.waitingSinceSeconds ?? null
  }

  get traffic(): TrafficCounts {
    const sum = new RequestTraffic()
    sum.add(this.pastTraffic)
    if (this.stream !== null) sum.add(this.stream.traffic)
    return sum
  }

  get retransmitBytes(): number {
    return this.stream?.kept.bytes ?? 0
  }

  /**
   * Throws InputError for a plan of another model or one that does not fit the edge's memory, ExecutionError
   * (E_NO_CLOUD) if it needs a cloud and there cannot be one.
   */
  switchPlan(to: ResolvedPlan, rebuild: 'boundary' | 'ids' = 'ids'): void {
    if (this.isOver) return
    this.checkPlan(to)
    this.requireCloud(to)
    this.changeTo({ to, rebuild })
  }

  /** Throws InputError for a plan of another model, and for one that does not fit the edge's memory. */
  private checkPlan(resolved: ResolvedPlan): void {
    checkPlan(this.host.model, resolved)
    this.host.memory?.check(resolved.plan, this.reservedTokens)
  }

  /** Takes effect before the next token; an executor that is waiting for the cloud stops waiting immediately. */
  private changeTo(change: PendingSwitch): void {
    this.change = change
    this.stream?.receiveBuffer.fail(CHANGED)
  }

  private fail(error: Error): void {
    if (this.isOver) return
    this.failure ??= error
    this.stream?.receiveBuffer.fail(error)
    this.leaveQueue.abort()
  }

  private async run(): Promise<RequestOutput> {
    const { signal } = this.options
    const cancel = () => this.fail(abortReason(signal!))
    signal?.addEventListener('abort', cancel)
    try {
      if (signal?.aborted === true) throw abortReason(signal)
      this.requireCloud(this.resolvedPlan)
      const release = await this.turn()
      try {
        await this.takeMemory(this.resolvedPlan)
        return await this.carryOut()
      } finally {
        this.host.memory?.release(this)
        release()
      }
    } finally {
      this.isOver = true
      this.watch.stop()
      signal?.removeEventListener('abort', cancel)
    }
  }

  private async turn(): Promise<() => void> {
    try {
      return await this.host.slots.take(this.leaveQueue.signal)
    } catch (error) {
      throw this.failure ?? error
    }
  }

  /** Waits until the plan's weights and K/V fit beside those of the other requests. */
  private async takeMemory({ plan }: ResolvedPlan): Promise<void> {
    const { memory } = this.host
    if (memory === null) return
    try {
      await memory.take(this, plan, this.reservedTokens, this.leaveQueue.signal)
    } catch (error) {
      throw this.failure ?? error
    }
  }

  private requireCloud(placed: ResolvedPlan): void {
    const { link } = this.host
    if (!needsCloud(placed.plan)) return
    if (link === null)
      throw new ExecutionError('E_NO_CLOUD', 'the plan needs the cloud, and there is no connection to one')
    if (!link.resumes && link.connection === null) throw noCloud('it does not come back')
  }

  private async carryOut(): Promise<RequestOutput> {
    const { clock, link } = this.host
    const { explain = false } = this.options
    // Before the first pass, because pings in a busy queue measure little.
    const connection = link?.connection ?? null
    if (explain && this.needsCloud && connection !== null)
      await this.host.clockOffset(connection).catch(() => 0)
    const dispatchSeconds = clock.nowSeconds()
    this.watch.dispatched()
    try {
      await this.runSpans()
      if (explain && this.stream !== null) this.events.push(...(await this.cloudEvents(this.stream)))
    } finally {
      this.isOver = true
      this.stream?.end()
      this.stream?.kept.free()
      await this.caches.dispose()
    }
    const { tokens, events, planSwitches } = this
    const nearTies = tokens.filter((token) => token.nearTie).length
    return { tokens, dispatchSeconds, nearTies, events, planSwitches }
  }

  private async runSpans(): Promise<void> {
    for (;;) {
      this.checkFailure()
      this.forceNextSwitch()
      if (this.change !== null) await this.makeSwitch(this.change)
      else if (await this.runSpan()) return
    }
  }

  /** Returns false if the span ended for a plan switch. */
  private async runSpan(): Promise<boolean> {
    const { model } = this.host
    const { plan, cloudUnits } = this.resolvedPlan
    const lowered = lowerPlan(model, plan, cloudUnits)
    const context = this.contextOf(this.openStream())
    try {
      await this.migrateKvCache(context)
      await (plan.exit === null
        ? executePlan(context, lowered)
        : executeExitOnEdge(context, plan.exit, lowered))
    } catch (error) {
      if (error !== CHANGED || this.failure !== null) throw this.failure ?? error
      return false
    }
    this.stream?.done(cloudSamples(lowered))
    return true
  }

  private openStream(): PeerChannel {
    const { streams } = this.host
    this.stream = null
    if (streams === null || !this.needsCloud) return NOBODY
    const { sampling, stopIds } = this.request
    const { explain = false, recovery = { waitSeconds: DEFAULT_WAIT_SECONDS } } = this.options
    const owner = {
      request: this.number,
      waitSeconds: recovery.waitSeconds,
      delivered: () => this.tokens.length,
      restart: () => this.restart(),
      onEvent: (event: RecoveryEvent) => this.host.onEvent(event),
    }
    const lengths = this.lengths()
    this.stream = new CloudStream(streams, owner, this.resolvedPlan, {
      promptTokens: lengths.prompt.length,
      maxNewTokens: lengths.maxNewTokens,
      sampling,
      stopIds: [...stopIds],
      report: explain,
    })
    this.stream.begin()
    return this.stream
  }

  /** The span cannot continue. If all its tokens were delivered, only the cloud's report is lost. */
  private restart(): void {
    if (this.isOver) this.stream?.receiveBuffer.fail(noCloud('what was sent is not kept'))
    else this.changeTo({ to: this.resolvedPlan, rebuild: 'ids' })
  }

  /** Prompt and remaining tokens of this span. */
  private lengths(): { prompt: readonly number[]; maxNewTokens: number } {
    const { prompt, maxNewTokens } = this.request
    const before = this.tokens.slice(0, this.spanStart).map(({ id }) => id)
    return { prompt: [...prompt, ...before], maxNewTokens: maxNewTokens - before.length }
  }

  private contextOf(peer: PeerChannel): ExecutionContext {
    const { model, runner, clock } = this.host
    const { sampling, stopIds } = this.request
    const { prompt, maxNewTokens } = this.lengths()
    const { explain = false } = this.options
    const last = this.migration === null ? undefined : { position: prompt.length - 1, ids: prompt.slice(-1) }
    return {
      side: EDGE,
      model,
      runner,
      clock,
      caches: this.caches,
      peer,
      prompt,
      promptTokens: prompt.length,
      maxNewTokens,
      sampling,
      stopIds,
      ...(last === undefined ? {} : { start: last }),
      boundaryBits: this.resolvedPlan.plan.boundaryBits,
      record:
        explain || this.passes.wanted
          ? (event) => {
              this.passes.take(event)
              if (explain) this.events.push(event)
            }
          : NO_RECORD,
      onToken: (token) => this.deliver(token),
    }
  }

  private async migrateKvCache(context: ExecutionContext): Promise<void> {
    const { migration } = this
    this.migration = null
    if (migration === null || migration.subgraph === null) return
    const { subgraph, rows, count } = migration
    const run = { subgraph, caches: context.caches, values: { x: rows }, position: 0, rows: count }
    recordRun(context, await context.runner.run(run), 0, 0, count)
    // These runs belong to no pass.
    this.passes.drop()
  }

  private deliver(token: SampledToken): void {
    this.checkFailure()
    const generated = { ...token, atSeconds: this.host.clock.nowSeconds() }
    this.tokens.push(generated)
    this.passes.end()
    if (token.last) this.watch.stop()
    else this.watch.token()
    this.options.onToken?.(generated)
    // A request that waits for no message learns only here that it has failed.
    this.checkFailure()
    if (token.last) {
      this.isOver = true
      return
    }
    this.forceNextSwitch()
    if (this.change !== null) throw CHANGED
  }

  private checkFailure(): void {
    if (this.failure !== null) throw this.failure
  }

  private forceNextSwitch(): void {
    const [next] = this.forced
    if (this.change !== null || next === undefined || next.fromToken > this.tokens.length) return
    this.forced.shift()
    const { plan, cloudUnits, rebuild } = next
    this.change = { to: { plan, cloudUnits }, rebuild: rebuild === 'boundary' ? 'boundary' : 'ids' }
  }

  /** Ends the span and prepares the next one. */
  private async makeSwitch({ to, rebuild }: PendingSwitch): Promise<void> {
    const { model, clock, memory } = this.host
    this.requireCloud(to)
    const { stream, resolvedPlan: from } = this
    const hasMemory = memory === null || memory.exchange(this, to.plan, this.reservedTokens)
    const fromToken = this.tokens.length
    const sequence = this.request.prompt.length + fromToken
    this.change = null
    stream?.end()
    // If the span delivered no token, its kept tensors may be incomplete.
    const canMigrate = hasMemory && rebuild === 'boundary' && stream !== null && fromToken > this.spanStart
    this.migration = canMigrate ? planKvCacheMigration(model, from, to, stream.kept, sequence - 1) : null
    stream?.kept.free()
    if (stream !== null) this.pastTraffic.add(stream.traffic)
    this.stream = null
    this.resolvedPlan = to
    this.spanStart = fromToken
    this.passes.drop()
    const done = this.migration === null ? 'ids' : 'boundary'
    this.planSwitches.push({ plan: to.plan, cloudUnits: to.cloudUnits, fromToken, rebuild: done })
    this.host.onEvent({
      kind: 'request-switched',
      atSeconds: clock.nowSeconds(),
      request: this.number,
      fromToken,
      rebuild: done,
      placed: to,
    })
    if (this.migration !== null) return
    const old = this.caches
    this.caches = this.host.runner.newCaches(this.reservedTokens)
    await old.dispose()
    if (hasMemory) return
    // Without caches of its own it holds nothing that another request may wait for.
    memory.release(this)
    await this.takeMemory(to)
  }

  /** Empty if the cloud was lost before it reported. */
  private async cloudEvents(stream: CloudStream): Promise<ExecutionEvent[]> {
    try {
      const frame = await stream.reported()
      const connection = this.host.link?.connection ?? null
      return connection === null ? [] : readReport(frame, await this.host.clockOffset(connection))
    } catch {
      if (this.failure !== null) throw this.failure
      return []
    }
  }
}

/** The error that ends a span for the next one. */
const CHANGED = new Error('the plan changes')

const NOBODY: PeerChannel = {
  send: () => {
    throw new RangeError('a plan without a cloud: expected no message')
  },
  take: () => Promise.reject(new RangeError('a plan without a cloud: expected no message')),
}
