import { InputError } from '../../core/errors.ts'
import type { ModelSpec } from '../../model/spec.ts'
import type { LoweredPass, LoweredPlan, SendStep } from '../../plan/lower.ts'
import { EDGE, type Plan } from '../../plan/plan.ts'
import { payloadBytes } from '../../plan/price/boundary.ts'
import {
  edgeMemory,
  fitsBeside,
  freeBytesBeside,
  heldBytes,
  partBytes,
  unionOfWeights,
  type EdgeMemoryTerms,
  type HeldWeights,
  type MemoryUse,
} from '../../plan/price/memory.ts'
import { cancelled, ExecutionError } from './errors.ts'

/** Default limit on the memory of a cloud's requests. */
const DEFAULT_CLOUD_MEMORY_BYTES = 4 * 2 ** 30
/** Largest size of a request's receive buffer, unless a single message is larger. */
const MAX_MAILBOX_BYTES = 64 * 2 ** 20

/** K/V caches and held messages of all connections of a cloud, with one limit. */
export class CloudMemoryBudget {
  readonly limitBytes: number
  usedBytes = 0
  /** Open requests of all connections. */
  sequences = 0

  constructor(limitBytes: number = DEFAULT_CLOUD_MEMORY_BYTES) {
    this.limitBytes = limitBytes
  }

  get freeBytes(): number {
    return this.limitBytes - this.usedBytes
  }

  /** Reserves bytes before they are allocated. Throws ExecutionError (E_BUSY) if they exceed the limit. */
  take(bytes: number): void {
    if (bytes > this.freeBytes)
      throw new ExecutionError(
        'E_BUSY',
        `the cloud's requests hold ${this.usedBytes} bytes of ${this.limitBytes}: no room for ${bytes} more`,
      )
    this.usedBytes += bytes
  }

  give(bytes: number): void {
    this.usedBytes -= bytes
  }
}

/** The shortest request: one token of prompt and one of output. */
export const SHORTEST_REQUEST_TOKENS = 2

/** Weights and K/V that one request needs on the edge under its plan. */
interface MemoryHolding {
  readonly plan: Plan
  readonly kvTokens: number
}

interface MemoryWaiter extends MemoryHolding {
  readonly holder: object
  readonly enter: () => void
}

/** Bytes that a plan needs on the edge: in all, of weights and of K/V. */
interface MemoryNeed {
  readonly bytes: number
  readonly weightBytes: number
  readonly kvBytes: number
}

/**
 * The memory of an edge, against one limit: the weights that requests under way need (each once, whoever needs it),
 * their K/V, and the boundary tensors that are kept for a replay. A request that does not fit beside the others waits,
 * first come first served; one that would not fit alone is refused before anything is loaded.
 */
export class EdgeMemoryBudget {
  readonly limitBytes: number
  /** Bytes of boundary tensors kept by now; set by the executor. */
  keptBytes: () => number = () => 0
  private readonly terms: EdgeMemoryTerms
  private readonly holdings = new Map<object, MemoryHolding>()
  private readonly queue: MemoryWaiter[] = []
  private neededBytes = 0
  private kvBytes = 0

  constructor(terms: EdgeMemoryTerms, limitBytes: number) {
    this.terms = terms
    this.limitBytes = limitBytes
  }

  /** What loaded weights may take: all but the K/V of requests under way and what is kept. */
  get weightLimitBytes(): number {
    return Math.max(0, this.limitBytes - this.kvBytes - this.keptBytes())
  }

  /** What kept boundary tensors may take: what weights and K/V of requests under way leave. */
  get keptLimitBytes(): number {
    return Math.max(0, this.limitBytes - this.neededBytes)
  }

  /** Weights and K/V of requests under way. */
  get usedBytes(): number {
    return this.neededBytes
  }

  /** Requests that wait for memory. */
  get waiting(): number {
    return this.queue.length
  }

  /** What the requests need that hold memory, or wait for it, but `holder` (null: all). */
  useBeside(holder: object | null): MemoryUse {
    const holdings = [...this.holdings].map(([other, holding]) => ({ ...holding, holder: other }))
    return this.useOf([...holdings, ...this.queue].filter((other) => other.holder !== holder))
  }

  /** What a new plan's weights and K/V may take beside them, whatever plan it is. */
  freeBytes(use: MemoryUse, kvTokens: number): number {
    return freeBytesBeside(this.terms, use, kvTokens)
  }

  /** What a plan needs on the edge if it is the only one. */
  need(plan: Plan, kvTokens: number): MemoryNeed {
    const { weightBytes, kvBytesPerToken } = edgeMemory(this.terms, plan)
    const kvBytes = kvBytesPerToken * kvTokens
    return { bytes: weightBytes + kvBytes, weightBytes, kvBytes }
  }

  /** Whether a plan fits where no other request is under way. */
  couldFit(plan: Plan, kvTokens: number): boolean {
    return this.need(plan, kvTokens).bytes <= this.limitBytes
  }

  /** Throws InputError for a plan that would not fit even if it were the only one. */
  check(plan: Plan, kvTokens: number): void {
    if (this.couldFit(plan, kvTokens)) return
    const { bytes, weightBytes, kvBytes } = this.need(plan, kvTokens)
    throw new InputError({
      where: '--memory-gb',
      expected:
        `at least ${bytes} bytes, which the plan needs on the edge: ` +
        `${weightBytes} of weights and ${kvBytes} of K/V for ${kvTokens} tokens`,
      found: `${this.limitBytes} bytes`,
      remedy:
        'give more memory, or choose a plan with less on the edge, a lower precision or a shorter answer',
    })
  }

  /** Resolves once the plan fits beside those of the other holders. Rejects with ExecutionError where `signal` aborts. */
  take(holder: object, plan: Plan, kvTokens: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(cancelled())
    if (this.queue.length === 0 && this.fits(holder, plan, kvTokens)) {
      this.hold(holder, { plan, kvTokens })
      return Promise.resolve()
    }
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.queue.splice(this.queue.indexOf(waiter), 1)
        reject(cancelled())
        this.pump()
      }
      const enter = (): void => {
        signal.removeEventListener('abort', leave)
        resolve()
      }
      const waiter = { holder, plan, kvTokens, enter }
      signal.addEventListener('abort', leave, { once: true })
      this.queue.push(waiter)
      this.pump()
    })
  }

  /** Holds another plan in place of the holder's own; false, and nothing changes, where it does not fit now. */
  exchange(holder: object, plan: Plan, kvTokens: number): boolean {
    if (!this.fits(holder, plan, kvTokens)) return false
    this.hold(holder, { plan, kvTokens })
    this.pump()
    return true
  }

  release(holder: object): void {
    if (!this.holdings.delete(holder)) return
    this.count()
    this.pump()
  }

  private fits(holder: object, plan: Plan, kvTokens: number): boolean {
    const others = [...this.holdings].flatMap(([other, holding]) => (other === holder ? [] : [holding]))
    return fitsBeside(this.terms, this.useOf(others), plan, kvTokens)
  }

  private useOf(others: readonly MemoryHolding[]): MemoryUse {
    return {
      limitBytes: this.limitBytes,
      weights: this.weightsOf(others),
      kvBytes: this.kvBytesOf(others),
      // What is kept goes with the requests that it is kept for.
      keptBytes: others.length === 0 ? 0 : this.keptBytes(),
    }
  }

  private hold(holder: object, holding: MemoryHolding): void {
    this.holdings.set(holder, holding)
    this.count()
  }

  private count(): void {
    const holdings = [...this.holdings.values()]
    this.kvBytes = this.kvBytesOf(holdings)
    this.neededBytes = heldBytes(partBytes(this.terms), this.weightsOf(holdings)) + this.kvBytes
  }

  private kvBytesOf(holdings: readonly MemoryHolding[]): number {
    let bytes = 0
    for (const { plan, kvTokens } of holdings)
      bytes += edgeMemory(this.terms, plan).kvBytesPerToken * kvTokens
    return bytes
  }

  private weightsOf(holdings: readonly MemoryHolding[]): HeldWeights {
    return unionOfWeights(
      this.terms.model,
      holdings.map(({ plan }) => plan),
    )
  }

  private pump(): void {
    for (let next = this.queue[0]; next !== undefined; next = this.queue[0]) {
      if (!this.fits(next.holder, next.plan, next.kvTokens)) return
      this.queue.shift()
      this.hold(next.holder, next)
      next.enter()
    }
  }
}

/**
 * Upper bound of what the edge sends for a request of the plan: a correct edge never has more in the receive buffer.
 */
export function receiveBufferBytes(
  model: ModelSpec,
  { prefill, decode }: LoweredPlan,
  promptTokens: number,
  maxNewTokens: number,
): number {
  const prompt = uploads(prefill).map((step) => payloadBytes(model, step, promptTokens))
  const token = uploads(decode).map((step) => payloadBytes(model, step, 1))
  const sum = (list: readonly number[]) => list.reduce((total, bytes) => total + bytes, 0)
  const all = sum(prompt) + (maxNewTokens - 1) * sum(token)
  return Math.min(all, Math.max(MAX_MAILBOX_BYTES, ...prompt))
}

function uploads({ steps }: LoweredPass): SendStep[] {
  return steps.filter((step): step is SendStep => step.kind === 'send' && step.from === EDGE)
}
