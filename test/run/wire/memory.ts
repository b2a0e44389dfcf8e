import type { Clock } from '../../../src/core/clock.ts'
import type { RandomStream } from '../../../src/core/random.ts'
import type { Transport } from '../../../src/run/wire/transport.ts'
import { WireConnection } from '../../../src/run/wire/connection.ts'
import type { HelloHandler } from '../../../src/run/wire/connection.ts'
import { DEFAULT_LIMITS } from '../../../src/run/wire/limits.ts'
import { systemTimers } from '../../../src/core/timers.ts'
import type { Timers } from '../../../src/core/timers.ts'
import type { Connection, WireLimits } from '../../../src/run/wire/types.ts'

/** Options of a memory pair. */
export interface MemoryPairOptions {
  readonly greeting?: unknown
  /** Default: welcomes every client with `{}`. */
  readonly greet?: HelloHandler
  readonly clock: Clock
  /** The server's clock, if it is not the client's. */
  readonly serverClock?: Clock
  readonly timers?: Timers
  readonly limits?: Partial<WireLimits>
  /** Splits the bytes into random chunks. */
  readonly chop?: RandomStream
}

/** Two connected connections in one process. */
export interface MemoryPair {
  readonly client: Connection
  readonly server: Connection
  /** Makes a side stop reading (true) or resume (false). */
  hold(side: 'client' | 'server', held: boolean): void
  /** Breaks the connection for both sides without a bye. */
  cut(): void
}

/**
 * Two connections in one process with the codec and state machine that are used over sockets. Bytes arrive in a later
 * turn of the event loop. Rejects as `connect` does.
 */
export function memoryPair(options: MemoryPairOptions): Promise<MemoryPair> {
  const { clock, timers = systemTimers, greeting = {}, greet = () => ({ welcome: {} }), chop } = options
  const limits = { ...DEFAULT_LIMITS, ...options.limits }
  const [toServer, toClient] = [new MemoryTransport(chop), new MemoryTransport(chop)]
  toServer.other = toClient
  toClient.other = toServer
  const client = new WireConnection(toServer, { role: 'client', greeting }, { clock, timers, limits })
  const answering = { clock: options.serverClock ?? clock, timers, limits }
  const server = new WireConnection(toClient, { role: 'server', greet }, answering)
  toServer.owner = client
  toClient.owner = server
  return new Promise((resolve, reject) => {
    const pair: MemoryPair = {
      client,
      server,
      hold: (side, held) => (side === 'client' ? toClient : toServer).hold(held),
      cut: () => toServer.destroy(),
    }
    client.onOpen = () => resolve(pair)
    client.onClose((reason) => {
      if (reason.kind === 'failed') reject(reason.error)
    })
    server.start()
    client.start()
  })
}

/** The bytes of one direction; `other` is the opposite direction, whose owner reads these. */
class MemoryTransport implements Transport {
  other!: MemoryTransport
  owner!: WireConnection
  readonly identity = null
  queuedBytes = 0
  private readonly chop: RandomStream | undefined
  private queue: Uint8Array[] = []
  private held = false
  private isEnding = false
  private hasEnded = false
  private isDestroyed = false
  private isScheduled = false

  constructor(chop: RandomStream | undefined) {
    this.chop = chop
  }

  write(parts: readonly Uint8Array[]): void {
    if (this.isEnding || this.isDestroyed) return
    for (const part of parts) {
      this.queue.push(part)
      this.queuedBytes += part.length
    }
    this.schedule()
  }

  end(): void {
    this.isEnding = true
    this.schedule()
  }

  destroy(): void {
    if (this.isDestroyed) return
    this.isDestroyed = true
    this.other.isDestroyed = true
    setImmediate(() => {
      this.owner.transportGone()
      this.other.owner.transportGone()
    })
  }

  hold(held: boolean): void {
    this.held = held
    this.schedule()
  }

  private schedule(): void {
    if (this.isScheduled) return
    this.isScheduled = true
    setImmediate(() => {
      this.isScheduled = false
      this.deliver()
    })
  }

  private deliver(): void {
    if (this.held || this.isDestroyed) return
    const parts = this.queue
    this.queue = []
    this.queuedBytes = 0
    for (const part of parts) for (const chunk of this.chunks(part)) this.other.owner.receive(chunk)
    if (!this.isEnding || this.hasEnded || this.isDestroyed) return
    this.hasEnded = true
    this.other.owner.ended()
    // As with a socket: when both directions have ended, it is closed.
    if (this.other.hasEnded) this.destroy()
    else this.other.end()
  }

  private *chunks(part: Uint8Array): Generator<Uint8Array> {
    let at = 0
    while (at < part.length) {
      const length = this.chop === undefined ? part.length : 1 + this.chop.integer(part.length - at)
      yield part.subarray(at, at + length)
      at += length
    }
  }
}
