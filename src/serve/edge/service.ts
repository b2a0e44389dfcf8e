import {
  BackendError,
  type Backend,
  type CompletionStreamListener,
  type CompletionRequest,
  type CompletionOutput,
  type Readiness,
  type ServedModel,
} from '../http/types.ts'
import type { Plan } from '../../plan/plan.ts'
import { RequestQueue } from './requestQueue.ts'
import { RequestRunner, type RequestRunnerOptions } from './requestRunner.ts'
import { RequestState } from './requestState.ts'
import { Replanner } from './replanner.ts'
import type { ServiceLimits } from './types.ts'

interface ServiceOptions extends RequestRunnerOptions {
  readonly served: ServedModel
  readonly limits: ServiceLimits
}

/** The edge as a service: takes completions, has their plans decided, carries them out whatever fails. */
export class EdgeService implements Backend {
  readonly model: ServedModel
  private readonly options: ServiceOptions
  private readonly admission: RequestQueue<RequestState>
  readonly runner: RequestRunner
  private readonly replanner: Replanner
  /** Names of requests under way: one of them cannot be begun twice. */
  private readonly keys = new Set<string>()
  private lastNumber = 0

  constructor(options: ServiceOptions) {
    const { limits, time, served } = options
    this.options = options
    this.model = served
    this.runner = new RequestRunner(options, {
      waiting: () => this.admission.waiting,
      inFlight: () => this.admission.inFlight,
    })
    const { maxInFlight, maxQueued } = limits
    this.admission = new RequestQueue({ maxInFlight, maxQueued, time }, (state) => this.runner.run(state))
    this.replanner = new Replanner({ ...options, runner: this.runner })
    this.replanner.start()
  }

  /** Requests that wait and that are carried out. */
  get queue(): { readonly waiting: number; readonly inFlight: number } {
    return { waiting: this.admission.waiting, inFlight: this.admission.inFlight }
  }

  get readiness(): Readiness {
    const { link, selector } = this.options
    if (this.admission.isDraining) return { ready: false, reason: 'about to end' }
    if (link === null || link.state === 'up') return { ready: true, reason: `decided by ${selector.name}` }
    if (selector.worksOffline) return { ready: true, reason: 'the cloud is away: the edge goes on alone' }
    return { ready: false, reason: 'the cloud is away, and the model does not fit the edge' }
  }

  async complete(request: CompletionRequest, listener: CompletionStreamListener): Promise<CompletionOutput> {
    this.admission.check()
    const name = request.key === null ? null : JSON.stringify([request.principal, request.key])
    if (name !== null && this.keys.has(name)) {
      throw new BackendError('E_KEY_REUSED', `a request with the key ${request.key} is under way`)
    }
    const known = this.restore(request)
    for (const id of known.ids) listener.onToken(id)
    if (known.finish !== null) return { ids: known.ids, finish: known.finish }
    this.checkMemory(request)
    if (name !== null) this.keys.add(name)
    try {
      return await this.enter(request, listener, known.ids)
    } finally {
      if (name !== null) this.keys.delete(name)
    }
  }

  /** Takes nothing new; true when all that was under way ended within `seconds`. */
  async drain(seconds: number): Promise<boolean> {
    const done = await this.admission.drain(seconds)
    this.replanner.stop()
    return done
  }

  /** Throws BackendError (E_TOO_LARGE) for a request that no plan can ever carry out; one that must wait is taken. */
  private checkMemory({ prompt, maxNewTokens }: CompletionRequest): void {
    const { memory, selector } = this.options
    const tokens = prompt.length + maxNewTokens
    const bytesOf = (plan: Plan): number => memory.need(plan, tokens).bytes
    const least = selector.leastPlans.reduce((a, b) => (bytesOf(b) < bytesOf(a) ? b : a))
    try {
      memory.check(least, tokens)
    } catch (error) {
      const { bytes, weightBytes, kvBytes } = memory.need(least, tokens)
      throw new BackendError(
        'E_TOO_LARGE',
        `the request needs at least ${bytes} bytes of the edge's memory, and ${memory.limitBytes} are available: ` +
          `${weightBytes} bytes of weights and ${kvBytes} of K/V for ${prompt.length} tokens of prompt and ` +
          `${maxNewTokens} of completion; shorten the prompt or ask for fewer tokens`,
        error,
      )
    }
  }

  private enter(
    request: CompletionRequest,
    listener: CompletionStreamListener,
    restored: readonly number[],
  ): Promise<CompletionOutput> {
    const { limits, time } = this.options
    const state = new RequestState({
      number: ++this.lastNumber,
      request,
      listener,
      restored,
      deadlineSeconds: Math.min(limits.totalSeconds, request.deadlineSeconds ?? Infinity),
      time,
    })
    this.runner.arrived(state)
    this.admission.enter(state, state.signal, (error) => this.runner.rejected(state, error))
    return state.output
  }

  /** A process may have been killed between the last token and the note of the end. */
  private endOf(ids: readonly number[], maxNewTokens: number): 'stop' | 'length' | null {
    if (this.options.stopIds.includes(ids.at(-1) ?? -1)) return 'stop'
    return ids.length >= maxNewTokens ? 'length' : null
  }

  /** What the journal knows of a request that an earlier process began. */
  private restore(request: CompletionRequest): { ids: readonly number[]; finish: 'stop' | 'length' | null } {
    const { requests } = this.options
    if (request.key === null || requests === null) return { ids: [], finish: null }
    const known = requests.find(request.principal, request.key)
    if (known === null) return { ids: [], finish: null }
    if (!known.matches(request)) {
      throw new BackendError('E_KEY_REUSED', `the key ${request.key} belongs to another request`)
    }
    return { ids: known.tokens, finish: known.finish ?? this.endOf(known.tokens, request.maxNewTokens) }
  }
}
