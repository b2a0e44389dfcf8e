import { Deadline } from '../../core/deadline.ts'
import type { TimeSource } from '../../core/timers.ts'
import type { GeneratorHandle } from '../../run/executor/recoveryTypes.ts'
import { NO_TRAFFIC } from '../../run/executor/requestTraffic.ts'
import {
  BackendError,
  type CompletionOutput,
  type CompletionRequest,
  type CompletionStreamListener,
} from '../http/types.ts'
import type { PlanChange, ServedStats, Timed } from './types.ts'

/** Where a request is between its arrival and its end. */
export type RequestStatus = 'queued' | 'running' | 'finished' | 'failed' | 'cancelled'

/** What may follow what (docs/serving.md, "The way of a request"). The last three are ends: nothing follows them. */
export const REQUEST_TRANSITIONS: Readonly<Record<RequestStatus, readonly RequestStatus[]>> = {
  queued: ['running', 'failed', 'cancelled'],
  running: ['finished', 'failed', 'cancelled'],
  finished: [],
  failed: [],
  cancelled: [],
}

/** What a request state begins with. */
interface RequestStateOptions {
  /** Counts requests of one service, from 1. */
  readonly number: number
  readonly request: CompletionRequest
  readonly listener: CompletionStreamListener
  /** Tokens of the answer that an earlier process generated. */
  readonly restored: readonly number[]
  /** From the request's arrival to its last token, the client's own deadline included. */
  readonly deadlineSeconds: number
  readonly time: TimeSource
}

/**
 * One completion from its arrival to its end: ids, parameters, deadline and progress. It owns the request's only
 * deadline; its signal is aborted with a BackendError once the client leaves (E_CANCELLED) or the deadline passes
 * (E_DEADLINE), wherever it is by then.
 */
export class RequestState {
  readonly number: number
  readonly request: CompletionRequest
  readonly listener: CompletionStreamListener
  /** The prompt, then what was generated before a restart: what a prefill takes in. */
  readonly prompt: readonly number[]
  readonly restored: readonly number[]
  /** When the service took it; HTTP may have had it before. */
  readonly arrivedSeconds: number
  readonly deadline: Deadline
  /** Resolves or rejects when the request has ended. */
  readonly output: Promise<CompletionOutput>

  handle: GeneratorHandle | null = null
  dispatchedSeconds: number | null = null
  firstTokenSeconds: number | null = null
  lastTokenSeconds: number | null = null
  /** Tokens that this process generated; with `restored`, the whole answer. */
  readonly ids: number[] = []
  /** What decided last. */
  decision: Timed | null = null
  /** A change of plan that was asked of the executor and has not come about yet. */
  pendingChange: Timed<PlanChange> | null = null
  edgeSeconds = 0
  /** Since when the cloud refuses this request, or null while it does not. */
  refusedSinceSeconds: number | null = null
  /** Until then, a cloud that refused this request is not asked for it again. */
  avoidCloudUntilSeconds = 0

  private currentStatus: RequestStatus = 'queued'
  private readonly controller = new AbortController()
  private readonly settle: {
    readonly resolve: (output: CompletionOutput) => void
    readonly reject: (error: unknown) => void
  }

  constructor({ number, request, listener, restored, deadlineSeconds, time }: RequestStateOptions) {
    this.number = number
    this.request = request
    this.listener = listener
    this.restored = restored
    this.prompt = [...request.prompt, ...restored]
    this.arrivedSeconds = time.clock.nowSeconds()
    let settle = {} as RequestState['settle']
    this.output = new Promise((resolve, reject) => (settle = { resolve, reject }))
    this.settle = settle
    this.deadline = new Deadline(deadlineSeconds, request.arrivedSeconds, time, () => this.expire())
    if (this.deadline.remainingSeconds <= 0) this.expire()
    else if (listener.signal.aborted) this.cancel()
    else listener.signal.addEventListener('abort', this.cancel, { once: true })
  }

  get status(): RequestStatus {
    return this.currentStatus
  }

  /** Aborted with the BackendError for which the request is given up. */
  get signal(): AbortSignal {
    return this.controller.signal
  }

  /** Tokens of the answer so far. */
  get delivered(): number {
    return this.restored.length + this.ids.length
  }

  get isOver(): boolean {
    return REQUEST_TRANSITIONS[this.status].length === 0
  }

  /** Settles as `work` does, but rejects with why the request is given up as soon as it is. */
  orGivenUp<T>(work: Promise<T>): Promise<T> {
    const { signal } = this
    return new Promise((resolve, reject) => {
      const giveUp = (): void => reject(signal.reason as BackendError)
      if (signal.aborted) giveUp()
      signal.addEventListener('abort', giveUp, { once: true })
      work.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp))
    })
  }

  dispatch(atSeconds: number): void {
    this.become('running')
    this.dispatchedSeconds = atSeconds
  }

  finish(finish: CompletionOutput['finish']): void {
    this.become('finished')
    this.settle.resolve({ ids: [...this.restored, ...this.ids], finish })
  }

  fail(error: unknown): void {
    const isCancelled = error instanceof BackendError && error.code === 'E_CANCELLED'
    this.become(isCancelled ? 'cancelled' : 'failed')
    this.settle.reject(error)
  }

  /** What it took, at its end. */
  stats(atSeconds: number): ServedStats {
    const { arrivedSeconds, dispatchedSeconds, firstTokenSeconds, lastTokenSeconds, handle } = this
    const further = this.ids.length - 1
    return {
      placed: this.decision?.placed ?? null,
      generatedTokens: this.ids.length,
      queueSeconds: (dispatchedSeconds ?? atSeconds) - arrivedSeconds,
      ttftSeconds: firstTokenSeconds === null ? null : firstTokenSeconds - arrivedSeconds,
      tpotSeconds: further < 1 ? null : (lastTokenSeconds! - firstTokenSeconds!) / further,
      endToEndSeconds: atSeconds - arrivedSeconds,
      ...(handle?.traffic ?? NO_TRAFFIC),
      edgeSeconds: this.edgeSeconds,
    }
  }

  private expire(): void {
    const where = this.status === 'queued' ? ': it was in the queue' : ''
    const text = `the request was not done within its ${this.deadline.seconds} s${where}`
    this.controller.abort(new BackendError('E_DEADLINE', text))
  }

  private readonly cancel = (): void => {
    const text = this.status === 'queued' ? ' while it waited' : ''
    this.controller.abort(new BackendError('E_CANCELLED', `the request was cancelled${text}`))
  }

  /** The one place where the status changes. Throws for a transition that the table does not have: a defect. */
  private become(next: RequestStatus): void {
    if (!REQUEST_TRANSITIONS[this.status].includes(next)) {
      throw new Error(`request ${this.number}: ${this.status} cannot become ${next}`)
    }
    this.currentStatus = next
    if (!this.isOver) return
    this.deadline.stop()
    this.listener.signal.removeEventListener('abort', this.cancel)
  }
}
