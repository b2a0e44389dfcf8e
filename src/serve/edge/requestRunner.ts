import { BackendError } from '../http/types.ts'
import { EdgewiseError } from '../../core/errors.ts'
import type { TimeSource } from '../../core/timers.ts'
import type { EdgeExecutor } from '../../run/executor/edge.ts'
import type { EdgeMemoryBudget } from '../../run/executor/memoryBudget.ts'
import type { ResolvedPlan } from '../../run/executor/messages.ts'
import type { GeneratorHandle, PlanSwitch, RecoveryEvent } from '../../run/executor/recoveryTypes.ts'
import type { OutputToken } from '../../run/executor/types.ts'
import type { CloudLink } from '../../run/executor/cloudLink.ts'
import type { ModelSpec } from '../../model/spec.ts'
import type { DecisionReason } from '../../core/journal/types.ts'
import type { RequestSnapshot } from '../../policy/controller/planControllerTypes.ts'
import type { RequestState } from './requestState.ts'
import type { Timed, PlanSelector, LinkStatus, ServiceEvent, ServiceLimits } from './types.ts'
import type { RequestStore } from './requests.ts'
import { timed } from './timed.ts'

/** What requests are run with: executor, link, who decides, memory, limits, and who hears of it. */
export interface RequestRunnerOptions {
  readonly spec: ModelSpec
  readonly stopIds: readonly number[]
  readonly executor: EdgeExecutor
  readonly link: CloudLink | null
  readonly selector: PlanSelector
  /** Null: requests are forgotten when the process ends. */
  readonly requests: RequestStore | null
  /** What the requests under way hold of the edge's memory: the policy sees what the executor admits by. */
  readonly memory: EdgeMemoryBudget
  readonly residentBytes: () => number
  readonly linkStatus: () => LinkStatus
  readonly limits: ServiceLimits
  readonly time: TimeSource
  readonly onEvent: (event: ServiceEvent) => void
}

/** Carries requests out, and reports how it goes by events. */
export class RequestRunner {
  /** By the executor's numbers. */
  readonly running = new Map<number, RequestState>()
  private readonly options: RequestRunnerOptions
  private readonly queue: { waiting: () => number; inFlight: () => number }

  constructor(options: RequestRunnerOptions, queue: { waiting: () => number; inFlight: () => number }) {
    this.options = options
    this.queue = queue
  }

  arrived(state: RequestState): void {
    const { onEvent, requests } = this.options
    const { number, request, arrivedSeconds } = state
    if (request.key !== null) requests?.begin(number, request)
    onEvent({
      kind: 'request-queued',
      atSeconds: arrivedSeconds,
      request: number,
      promptTokens: request.prompt.length,
      maxNewTokens: request.maxNewTokens,
    })
  }

  /** It left the queue without its turn. */
  rejected(state: RequestState, error: BackendError): void {
    this.end(state, error.code === 'E_CANCELLED' ? 'cancelled' : 'error', error.code)
    state.fail(error)
  }

  /** Carries it out; resolves when nothing works for it any more, and never rejects. */
  async run(state: RequestState): Promise<void> {
    const { selector, linkStatus, time } = this.options
    const dispatchedSeconds = time.clock.nowSeconds()
    state.dispatch(dispatchedSeconds)
    try {
      const snapshot = this.snapshot(state)
      const choice = timed(time.clock, () => selector.decide(snapshot, linkStatus()))
      state.decision = choice
      const fromToken = state.restored.length
      // K/V of tokens that an earlier process generated come back from their ids.
      const rebuild = fromToken === 0 ? 'start' : 'ids'
      this.decided(
        state,
        choice,
        { ...choice.placed, fromToken, rebuild },
        'dispatch',
        snapshot,
        dispatchedSeconds,
      )
      const handle = this.start(state, choice.placed)
      state.handle = handle
      this.running.set(handle.number, state)
      const { tokens } = await state
        .orGivenUp(handle.result)
        .finally(() => this.running.delete(handle.number))
      const stopped = this.options.stopIds.includes(tokens.at(-1)?.id ?? -1)
      this.end(state, stopped ? 'stop' : 'length', '')
      state.finish(stopped ? 'stop' : 'length')
    } catch (error) {
      const code = codeOf(error)
      this.end(state, code === 'E_CANCELLED' ? 'cancelled' : 'error', code)
      state.fail(failureOf(error))
    }
    // A request that was given up has ended; its place is free once the engine has ended the pass that it was in.
    await state.handle?.result.catch(() => {})
  }

  /** What is known of a request when its plan is decided, now or again. */
  snapshot(state: RequestState): RequestSnapshot {
    const { memory, residentBytes, time, executor } = this.options
    const { request, prompt, arrivedSeconds } = state
    const done = state.ids.length
    const memoryUse = memory.useBeside(state.handle)
    return {
      request: state.number,
      promptTokens: prompt.length + done,
      maxNewTokens: request.maxNewTokens - state.delivered,
      deliveredTokens: state.delivered,
      waitedSeconds: time.clock.nowSeconds() - arrivedSeconds,
      waitingRequests: this.queue.waiting() + 1,
      inFlight: Math.max(0, this.queue.inFlight() - 1),
      uplinkQueuedBytes: executor.queuedBytes,
      freeMemoryBytes: memory.freeBytes(memoryUse, request.prompt.length + request.maxNewTokens),
      memoryBytes: memory.limitBytes,
      residentBytes: residentBytes(),
      memoryUse,
    }
  }

  /** What the executor tells of a request. */
  onRecoveryEvent(event: RecoveryEvent): void {
    if (event.kind === 'request-switched') this.switched(event)
    else if (event.kind === 'request-refused') {
      const state = this.running.get(event.request)
      if (state !== undefined) state.refusedSinceSeconds ??= event.atSeconds
    } else if (event.kind === 'request-resumed') {
      const state = this.running.get(event.request)
      if (state !== undefined) state.refusedSinceSeconds = null
    }
  }

  /** The executor changed a request's plan, asked or by itself. */
  private switched(event: RecoveryEvent & { kind: 'request-switched' }): void {
    const state = this.running.get(event.request)
    if (state === undefined) return
    const { pendingChange: pending, decision: choice } = state
    // The plan that was asked for, else the one that the executor went over to by itself in an outage.
    const change = pending?.placed === event.placed ? pending : null
    state.pendingChange = null
    state.refusedSinceSeconds = null
    state.decision = change ?? choice
    const fromToken = state.restored.length + event.fromToken
    const entry: PlanSwitch = { ...event.placed, fromToken, rebuild: event.rebuild }
    const made = change ?? { ...choice!, placed: event.placed }
    this.decided(state, made, entry, change?.reason ?? 'outage', this.snapshot(state), event.atSeconds)
  }

  private start(state: RequestState, placed: ResolvedPlan): GeneratorHandle {
    const { executor, limits, stopIds, time, onEvent } = this.options
    const { request, prompt } = state
    return executor.start(
      {
        ...placed,
        prompt,
        stopIds,
        sampling: request.sampling,
        maxNewTokens: request.maxNewTokens - state.restored.length,
      },
      {
        signal: state.signal,
        onToken: (token) => this.token(state, token),
        onEdgeRun: (pass) => {
          state.edgeSeconds += pass.seconds
          const atSeconds = time.clock.nowSeconds()
          onEvent({ kind: 'edge-pass', atSeconds, request: state.number, ...pass })
        },
        recovery: { waitSeconds: limits.recoverySeconds },
        stalls: limits,
      },
    )
  }

  private token(state: RequestState, { id, atSeconds }: OutputToken): void {
    state.firstTokenSeconds ??= atSeconds
    state.lastTokenSeconds = atSeconds
    this.options.requests?.token(state.number, state.delivered, id)
    state.ids.push(id)
    state.listener.onToken(id)
    this.options.onEvent({ kind: 'token', atSeconds, request: state.number, tokens: state.delivered })
  }

  private decided(
    state: RequestState,
    { source, placed, decideSeconds, propensity, observation }: Timed,
    entry: PlanSwitch,
    reason: DecisionReason,
    snapshot: RequestSnapshot,
    atSeconds: number,
  ): void {
    const { requests, onEvent } = this.options
    requests?.switched(state.number, entry)
    onEvent({
      kind: 'decision',
      atSeconds,
      request: state.number,
      reason,
      source,
      placed,
      decideSeconds,
      propensity,
      observation,
      fromToken: entry.fromToken,
      rebuild: entry.rebuild,
      snapshot,
    })
  }

  private end(state: RequestState, end: 'stop' | 'length' | 'cancelled' | 'error', detail: string): void {
    const { requests, selector, time, onEvent } = this.options
    const atSeconds = time.clock.nowSeconds()
    const stats = state.stats(atSeconds)
    // What failed stays open: asked for again by its key, it goes on.
    requests?.end(state.number, end === 'stop' || end === 'length' ? end : null)
    onEvent({
      kind: 'request-ended',
      atSeconds,
      request: state.number,
      end,
      detail,
      tokens: state.delivered,
      stats,
      use: selector.ended?.(state.number, stats) ?? null,
    })
  }
}

const CODES: Readonly<Record<string, BackendError['code']>> = {
  E_NO_CLOUD: 'E_UNAVAILABLE',
  E_PEER_FAILED: 'E_UNAVAILABLE',
  E_STALLED: 'E_UNAVAILABLE',
  E_CANCELLED: 'E_CANCELLED',
  // The request was checked before: what is wrong now came from the cloud.
  E_UNEXPECTED_FRAME: 'E_UNAVAILABLE',
  E_WIRE_PAYLOAD: 'E_UNAVAILABLE',
  E_INPUT: 'E_UNAVAILABLE',
}

function codeOf(error: unknown): string {
  return error instanceof EdgewiseError ? error.code : 'E_INTERNAL'
}

/** Expected errors as the API knows them; a defect passes as it is. */
function failureOf(error: unknown): unknown {
  if (error instanceof BackendError) return error
  const code = CODES[codeOf(error)]
  if (code === undefined) return error
  return new BackendError(code, (error as Error).message, error)
}
