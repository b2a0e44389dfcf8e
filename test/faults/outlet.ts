import type { Socket } from 'node:net'
import type { Timers } from '../../src/core/timers.ts'

/** How bytes leave: at once, one at a time (a write each), or so many a second. */
export type Manner = 'whole' | 'singly' | { readonly bytesPerSecond: number }

type Item =
  | { readonly bytes: Uint8Array; readonly manner: Manner }
  | { readonly pauseSeconds: number }
  | { readonly end: true }

/** A crawling stream moves so often. */
const CRAWL_STEP_SECONDS = 0.02

/** What leaves one socket, in order, whatever each part's manner is. */
export class Outlet {
  private readonly socket: Socket
  private readonly timers: Timers
  private readonly items: Item[] = []
  private busy = false
  private stopTimer: () => void = () => {}

  constructor(socket: Socket, timers: Timers) {
    this.socket = socket
    this.timers = timers
  }

  write(bytes: Uint8Array, manner: Manner = 'whole'): void {
    this.add({ bytes, manner })
  }

  pause(seconds: number): void {
    this.add({ pauseSeconds: seconds })
  }

  end(): void {
    this.add({ end: true })
  }

  /** Forgets what has not left. */
  stop(): void {
    this.items.length = 0
    this.stopTimer()
    this.busy = true
  }

  private add(item: Item): void {
    this.items.push(item)
    if (!this.busy) this.next()
  }

  private next(): void {
    for (;;) {
      const item = this.items.shift()
      this.busy = item !== undefined
      if (item === undefined || this.socket.destroyed) return
      if ('end' in item) this.socket.end()
      else if ('pauseSeconds' in item) {
        this.later(item.pauseSeconds, () => this.next())
        return
      } else if (item.manner === 'whole') this.socket.write(item.bytes)
      else {
        this.drip(item.bytes, item.manner, 0)
        return
      }
    }
  }

  private drip(bytes: Uint8Array, manner: Exclude<Manner, 'whole'>, from: number): void {
    if (this.socket.destroyed) return
    const many = manner === 'singly' ? 1 : Math.max(1, Math.ceil(manner.bytesPerSecond * CRAWL_STEP_SECONDS))
    this.socket.write(bytes.subarray(from, from + many))
    const go = (): void => (from + many < bytes.length ? this.drip(bytes, manner, from + many) : this.next())
    if (manner === 'singly') setImmediate(go)
    else this.later(CRAWL_STEP_SECONDS, go)
  }

  private later(seconds: number, run: () => void): void {
    this.stopTimer = this.timers.after(seconds, run)
  }
}
