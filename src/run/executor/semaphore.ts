import { ExecutionError } from './errors.ts'

/** A counting semaphore, first come, first served. */
export class Semaphore {
  taken = 0
  private readonly limit: number
  private readonly queue: (() => void)[] = []

  constructor(limit: number) {
    this.limit = limit
  }

  get waiting(): number {
    return this.queue.length
  }

  /** Waits for a place, and resolves to a function that releases it. */
  async take(signal?: AbortSignal): Promise<() => void> {
    if (this.taken >= this.limit) await this.turn(signal)
    else this.taken++
    return () => this.release()
  }

  /** A released place goes directly to the first in the queue. */
  private turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.queue.splice(this.queue.indexOf(enter), 1)
        reject(new ExecutionError('E_CANCELLED', 'the request was cancelled'))
      }
      const enter = () => {
        signal?.removeEventListener('abort', leave)
        resolve()
      }
      if (signal?.aborted === true) {
        reject(new ExecutionError('E_CANCELLED', 'the request was cancelled'))
        return
      }
      signal?.addEventListener('abort', leave)
      this.queue.push(enter)
    })
  }

  private release(): void {
    const next = this.queue.shift()
    if (next === undefined) this.taken--
    else next()
  }
}
