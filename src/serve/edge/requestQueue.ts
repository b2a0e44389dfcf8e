import { BackendError } from '../http/types.ts'
import type { TimeSource } from '../../core/timers.ts'

interface Waiting<T> {
  readonly item: T
  readonly leave: () => void
}

interface RequestQueueOptions {
  readonly maxInFlight: number
  readonly maxQueued: number
  readonly time: TimeSource
}

/** The queue before the executor: first come first served, of a length that is limited. */
export class RequestQueue<T> {
  private readonly options: RequestQueueOptions
  private readonly queue: Waiting<T>[] = []
  private readonly begin: (item: T) => Promise<void>
  private taken = 0
  private draining = false
  private emptied: () => void = () => {}

  /** `begin` carries an item out and never rejects. */
  constructor(options: RequestQueueOptions, begin: (item: T) => Promise<void>) {
    this.options = options
    this.begin = begin
  }

  get waiting(): number {
    return this.queue.length
  }

  get inFlight(): number {
    return this.taken
  }

  get isDraining(): boolean {
    return this.draining
  }

  /** Throws BackendError where nothing more is taken. */
  check(): void {
    if (this.draining)
      throw new BackendError('E_DRAINING', 'the server is about to end and takes nothing new')
    const { maxQueued } = this.options
    if (this.taken < this.options.maxInFlight || this.queue.length < maxQueued) return
    throw new BackendError(
      'E_BUSY',
      `${this.queue.length} requests wait, at most ${maxQueued} may; try again later`,
    )
  }

  /**
   * Queues an item until its turn. `onLeave` hears why it left without: what `signal` was aborted with, a BackendError
   * where a deadline passed, else that it was cancelled.
   */
  enter(item: T, signal: AbortSignal, onLeave: (error: BackendError) => void): void {
    const leave = (): void => signal.removeEventListener('abort', abort)
    const abort = (): void => {
      const index = this.queue.findIndex((waiting) => waiting.item === item)
      if (index < 0) return
      this.queue.splice(index, 1)
      leave()
      const { reason } = signal as { reason: unknown }
      onLeave(
        reason instanceof BackendError
          ? reason
          : new BackendError('E_CANCELLED', 'the request was cancelled while it waited'),
      )
      if (this.taken + this.queue.length === 0) this.emptied()
    }
    this.queue.push({ item, leave })
    signal.addEventListener('abort', abort, { once: true })
    if (signal.aborted) abort()
    else this.pump()
  }

  /** Takes nothing new; resolves when nothing is left, or after `seconds`. */
  async drain(seconds: number): Promise<boolean> {
    this.draining = true
    if (this.taken + this.queue.length === 0) return true
    return new Promise((resolve) => {
      const stop = this.options.time.timers.after(seconds, () => resolve(false))
      this.emptied = () => {
        stop()
        resolve(true)
      }
    })
  }

  private pump(): void {
    while (this.taken < this.options.maxInFlight) {
      const next = this.queue.shift()
      if (next === undefined) break
      next.leave()
      this.taken++
      void this.begin(next.item).then(() => this.finish())
    }
  }

  private finish(): void {
    this.taken--
    this.pump()
    if (this.taken + this.queue.length === 0) this.emptied()
  }
}
