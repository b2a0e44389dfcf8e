import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import type { Clock } from '../../core/clock.ts'
import { InputError } from '../../core/errors.ts'
import type { Link } from '../types.ts'
import { threadTimer } from './preciseTimer.ts'
import type { PreciseTimer, PreciseTimerFactory } from './preciseTimer.ts'
import { checkLoopback, showEndpoint } from './endpoint.ts'
import type { Endpoint } from './endpoint.ts'
import { Pipe } from './pipe.ts'
import type { PipeStats } from './pipe.ts'
import { TraceClock } from './traceClock.ts'
import { RelayedConnection } from './relayedConnection.ts'

/** Options of startRelay. */
export interface RelayOptions {
  /** Address on which clients (the edge) connect; loopback only, port 0 for any free port. */
  readonly listen: Endpoint
  /** Address to which their connections are forwarded (the cloud); loopback only. */
  readonly to: Endpoint
  readonly link: Link
  readonly clock: Clock
  /** Creates the relay's timer; default: threadTimer (preciseTimer.ts). */
  readonly timer?: PreciseTimerFactory
  /** Link time at which the relay starts, seconds; default 0. */
  readonly startSeconds?: number
  /** Time compression, for tests: rates x speed, RTT / speed; default 1. */
  readonly speed?: number
  /** Bytes that may wait for the link in each direction before reading pauses; default 4 MiB. */
  readonly queueBytes?: number
  /** Bytes that may be in transit in each direction; default 64 MiB. */
  readonly flightBytes?: number
  /** Connections open at once; further ones are reset; default 64. */
  readonly maxConnections?: number
}

/** State of a relay. */
export interface RelayStats {
  readonly up: PipeStats
  readonly down: PipeStats
  readonly connections: ConnectionCounts
  /** Current link time, seconds. */
  readonly linkSeconds: number
}

/** Counts of connections. */
interface ConnectionCounts {
  readonly open: number
  readonly total: number
  /** Connections reset because too many were open. */
  readonly refused: number
  /** Connections reset because the target could not be reached; `problem` is the last reason. */
  readonly unreachable: number
  readonly problem: string | null
}

/** A running relay. */
export interface Relay {
  readonly host: string
  readonly port: number
  stats(): RelayStats
  /** Closes every connection and discards the bytes in the relay. */
  close(): Promise<void>
}

/** Default of RelayOptions.queueBytes. */
export const DEFAULT_QUEUE_BYTES = 4 * 1024 * 1024
const DEFAULT_FLIGHT_BYTES = 64 * 1024 * 1024
const DEFAULT_MAX_CONNECTIONS = 64

/**
 * Starts a TCP relay that imposes a link on every connection through it; "up" is from the client to the target. All
 * connections share the link's two directions, first come, first served. The relay stores and forwards bytes: no
 * packets, no loss, no congestion control, and opening a connection takes no link time.
 * @throws InputError if an address is not on this machine or cannot be listened on
 */
export async function startRelay(options: RelayOptions): Promise<Relay> {
  checkLoopback(options.listen, 'relay: listen')
  checkLoopback(options.to, 'relay: to')
  checkOptions(options)
  const { timer: createTimer = threadTimer, clock } = options
  const timer = await createTimer(clock, () => relay.ring())
  // Link time starts when everything is ready.
  const relay = new TcpRelay(options, timer)
  try {
    await relay.open()
  } catch (error) {
    await timer.close()
    throw error
  }
  return relay
}

function checkOptions({ speed = 1, startSeconds = 0, ...rest }: RelayOptions): void {
  const { queueBytes = 1, flightBytes = 1, maxConnections = 1 } = rest
  const problem = (name: string, expected: string, found: number): InputError =>
    new InputError({ where: `relay: ${name}`, expected, found: String(found) })
  if (!(speed > 0 && speed < Infinity)) throw problem('speed', 'a finite number above 0', speed)
  if (!(startSeconds >= 0 && startSeconds < Infinity))
    throw problem('startSeconds', 'a finite number >= 0', startSeconds)
  for (const [name, value] of Object.entries({ queueBytes, flightBytes, maxConnections })) {
    if (!Number.isSafeInteger(value) || value < 1) throw problem(name, 'a whole number above 0', value)
  }
}

class TcpRelay implements Relay {
  readonly host: string
  port: number
  private readonly options: RelayOptions
  private readonly server: Server
  private readonly time: TraceClock
  private readonly up: Pipe
  private readonly down: Pipe
  private readonly pairs = new Set<RelayedConnection>()
  private readonly counts = { total: 0, refused: 0, unreachable: 0, problem: null as string | null }
  private readonly timer: PreciseTimer

  constructor(options: RelayOptions, timer: PreciseTimer) {
    this.timer = timer
    const { link, clock, listen, speed = 1, startSeconds = 0 } = options
    this.options = options
    this.host = listen.host
    this.port = listen.port
    this.time = new TraceClock(clock.nowSeconds(), startSeconds, speed)
    const limits = {
      queueBytes: options.queueBytes ?? DEFAULT_QUEUE_BYTES,
      flightBytes: options.flightBytes ?? DEFAULT_FLIGHT_BYTES,
    }
    const onRoom = (): void => {
      for (const pair of this.pairs) pair.flow()
    }
    this.up = new Pipe(link, 'up', this.time, limits, onRoom)
    this.down = new Pipe(link, 'down', this.time, limits, onRoom)
    // When the client ends its stream, the answers to it must still be delivered.
    this.server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.accept(client))
  }

  async open(): Promise<void> {
    const { listen } = this.options
    try {
      this.server.listen({ host: listen.host, port: listen.port })
      await once(this.server, 'listening')
    } catch (error) {
      const found = (error as NodeJS.ErrnoException).code ?? 'an error'
      const where = `relay: listen ${showEndpoint(listen)}`
      const remedy = 'choose another port, or 0 for any that is free'
      throw new InputError({ where, expected: 'a free port', found, remedy }, { cause: error })
    }
    this.port = (this.server.address() as AddressInfo).port
  }

  stats(): RelayStats {
    return {
      up: this.up.stats(),
      down: this.down.stats(),
      connections: { open: this.pairs.size, ...this.counts },
      linkSeconds: this.time.toLink(this.options.clock.nowSeconds()),
    }
  }

  async close(): Promise<void> {
    const closed = this.server.listening ? once(this.server, 'close') : Promise.resolve()
    this.server.close()
    for (const pair of this.pairs) pair.destroy()
    await this.timer.close()
    await closed
  }

  private accept(client: Socket): void {
    const { to, maxConnections = DEFAULT_MAX_CONNECTIONS } = this.options
    this.counts.total++
    if (this.pairs.size >= maxConnections) {
      this.counts.refused++
      client.on('error', () => undefined)
      client.resetAndDestroy()
      return
    }
    const target = connect({ host: to.host, port: to.port, allowHalfOpen: true, noDelay: true })
    const pair = new RelayedConnection(client, target, {
      up: this.up,
      down: this.down,
      nowSeconds: () => this.options.clock.nowSeconds(),
      moved: () => this.schedule(),
      unreachable: (problem) => {
        this.counts.unreachable++
        this.counts.problem = `${showEndpoint(to)}: ${problem}`
      },
      closed: () => this.pairs.delete(pair),
    })
    this.pairs.add(pair)
  }

  /** Delivers everything that is due. */
  ring(): void {
    const now = this.options.clock.nowSeconds()
    this.up.deliver(now)
    this.down.deliver(now)
    this.schedule()
  }

  private schedule(): void {
    this.timer.set(Math.min(this.up.nextSeconds(), this.down.nextSeconds()))
  }
}
