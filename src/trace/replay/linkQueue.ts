import type { Direction, Link } from '../types.ts'

/** When a chunk of bytes starts to leave, has left, and arrives; seconds of the link's time. */
interface Transmission {
  readonly startSeconds: number
  readonly sentSeconds: number
  readonly dueSeconds: number
}

/**
 * One direction of a link as a first-come, first-served queue. A chunk starts when it is queued and the link is free,
 * has left at the T with integral of rate over [start, T] = 8 bytes, and arrives half an RTT later: the simulator's
 * rule for a transfer, with the RTT of the moment when its last byte left. Chunks never overtake: when the RTT falls,
 * later chunks wait for earlier ones.
 */
export class LinkQueue {
  private readonly link: Link
  private readonly direction: Direction
  private free = 0
  private lastDue = 0

  constructor(link: Link, direction: Direction) {
    this.link = link
    this.direction = direction
  }

  /** Queues a chunk. Times must not decrease from call to call. 0 bytes (an end of a stream) only take the delay. */
  push(bytes: number, nowSeconds: number): Transmission {
    const startSeconds = Math.max(nowSeconds, this.free)
    const sentSeconds =
      startSeconds === Infinity ? Infinity : this.link.sentSeconds(this.direction, startSeconds, bytes)
    this.free = sentSeconds
    const travelled =
      sentSeconds === Infinity ? Infinity : sentSeconds + this.link.rttSeconds(sentSeconds) / 2
    this.lastDue = Math.max(this.lastDue, travelled)
    return { startSeconds, sentSeconds, dueSeconds: this.lastDue }
  }

  /** The rate at which the next chunk would begin to leave; 0 if it would never leave. */
  bitsPerSecond(nowSeconds: number): number {
    const at = Math.max(nowSeconds, this.free)
    return at === Infinity ? 0 : this.link.bitsPerSecond(this.direction, at)
  }
}
