import type { Duplex } from 'node:stream'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '../../core/clock.ts'
import type { HelloHandler, Handshake, WireConnection } from './connection.ts'
import { ConnectionError, WireError } from './errors.ts'
import { ConnectRateLimiter } from './rate.ts'
import { overSocket } from './socket.ts'
import type { Timers } from '../../core/timers.ts'
import { clientIdentity } from './tls.ts'
import type { Connection, WireLimits } from './types.ts'
import { overWebSocket } from './webSocket.ts'
import type { Upgrader } from './webSocketServer.ts'

/** Options of a connection acceptor. */
interface AcceptorOptions {
  readonly greet: HelloHandler
  readonly allow: (identity: string) => boolean
  readonly onConnection: (connection: Connection) => void
  readonly onRejected: (error: Error) => void
  readonly clock: Clock
  readonly timers: Timers
  readonly limits: WireLimits
  readonly maxConnections: number
  /** True: sockets complete a TLS handshake between `enter` and `secured`. */
  readonly tls: boolean
  /** null: frames are sent on the socket itself, without a WebSocket. */
  readonly upgrader: Upgrader | null
}

/** The place that one client occupies from accept to close. */
interface ClientSlot {
  /** True: the server is full, and this client is only told so. */
  readonly full: boolean
  /** From now on the connection releases the place. */
  hand(): void
  leave(): void
}

/** Accepts clients up to the limits: from an accepted socket over TLS and WebSocket to a connection. */
export class ConnectionAcceptor {
  readonly open = new Set<Connection>()
  private readonly options: AcceptorOptions
  private readonly attempts: ConnectRateLimiter
  /** Places of TLS sockets during their handshake, by the client's address and port. */
  private readonly places = new Map<string, ClientSlot>()
  private readonly all = new Set<WireConnection>()
  /** Sockets of clients that have no connection yet. */
  private readonly arriving = new Set<Socket>()
  private inside = 0

  constructor(options: AcceptorOptions) {
    this.options = options
    this.attempts = new ConnectRateLimiter(options.limits.maxHandshakesPerMinute)
  }

  /** Handles a newly accepted socket. */
  enter(socket: Socket): void {
    const { clock, limits, tls, onRejected } = this.options
    const { remoteAddress = '' } = socket
    socket.on('error', () => {})
    if (!this.attempts.allow(remoteAddress, clock.nowSeconds())) {
      const most = `at most ${limits.maxHandshakesPerMinute} a minute`
      // Destroyed without an answer: a handshake, or even an answer, is the work that the limit is to save.
      socket.destroy()
      onRejected(new WireError('E_WIRE_RATE', `attempts of ${remoteAddress}`, most, 'more'))
      return
    }
    const place = this.take(socket)
    if (!tls) {
      this.carry(place, socket, null)
      return
    }
    const key = keyOf(socket)
    this.places.set(key, place)
    socket.once('close', () => this.places.delete(key))
  }

  /** Handles a socket whose TLS handshake has finished. */
  secured(socket: TLSSocket): void {
    socket.on('error', () => {})
    const place = this.places.get(keyOf(socket))
    if (place === undefined) socket.destroy()
    else this.carry(place, socket, socket)
  }

  async close(): Promise<void> {
    for (const socket of this.arriving) socket.destroy()
    await Promise.all([...this.all].map((connection) => connection.close()))
  }

  private take(socket: Socket): ClientSlot {
    let taken = true
    let handed = false
    this.inside++
    const place: ClientSlot = {
      full: this.inside > this.options.maxConnections,
      hand: () => {
        handed = true
        this.arriving.delete(socket)
      },
      leave: () => {
        if (taken) this.inside--
        taken = false
      },
    }
    this.arriving.add(socket)
    socket.once('close', () => {
      this.arriving.delete(socket)
      if (!handed) place.leave()
    })
    return place
  }

  /** Starts a connection, or waits for the request for a WebSocket. */
  private carry(place: ClientSlot, line: Duplex, tls: TLSSocket | null): void {
    const { upgrader } = this.options
    const problem = tls === null ? null : this.problemOf(tls)
    if (upgrader === null || problem !== null) {
      // A client that is not trusted receives the reason in a frame, whatever it sends.
      this.admit(place, (handshake) => overSocket(line, handshake, this.options), problem)
    } else this.upgrade(place, line, upgrader)
  }

  private upgrade(place: ClientSlot, line: Duplex, upgrader: Upgrader): void {
    const { timers, limits, onRejected } = this.options
    let isOver = false
    const over = (error?: Error): void => {
      if (isOver) return
      isOver = true
      stop()
      if (error !== undefined) onRejected(error)
    }
    const stop = timers.after(limits.greetingSeconds, () => {
      const text = `no request for a WebSocket within ${limits.greetingSeconds} s`
      over(new ConnectionError('E_CONNECTION_TIMEOUT', text))
      line.destroy()
    })
    line.once('close', () =>
      over(new ConnectionError('E_CONNECTION_LOST', 'the client closed the connection before its greeting')),
    )
    const opened = (socket: Parameters<typeof overWebSocket>[0]): void => {
      over()
      this.admit(place, (handshake) => overWebSocket(socket, line, handshake, this.options), null)
    }
    upgrader.take(line, opened, over)
  }

  private admit(
    place: ClientSlot,
    connect: (handshake: Handshake) => WireConnection,
    problem: Error | null,
  ): void {
    const { greet, onConnection, onRejected, maxConnections } = this.options
    const connection = connect({ role: 'server', greet })
    let greeted = false
    place.hand()
    this.all.add(connection)
    connection.onOpen = () => {
      greeted = true
      this.open.add(connection)
      onConnection(connection)
    }
    connection.onClose((reason) => {
      place.leave()
      this.open.delete(connection)
      if (!greeted && reason.kind === 'failed') onRejected(reason.error)
    })
    void connection.gone().then(() => this.all.delete(connection))
    if (problem !== null) connection.fail(problem)
    else if (place.full) {
      const text = `the server has ${maxConnections} connections, its maximum; try again later`
      connection.fail(new ConnectionError('E_CONNECTION_REFUSED', text))
    } else if (!this.allows(connection.identity)) {
      const message = `${connection.identity} may not connect here`
      connection.refuse({ code: 'E_FORBIDDEN', message })
    } else connection.start()
  }

  private problemOf(socket: TLSSocket): Error | null {
    try {
      clientIdentity(socket)
      return null
    } catch (error) {
      return error as Error
    }
  }

  private allows(identity: string | null): boolean {
    return identity === null || this.options.allow(identity)
  }
}

function keyOf({ remoteAddress = '', remotePort = 0 }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}
