import type { Frame } from '../wire/types.ts'
import { ExecutionError } from './errors.ts'

/** A frame and its time of arrival. */
export interface ReceivedMessage {
  readonly frame: Frame
  readonly atSeconds: number
}

interface Receiver {
  readonly resolve: (delivered: ReceivedMessage) => void
  readonly reject: (error: Error) => void
}

/** Counts the bytes in receive buffers; `take` throws if there are too many. */
interface ByteBudget {
  take(bytes: number): void
  give(bytes: number): void
}

const UNCOUNTED: ByteBudget = { take: () => {}, give: () => {} }

/** A request's received frames. The connection delivers them; the executor takes them in the order of its steps. */
export class ReceiveBuffer {
  private readonly held = new Map<string, ReceivedMessage>()
  private readonly takers = new Map<string, Receiver>()
  private readonly maxHeldBytes: number
  private readonly common: ByteBudget
  private heldBytes = 0
  private failure: Error | null = null
  private reject: (error: Error) => void = () => {}
  /** Rejects when the request fails; for waits other than for a step's message. */
  readonly failed: Promise<never>

  constructor(maxHeldBytes: number, common: ByteBudget = UNCOUNTED) {
    this.maxHeldBytes = maxHeldBytes
    this.common = common
    this.failed = new Promise((_, reject) => (this.reject = reject))
    // A rejection without a waiter is not unhandled.
    this.failed.catch(() => {})
  }

  /** Throws ExecutionError if more is held than the lowered plan allows, or than the budget does. */
  deliver(frame: Frame, atSeconds: number): void {
    if (this.failure !== null) return
    const key = keyOf(frame.position, frame.step)
    const taker = this.takers.get(key)
    if (taker !== undefined) {
      this.takers.delete(key)
      taker.resolve({ frame, atSeconds })
      return
    }
    const heldBytes = this.heldBytes + frame.payload.byteLength
    if (this.held.has(key) || heldBytes > this.maxHeldBytes) {
      throw new ExecutionError(
        'E_UNEXPECTED_FRAME',
        `request ${frame.request}: a message that no step waits for: step ${frame.step}, position ${frame.position}`,
      )
    }
    this.common.take(frame.payload.byteLength)
    this.heldBytes = heldBytes
    this.held.set(key, { frame, atSeconds })
  }

  /** Resolves to the message of one step at one position when it has arrived. */
  take(position: number, step: number): Promise<ReceivedMessage> {
    const key = keyOf(position, step)
    const here = this.held.get(key)
    if (here !== undefined) {
      this.held.delete(key)
      this.heldBytes -= here.frame.payload.byteLength
      this.common.give(here.frame.payload.byteLength)
      return Promise.resolve(here)
    }
    if (this.failure !== null) return Promise.reject(this.failure)
    return new Promise((resolve, reject) => this.takers.set(key, { resolve, reject }))
  }

  /** Whether the executor is waiting for a message that has not arrived. */
  get isAwaited(): boolean {
    return this.takers.size > 0
  }

  /** Throws the request's error if it has failed. */
  check(): void {
    if (this.failure !== null) throw this.failure
  }

  /** Rejects everything that is waited for, now and later. The first error is kept. */
  fail(error: Error): void {
    this.failure ??= error
    for (const { reject } of this.takers.values()) reject(this.failure)
    this.takers.clear()
    this.held.clear()
    this.common.give(this.heldBytes)
    this.heldBytes = 0
    this.reject(this.failure)
  }
}

function keyOf(position: number, step: number): string {
  return `${position}/${step}`
}
