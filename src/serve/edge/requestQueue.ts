import { BackendError } from '../http/types.ts'
import type { TimeSource } from './types.ts'

interface Waiting<T> {
  readonly item: T
  readonly leave: () => void
}

export interface RequestQueueOptions {
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
   * Queues an item; `onLeave` hears why it left the queue without its turn: the signal, or a wait past `maxSeconds`.
   */
  enter(item: T, signal: AbortSignal, maxSeconds: number, onLeave: (error: BackendError) => void): void {
    const { timers } = this.options.time
    const out = (error: BackendError): void => {
      const index = this.queue.findIndex((waiting) => waiting.item === item)
      if (index < 0) return
      this.queue.splice(index, 1)
      leave()
      onLeave(error)
    }
    const cancel = (): void =>
      out(new BackendError('E_CANCELLED', 'the request was cancelled while it waited'))
    const stop = timers.after(maxSeconds, () =>
      out(new BackendError('E_DEADLINE', `waited ${maxSeconds} s in the queue, until its deadline`)),
    )
    const leave = (): void => {
      stop()
      signal.removeEventListener('abort', cancel)
    }
    this.queue.push({ item, leave })
    signal.addEventListener('abort', cancel, { once: true })
    this.pump()
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
