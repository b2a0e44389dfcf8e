import type { Clock } from '../../core/clock.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { CLOUD, EDGE } from '../../plan/plan.ts'
import type { Timers } from '../../core/timers.ts'
import type { Connection } from '../wire/types.ts'
import type { RequestCaches } from './caches.ts'
import { Call, type CallHost } from './call.ts'
import { DeadlineWatch } from './deadlines.ts'
import { EdgePasses, type EdgePass } from './edgePasses.ts'
import { cancelled, ExecutionError, noCloud } from './errors.ts'
import { walkExitOnEdge } from './exitWalk.ts'
import type { WalkedToken } from './frames.ts'
import type { EdgeLink } from './link.ts'
import { readReport, type PlacedPlan } from './messages.ts'
import { NO_RECORD } from './record.ts'
import type { Deadlines, GenerationHandle, PlanSwitch, RecoveryEvent } from './recoveryTypes.ts'
import { checkPlan } from './request.ts'
import type { SegmentRunner } from './runner.ts'
import { planSchedule } from './schedule.ts'
import type { Slots } from './slots.ts'
import { takeoverOf, usesCloud, type Takeover } from './takeover.ts'
import type { ExecutionEvent, GeneratedToken, GenerationRequest, GenerationResult } from './types.ts'
import { recordRun, walk, type RequestPeer, type Walk } from './walk.ts'

export interface GenerateOptions {
  /** Called as each token comes. */
  readonly onToken?: (token: GeneratedToken) => void
  readonly signal?: AbortSignal
  /** Notes what both sides did; the cloud is asked for its part. */
  readonly explain?: boolean
  /** What the edge's engine took for each pass; called before the pass's token. */
  readonly onEdgeRun?: (pass: EdgePass) => void
  /** How long it waits without a cloud that it needs; null: for ever. A FixedLink's requests do not wait at all. */
  readonly recovery?: { readonly waitSeconds: number | null }
  readonly deadlines?: Partial<Deadlines>
  /** Changes the plan at exactly these tokens: a run with faults, told again without them. */
  readonly schedule?: readonly PlanSwitch[]
}

/** Without a cloud for so long, a request that needs it is given up. */
export const DEFAULT_WAIT_SECONDS = 60

/** What a generation has of its executor. */
export interface GenerationHost {
  readonly model: ModelSpec
  readonly runner: SegmentRunner
  readonly clock: Clock
  readonly timers: Timers
  readonly link: EdgeLink | null
  /** Null where there is no link. */
  readonly calls: CallHost | null
  readonly slots: Slots
  tell(event: RecoveryEvent): void
  /** The clock of a connection's cloud less ours. */
  clockOffset(connection: Connection): Promise<number>
}

interface Change {
  readonly to: PlacedPlan
  readonly rebuild: 'boundary' | 'ids'
}

/** One request: legs, each by one plan from one token on. */
export class Generation implements GenerationHandle {
  readonly number: number
  readonly result: Promise<GenerationResult>
  readonly tokens: GeneratedToken[] = []
  readonly schedule: PlanSwitch[]
  placed: PlacedPlan
  private readonly host: GenerationHost
  private readonly request: GenerationRequest
  private readonly options: GenerateOptions
  private readonly forced: PlanSwitch[]
  private readonly watch: DeadlineWatch
  private readonly passes: EdgePasses
  private readonly events: ExecutionEvent[] = []
  private readonly leaveQueue = new AbortController()
  private caches: RequestCaches
  private call: Call | null = null
  private takeover: Takeover | null = null
  /** Of the legs before this one. */
  private readonly legsBytes = { up: 0, down: 0 }
  /** Tokens that earlier legs brought. */
  private legFrom = 0
  private change: Change | null = null
  private failure: Error | null = null
  /** The last token came, or none will. */
  private isOver = false

  constructor(host: GenerationHost, number: number, request: GenerationRequest, options: GenerateOptions) {
    const { schedule = [], onEdgeRun, deadlines = {} } = options
    const start = schedule.find(({ rebuild }) => rebuild === 'start') ?? request
    this.host = host
    this.number = number
    this.request = request
    this.options = options
    this.placed = { plan: start.plan, cloudUnits: start.cloudUnits }
    this.schedule = [{ ...this.placed, fromToken: 0, rebuild: 'start' }]
    this.forced = schedule.filter(({ rebuild }) => rebuild !== 'start')
    for (const placed of [this.placed, ...this.forced]) checkPlan(host.model, placed)
    this.caches = host.runner.newCaches()
    this.passes = new EdgePasses(onEdgeRun)
    this.watch = new DeadlineWatch(deadlines, host, (error) => this.fail(error))
    this.result = this.run()
    // Whoever starts a request may look at it later.
    this.result.catch(() => {})
  }

  get usesCloud(): boolean {
    return usesCloud(this.host.model, this.placed)
  }

  get waitingSinceSeconds(): number | null {
    return this.call?.waitingSinceSeconds ?? null
  }

  get upBytes(): number {
    return this.legsBytes.up + (this.call?.upBytes ?? 0)
  }

  get downBytes(): number {
    return this.legsBytes.down + (this.call?.downBytes ?? 0)
  }

  get keptBytes(): number {
    return this.call?.kept.bytes ?? 0
  }

  /** Throws InputError for a plan of another model, ExecutionError (E_NO_CLOUD) where it needs a cloud and none can be. */
  switchPlan(to: PlacedPlan, rebuild: 'boundary' | 'ids' = 'ids'): void {
    if (this.isOver) return
    checkPlan(this.host.model, to)
    this.requireCloud(to)
    this.changeTo({ to, rebuild })
  }

  /** Before the next token: where the walker waits for the cloud, or comes to, it waits no longer. */
  private changeTo(change: Change): void {
    this.change = change
    this.call?.mailbox.fail(CHANGED)
  }

  private fail(error: Error): void {
    if (this.isOver) return
    this.failure ??= error
    this.call?.mailbox.fail(error)
    this.leaveQueue.abort()
  }

  private async run(): Promise<GenerationResult> {
    const { signal } = this.options
    const cancel = () => this.fail(cancelled())
    signal?.addEventListener('abort', cancel)
    try {
      if (signal?.aborted === true) throw cancelled()
      this.requireCloud(this.placed)
      const release = await this.turn()
      try {
        return await this.carryOut()
      } finally {
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

  private requireCloud(placed: PlacedPlan): void {
    const { link, model } = this.host
    if (!usesCloud(model, placed)) return
    if (link === null)
      throw new ExecutionError('E_NO_CLOUD', 'the plan needs the cloud, and there is no connection to one')
    if (!link.resumes && link.connection === null) throw noCloud('it does not come back')
  }

  private async carryOut(): Promise<GenerationResult> {
    const { clock, link } = this.host
    const { explain = false } = this.options
    // Before the first pass: pings in a busy queue say little.
    const connection = link?.connection ?? null
    if (explain && this.usesCloud && connection !== null)
      await this.host.clockOffset(connection).catch(() => 0)
    const dispatchSeconds = clock.nowSeconds()
    this.watch.dispatched()
    try {
      await this.carryLegs()
      if (explain && this.call !== null) this.events.push(...(await this.cloudEvents(this.call)))
    } finally {
      this.isOver = true
      this.call?.end()
      this.call?.kept.free()
      await this.caches.dispose()
    }
    const { tokens, events, schedule } = this
    const nearTies = tokens.filter((token) => token.nearTie).length
    return { tokens, dispatchSeconds, nearTies, events, schedule }
  }

  private async carryLegs(): Promise<void> {
    for (;;) {
      this.checkFailure()
      this.forceNext()
      if (this.change !== null) await this.makeChange(this.change)
      else if (await this.carryLeg()) return
    }
  }

  /** False where it ended for a change of plan. */
  private async carryLeg(): Promise<boolean> {
    const { model } = this.host
    const { plan, cloudUnits } = this.placed
    const schedule = planSchedule(model, plan, cloudUnits)
    const w = this.walkOf(this.openCall())
    try {
      await this.takeOver(w)
      await (plan.exit === null ? walk(w, schedule) : walkExitOnEdge(w, plan.exit))
    } catch (error) {
      if (error !== CHANGED || this.failure !== null) throw this.failure ?? error
      return false
    }
    this.call?.done(plan.exit === null && schedule.head === CLOUD)
    return true
  }

  private openCall(): RequestPeer {
    const { model, calls } = this.host
    this.call = null
    if (calls === null || !usesCloud(model, this.placed)) return NOBODY
    const { sampling, stopIds } = this.request
    const { explain = false, recovery = { waitSeconds: DEFAULT_WAIT_SECONDS } } = this.options
    const owner = {
      ...{ request: this.number, waitSeconds: recovery.waitSeconds },
      delivered: () => this.tokens.length,
      restart: () => this.restart(),
      tell: (event: RecoveryEvent) => this.host.tell(event),
    }
    const lengths = this.lengths()
    this.call = new Call(calls, owner, this.placed, {
      ...{ promptTokens: lengths.prompt.length, maxNewTokens: lengths.maxNewTokens },
      ...{ sampling, stopIds: [...stopIds], report: explain },
    })
    this.call.begin()
    return this.call
  }

  /** The leg cannot go on as it is; with all its tokens here, only what the cloud would report is lost. */
  private restart(): void {
    if (this.isOver) this.call?.mailbox.fail(noCloud('what was sent is not kept'))
    else this.changeTo({ to: this.placed, rebuild: 'ids' })
  }

  /** What this leg begins with, and what is left for it. */
  private lengths(): { prompt: readonly number[]; maxNewTokens: number } {
    const { prompt, maxNewTokens } = this.request
    const before = this.tokens.slice(0, this.legFrom).map(({ id }) => id)
    return { prompt: [...prompt, ...before], maxNewTokens: maxNewTokens - before.length }
  }

  private walkOf(peer: RequestPeer): Walk {
    const { model, runner, clock } = this.host
    const { sampling, stopIds } = this.request
    const { prompt, maxNewTokens } = this.lengths()
    const { explain = false } = this.options
    const last = this.takeover === null ? undefined : { position: prompt.length - 1, ids: prompt.slice(-1) }
    return {
      ...{ side: EDGE, model, runner, clock, caches: this.caches, peer },
      ...{ prompt, promptTokens: prompt.length, maxNewTokens, sampling, stopIds },
      ...(last === undefined ? {} : { start: last }),
      boundaryBits: this.placed.plan.boundaryBits,
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

  private async takeOver(w: Walk): Promise<void> {
    const { takeover } = this
    this.takeover = null
    if (takeover === null || takeover.segment === null) return
    const { segment, rows, count } = takeover
    const job = { segment, caches: w.caches, values: { x: rows }, position: 0, rows: count }
    recordRun(w, await w.runner.run(job), 0, 0, count)
    // It belongs to no pass.
    this.passes.drop()
  }

  private deliver(token: WalkedToken): void {
    this.checkFailure()
    const generated = { ...token, atSeconds: this.host.clock.nowSeconds() }
    this.tokens.push(generated)
    this.passes.end()
    if (token.last) this.watch.stop()
    else this.watch.token()
    this.options.onToken?.(generated)
    // A request that waits for no message hears of its end here alone.
    this.checkFailure()
    if (token.last) {
      this.isOver = true
      return
    }
    this.forceNext()
    if (this.change !== null) throw CHANGED
  }

  private checkFailure(): void {
    if (this.failure !== null) throw this.failure
  }

  private forceNext(): void {
    const [next] = this.forced
    if (this.change !== null || next === undefined || next.fromToken > this.tokens.length) return
    this.forced.shift()
    const { plan, cloudUnits, rebuild } = next
    this.change = { to: { plan, cloudUnits }, rebuild: rebuild === 'boundary' ? 'boundary' : 'ids' }
  }

  /** Ends the leg, and lays out the next one. */
  private async makeChange({ to, rebuild }: Change): Promise<void> {
    const { model, clock } = this.host
    this.requireCloud(to)
    const { call, placed } = this
    const fromToken = this.tokens.length
    const sequence = this.request.prompt.length + fromToken
    this.change = null
    call?.end()
    // Of a leg that brought no token nothing is certain to be kept.
    const canTakeOver = rebuild === 'boundary' && call !== null && fromToken > this.legFrom
    this.takeover = canTakeOver ? takeoverOf(model, placed, to, call.kept, sequence - 1) : null
    call?.kept.free()
    this.legsBytes.up += call?.upBytes ?? 0
    this.legsBytes.down += call?.downBytes ?? 0
    this.call = null
    this.placed = to
    this.legFrom = fromToken
    this.passes.drop()
    const done = this.takeover === null ? 'ids' : 'boundary'
    this.schedule.push({ plan: to.plan, cloudUnits: to.cloudUnits, fromToken, rebuild: done })
    this.host.tell({
      ...{ kind: 'request-switched', atSeconds: clock.nowSeconds(), request: this.number, fromToken },
      ...{ rebuild: done, placed: to },
    })
    if (this.takeover !== null) return
    const old = this.caches
    this.caches = this.host.runner.newCaches()
    await old.dispose()
  }

  /** None where the cloud was lost before it could say. */
  private async cloudEvents(call: Call): Promise<ExecutionEvent[]> {
    try {
      const frame = await call.reported()
      const connection = this.host.link?.connection ?? null
      return connection === null ? [] : readReport(frame, await this.host.clockOffset(connection))
    } catch {
      if (this.failure !== null) throw this.failure
      return []
    }
  }
}

/** A leg that ends for the next one. */
const CHANGED = new Error('the plan changes')

const NOBODY: RequestPeer = {
  send: () => {
    throw new RangeError('a plan without a cloud: expected no message')
  },
  take: () => Promise.reject(new RangeError('a plan without a cloud: expected no message')),
}
