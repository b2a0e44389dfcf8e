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

/** Sockets beyond the cap on connections that may wait for their refusal at a time; others are dropped. */
const REFUSED_AT_A_TIME = 32

export interface ListenOptions extends Omit<HostOptions, 'secured'> {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  /** TLS 1.3; clients need a certificate of the same authority. Without it: loopback only. */
  readonly tls?: TlsMaterial
  /** Which certificates' common names may connect; others are refused with E_FORBIDDEN. Default: all. */
  readonly allow?: (identity: string) => boolean
  /** Takes WebSockets, and nothing else: for clients behind a proxy. */
  readonly webSocket?: WebSocketListenOptions
  /** Answers a client's hello (parsed JSON, unchecked). An error thrown refuses the client with it. */
  readonly greet: HelloHandler
  /** Called once a connection is open and before any of its frames: register its listeners here. */
  readonly onConnection: (connection: Connection) => void
  /** Hears why a client did not get as far as that. */
  readonly onRejected?: (error: Error) => void
  readonly clock: Clock
  readonly timers?: Timers
  /** What is left out is as in DEFAULT_LIMITS. */
  readonly limits?: Partial<WireLimits>
  /** Default DEFAULT_MAX_CONNECTIONS; clients that have not greeted yet count. */
  readonly maxConnections?: number
}

export interface WireServer {
  readonly address: string
  readonly port: number
  /** Open connections. */
  readonly connections: ReadonlySet<Connection>
  /** Takes no more clients, says bye on every connection, and resolves when all is flushed and closed. */
  close(): Promise<void>
}

/**
 * Listens for clients. Rejects with InputError for a host that is not loopback where there is no TLS, a port that
 * is not free, or keys that are none.
 */
export async function listen(options: ListenOptions): Promise<WireServer> {
  const { host, port, tls, webSocket } = options
  const where = `listen on ${host}:${port}`
  const address = await safeAddress(host, where, { ...options, secured: tls !== undefined })
  const limits = { ...DEFAULT_LIMITS, ...options.limits }
  const maxConnections = options.maxConnections ?? DEFAULT_MAX_CONNECTIONS
  const onRejected = options.onRejected ?? (() => {})
  const door = new ConnectionAcceptor({
    ...{ greet: options.greet, onConnection: options.onConnection, onRejected, clock: options.clock },
    ...{
      allow: options.allow ?? (() => true),
      timers: options.timers ?? systemTimers,
      limits,
      maxConnections,
    },
    tls: tls !== undefined,
    upgrader: webSocket === undefined ? null : await openUpgrader(webSocket),
  })
  const server =
    tls === undefined ? createServer({ noDelay: true }) : openTls(tls, where, limits, door, onRejected)
  server.maxConnections = maxConnections + REFUSED_AT_A_TIME
  server.on('connection', (socket: Socket) => {
    socket.setKeepAlive(true, 1000 * KEEP_ALIVE_SECONDS)
    door.enter(socket)
  })
  await bind(server, address, port, where)
  server.on('error', onRejected)
  return {
    address,
    port: (server.address() as AddressInfo).port,
    connections: door.open,
    async close() {
      const down = new Promise<void>((resolve) => server.close(() => resolve()))
      await Promise.all([down, door.close()])
    },
  }
}

function openTls(
  tls: TlsMaterial,
  where: string,
  { greetingSeconds }: WireLimits,
  door: ConnectionAcceptor,
  onRejected: (error: Error) => void,
): Server {
  const server = usableKeys(where, () => createTlsServer(tls, greetingSeconds))
  server.on('secureConnection', (socket: TLSSocket) => door.secured(socket))
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
