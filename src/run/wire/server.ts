import { createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '../../core/clock.ts'
import { InputError } from '../../core/errors.ts'
import { KEEP_ALIVE_SECONDS } from './client.ts'
import type { HelloHandler } from './connection.ts'
import { ConnectionAcceptor } from './acceptor.ts'
import { ConnectionError } from './errors.ts'
import { safeAddress } from './hosts.ts'
import type { HostOptions } from './hosts.ts'
import { DEFAULT_LIMITS, DEFAULT_MAX_CONNECTIONS } from './limits.ts'
import { systemTimers } from '../../core/timers.ts'
import type { Timers } from '../../core/timers.ts'
import { createTlsServer, trustError, usableKeys } from './tls.ts'
import type { TlsMaterial } from './tls.ts'
import type { Connection, WireLimits } from './types.ts'
import { openUpgrader } from './webSocketServer.ts'
import type { WebSocketListenOptions } from './webSocketServer.ts'

/**
 * Sockets above the limit on connections that may wait for their refusal at the same time; further ones are dropped.
 */
const REFUSED_AT_A_TIME = 32

/** Options of `listen`. */
export interface ListenOptions extends Omit<HostOptions, 'secured'> {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  /** TLS 1.3; clients need a certificate of the same authority. Without it: loopback only. */
  readonly tls?: TlsMaterial
  /**
   * Whether the client with this name in its certificate may connect; otherwise it is refused with E_FORBIDDEN.
   * Default: every client.
   */
  readonly allow?: (identity: string) => boolean
  /** Accepts WebSockets only: for clients behind a proxy. */
  readonly webSocket?: WebSocketListenOptions
  /** Answers a client's hello (parsed JSON, unchecked). An error that it throws refuses the client. */
  readonly greet: HelloHandler
  /** Called when a connection is open, before any of its frames is delivered: register listeners here. */
  readonly onConnection: (connection: Connection) => void
  /** Called with the reason if a client was rejected before its connection opened. */
  readonly onRejected?: (error: Error) => void
  readonly clock: Clock
  readonly timers?: Timers
  /** Default for each absent field: DEFAULT_LIMITS. */
  readonly limits?: Partial<WireLimits>
  /** Default DEFAULT_MAX_CONNECTIONS; includes clients that have not greeted yet. */
  readonly maxConnections?: number
}

/** A server that is listening. */
export interface WireServer {
  readonly address: string
  readonly port: number
  /** Open connections. */
  readonly connections: ReadonlySet<Connection>
  /** Accepts no more clients, sends bye on every connection, and resolves when all are flushed and closed. */
  close(): Promise<void>
}

/**
 * Listens for clients. Rejects with InputError for a host that is not loopback without TLS, a port that is not free, or
 * unusable keys.
 */
export async function listen(options: ListenOptions): Promise<WireServer> {
  const { host, port, tls, webSocket } = options
  const where = `listen on ${host}:${port}`
  const address = await safeAddress(host, where, { ...options, secured: tls !== undefined })
  const limits = { ...DEFAULT_LIMITS, ...options.limits }
  const maxConnections = options.maxConnections ?? DEFAULT_MAX_CONNECTIONS
  const onRejected = options.onRejected ?? (() => {})
  const acceptor = new ConnectionAcceptor({
    greet: options.greet,
    onConnection: options.onConnection,
    onRejected,
    clock: options.clock,
    allow: options.allow ?? (() => true),
    timers: options.timers ?? systemTimers,
    limits,
    maxConnections,
    tls: tls !== undefined,
    upgrader: webSocket === undefined ? null : await openUpgrader(webSocket),
  })
  const server =
    tls === undefined ? createServer({ noDelay: true }) : openTls(tls, where, limits, acceptor, onRejected)
  server.maxConnections = maxConnections + REFUSED_AT_A_TIME
  server.on('connection', (socket: Socket) => {
    socket.setKeepAlive(true, 1000 * KEEP_ALIVE_SECONDS)
    acceptor.enter(socket)
  })
  await bind(server, address, port, where)
  server.on('error', onRejected)
  return {
    address,
    port: (server.address() as AddressInfo).port,
    connections: acceptor.open,
    async close() {
      const down = new Promise<void>((resolve) => server.close(() => resolve()))
      await Promise.all([down, acceptor.close()])
    },
  }
}

function openTls(
  tls: TlsMaterial,
  where: string,
  { greetingSeconds }: WireLimits,
  acceptor: ConnectionAcceptor,
  onRejected: (error: Error) => void,
): Server {
  const server = usableKeys(where, () => createTlsServer(tls, greetingSeconds))
  server.on('secureConnection', (socket: TLSSocket) => acceptor.secured(socket))
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
    socket.destroy()
    const isLate = error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT'
    const code = isLate ? 'E_CONNECTION_TIMEOUT' : 'E_CONNECTION_LOST'
    const text = isLate
      ? `no TLS handshake within ${greetingSeconds} s`
      : `the TLS handshake broke: ${error.message}`
    onRejected(trustError(error) ?? new ConnectionError(code, text, { cause: error }))
  })
  return server
}

function bind(server: Server, host: string, port: number, where: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.on('error', (error: NodeJS.ErrnoException) => {
      const remedy = 'take another port, or 0 for any free one'
      const found = error.code ?? error.message
      reject(
        new InputError(
          { where, expected: 'an address and a port that are free', found, remedy },
          { cause: error },
        ),
      )
    })
    server.listen({ host, port }, resolve)
  })
}
