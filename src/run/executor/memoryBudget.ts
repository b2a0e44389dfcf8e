import { CACHE_BYTES_PER_ELEMENT } from '../../model/graphs/cache.ts'
import { attentionUnits, kvBytesPerUnitToken, type ModelSpec } from '../../model/spec.ts'
import { rowElements, type LoweredPass, type LoweredPlan, type SendStep } from '../../plan/lower.ts'
import { EDGE, type Plan } from '../../plan/plan.ts'
import { payloadBytes } from './boundary.ts'
import { ExecutionError } from './errors.ts'

/** Default limit on the memory of a cloud's requests. */
export const DEFAULT_CLOUD_MEMORY_BYTES = 4 * 2 ** 30
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

/** Bytes of the K/V caches of the plan's cloud layers for this many tokens. */
export function cloudKvCacheBytes(model: ModelSpec, plan: Plan, tokens: number): number {
  const units =
    plan.exit === null
      ? plan.unitsOnCloud.reduce((sum, count) => sum + count, 0)
      : (model.layers - plan.exit.layer) * attentionUnits(model)
  return units * tokens * kvBytesPerUnitToken(model, CACHE_BYTES_PER_ELEMENT)
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
  const message = (step: SendStep, rows: number) => messageBytes(model, step, step.lastRow ? 1 : rows)
  const prompt = uploads(prefill).map((step) => message(step, promptTokens))
  const token = uploads(decode).map((step) => message(step, 1))
  const sum = (list: readonly number[]) => list.reduce((total, bytes) => total + bytes, 0)
  const all = sum(prompt) + (maxNewTokens - 1) * sum(token)
  return Math.min(all, Math.max(MAX_MAILBOX_BYTES, ...prompt))
}

function uploads({ steps }: LoweredPass): SendStep[] {
  return steps.filter((step): step is SendStep => step.kind === 'send' && step.from === EDGE)
}

function messageBytes(model: ModelSpec, { carries, bits }: SendStep, rows: number): number {
  if (carries === 'ids' || carries === 'token') return 4 * rows
  return payloadBytes(rows, rowElements(model, carries), bits!)
}
