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

export interface AcceptorOptions {
  readonly greet: HelloHandler
  readonly allow: (identity: string) => boolean
  readonly onConnection: (connection: Connection) => void
  readonly onRejected: (error: Error) => void
  readonly clock: Clock
  readonly timers: Timers
  readonly limits: WireLimits
  readonly maxConnections: number
  /** Whether lines come by `secured` after `enter`. */
  readonly tls: boolean
  /** null: frames flow on the line itself. */
  readonly upgrader: Upgrader | null
}

/** What one client occupies from its first packet to its end. */
interface ClientSlot {
  /** Beyond the cap: its client is told so. */
  readonly full: boolean
  /** Its connection answers for it from now on. */
  hand(): void
  leave(): void
}

/** Lets clients in, up to the caps: from an accepted socket over TLS and WebSocket to a connection. */
export class ConnectionAcceptor {
  readonly open = new Set<Connection>()
  private readonly options: AcceptorOptions
  private readonly attempts: ConnectRateLimiter
  /** Of TLS sockets in their handshake, by the client's address and port. */
  private readonly places = new Map<string, ClientSlot>()
  private readonly all = new Set<WireConnection>()
  /** Sockets of clients that have no connection yet. */
  private readonly arriving = new Set<Socket>()
  private inside = 0

  constructor(options: AcceptorOptions) {
    this.options = options
    this.attempts = new ConnectRateLimiter(options.limits.maxHandshakesPerMinute)
  }

  /** A socket was accepted. */
  enter(socket: Socket): void {
    const { clock, limits, tls, onRejected } = this.options
    const { remoteAddress = '' } = socket
    socket.on('error', () => {})
    if (!this.attempts.allow(remoteAddress, clock.nowSeconds())) {
      const most = `at most ${limits.maxHandshakesPerMinute} a minute`
      // A handshake, or only an answer, is the work that is to be spared.
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

  /** The TLS handshake of a socket that entered is over. */
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

  /** Frames may flow on `line`, or the request for a WebSocket. */
  private carry(place: ClientSlot, line: Duplex, tls: TLSSocket | null): void {
    const { upgrader } = this.options
    const problem = tls === null ? null : this.problemOf(tls)
    if (upgrader === null || problem !== null) {
      // Who is not trusted reads why in a frame, whatever it meant to say.
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
    line.once('close', () => over(new ConnectionError('E_CONNECTION_LOST', 'the client left as it came')))
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
      const text = `the server has ${maxConnections} connections, as many as it takes; try again later`
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
