import type { Direction, Link } from '../types.ts'
import { LatenessRecord } from './lateness.ts'
import type { Lateness } from './lateness.ts'
import { LinkQueue } from './linkQueue.ts'
import type { TraceClock } from './traceClock.ts'

/** Receives the bytes at the end of a pipe. */
export interface Sink {
  write(bytes: Uint8Array): void
  end(): void
  reset(): void
}

/** Bytes, an orderly end of a stream, or a reset. */
export type PipeItem = Uint8Array | 'end' | 'reset'

/** Limits of one pipe. */
interface PipeLimits {
  /** Bytes that may wait for the link; one chunk (64 KiB) of each connection may exceed this. */
  readonly queueBytes: number
  /** Bytes that may be in transit (rate x RTT/2). A cap on memory that no recorded link reaches. */
  readonly flightBytes: number
}

/** State of one pipe. */
export interface PipeStats {
  readonly receivedBytes: number
  readonly deliveredBytes: number
  /** Bytes waiting for the link now; `largestWaitingBytes` is the maximum so far. */
  readonly waitingBytes: number
  readonly largestWaitingBytes: number
  /** Bytes that have left and not arrived. */
  readonly flightBytes: number
  /** How often reading was paused because the queue was full. */
  readonly pauses: number
  /** Delivery after the due time, in seconds of the machine's clock. */
  readonly latenessSeconds: Lateness
}

interface Item {
  readonly sink: Sink
  readonly cargo: PipeItem
  readonly bytes: number
  /** When the bytes have left, in seconds of the machine's clock. */
  readonly sentSeconds: number
  readonly dueSeconds: number
}

/** Bytes are delivered gradually, as a real link would: in slices of a packet, or of what passes in this time. */
const PACKET_BYTES = 1460
const SLICE_SECONDS = 1e-3
/** Delivered items that are removed from the list at once. */
const COMPACT_ITEMS = 1024

/**
 * One direction of the relay: bytes that were read and not yet delivered, in link order. Times are the machine clock's.
 */
export class Pipe {
  private readonly queue: LinkQueue
  private readonly time: TraceClock
  private readonly limits: PipeLimits
  private readonly onRoom: () => void
  private readonly lateness = new LatenessRecord()
  private items: Item[] = []
  /** Items before index `delivered` have arrived; items before `sent` have left. */
  private delivered = 0
  private sent = 0
  private receivedBytes = 0
  private deliveredBytes = 0
  private waitingBytes = 0
  private largestWaitingBytes = 0
  private flightBytes = 0
  private pauses = 0
  private isFull = false

  constructor(link: Link, direction: Direction, time: TraceClock, limits: PipeLimits, onRoom: () => void) {
    this.queue = new LinkQueue(link, direction)
    this.time = time
    this.limits = limits
    this.onRoom = onRoom
  }

  get full(): boolean {
    return this.isFull
  }

  push(sink: Sink, cargo: PipeItem, nowSeconds: number): void {
    if (typeof cargo === 'string') {
      this.add(sink, cargo, 0, nowSeconds)
      return
    }
    const now = this.time.toLink(nowSeconds)
    const rate = this.queue.bitsPerSecond(now) * this.time.speed
    const slice = Math.max(PACKET_BYTES, Math.floor((rate / 8) * SLICE_SECONDS))
    for (let at = 0; at < cargo.byteLength; at += slice) {
      const part = cargo.subarray(at, at + slice)
      this.add(sink, part, part.byteLength, nowSeconds)
    }
    this.receivedBytes += cargo.byteLength
    this.settle(nowSeconds)
  }

  /** Delivers everything that is due. */
  deliver(nowSeconds: number): void {
    for (; this.delivered < this.items.length; this.delivered++) {
      const item = this.items[this.delivered]
      if (item.dueSeconds > nowSeconds) break
      if (item.cargo === 'end') item.sink.end()
      else if (item.cargo === 'reset') item.sink.reset()
      else item.sink.write(item.cargo)
      this.deliveredBytes += item.bytes
      this.lateness.add(nowSeconds - item.dueSeconds)
    }
    this.settle(nowSeconds)
    if (this.delivered < COMPACT_ITEMS || 2 * this.delivered < this.items.length) return
    this.items = this.items.slice(this.delivered)
    this.sent -= this.delivered
    this.delivered = 0
  }

  /** Time of the next delivery or, while reading is paused, of the next bytes that leave. */
  nextSeconds(): number {
    const due = this.delivered < this.items.length ? this.items[this.delivered].dueSeconds : Infinity
    return this.isFull && this.sent < this.items.length
      ? Math.min(due, this.items[this.sent].sentSeconds)
      : due
  }

  stats(): PipeStats {
    const { receivedBytes, deliveredBytes, waitingBytes, largestWaitingBytes, flightBytes, pauses } = this
    const latenessSeconds = this.lateness.read()
    return {
      receivedBytes,
      deliveredBytes,
      waitingBytes,
      largestWaitingBytes,
      flightBytes,
      pauses,
      latenessSeconds,
    }
  }

  private add(sink: Sink, cargo: PipeItem, bytes: number, nowSeconds: number): void {
    const { sentSeconds, dueSeconds } = this.queue.push(bytes, this.time.toLink(nowSeconds))
    this.items.push({
      sink,
      cargo,
      bytes,
      sentSeconds: this.time.toClock(sentSeconds),
      dueSeconds: this.time.toClock(dueSeconds),
    })
    this.waitingBytes += bytes
    this.largestWaitingBytes = Math.max(this.largestWaitingBytes, this.waitingBytes)
  }

  /** Updates what has left and arrived. Reading pauses at the limit and resumes at half of it. */
  private settle(nowSeconds: number): void {
    for (; this.sent < this.items.length && this.items[this.sent].sentSeconds <= nowSeconds; this.sent++) {
      this.waitingBytes -= this.items[this.sent].bytes
    }
    this.flightBytes = this.receivedBytes - this.deliveredBytes - this.waitingBytes
    const { queueBytes, flightBytes } = this.limits
    if (!this.isFull) {
      this.isFull = this.waitingBytes >= queueBytes || this.flightBytes >= flightBytes
      if (this.isFull) this.pauses++
    } else if (this.waitingBytes <= queueBytes / 2 && this.flightBytes <= flightBytes / 2) {
      this.isFull = false
      this.onRoom()
    }
  }
}
