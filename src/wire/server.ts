import { createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import type { Clock } from '../base/clock.ts'
import { InputError } from '../base/errors.ts'
import { KEEP_ALIVE_SECONDS } from './client.ts'
import type { Greet, WireConnection } from './connection.ts'
import { ConnectionError } from './errors.ts'
import { safeAddress } from './hosts.ts'
import type { HostOptions } from './hosts.ts'
import { DEFAULT_LIMITS, DEFAULT_MAX_CONNECTIONS } from './limits.ts'
import { overSocket } from './socket.ts'
import { systemTimers } from './timers.ts'
import type { Timers } from './timers.ts'
import type { Connection, WireLimits } from './types.ts'

/** Sockets beyond the cap on connections that may wait for their refusal at a time; others are dropped. */
const REFUSED_AT_A_TIME = 32

export interface ListenOptions extends HostOptions {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  /** Answers a client's hello (parsed JSON, unchecked). An error thrown refuses the client with it. */
  readonly greet: Greet
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

/** Listens for clients. Rejects with InputError for a host that is not loopback or a port that is not free. */
export async function listen(options: ListenOptions): Promise<WireServer> {
  const { host, port } = options
  const where = `listen on ${host}:${port}`
  const address = await safeAddress(host, where, options)
  const door = new Door(options)
  const server = createServer({
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 1000 * KEEP_ALIVE_SECONDS,
  })
  server.maxConnections = door.cap + REFUSED_AT_A_TIME
  server.on('connection', (socket) => door.take(socket))
  await bind(server, address, port, where)
  server.on('error', (error) => options.onRejected?.(error))
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

/** Lets clients in, up to the cap. */
class Door {
  readonly open = new Set<Connection>()
  readonly cap: number
  private readonly all = new Set<WireConnection>()
  private inside = 0
  private readonly options: ListenOptions
  private readonly limits: WireLimits

  constructor(options: ListenOptions) {
    this.options = options
    this.limits = { ...DEFAULT_LIMITS, ...options.limits }
    this.cap = options.maxConnections ?? DEFAULT_MAX_CONNECTIONS
  }

  take(socket: Socket): void {
    const { clock, timers = systemTimers, greet, onConnection, onRejected } = this.options
    const handshake = { role: 'server', greet } as const
    const connection = overSocket(socket, handshake, { clock, timers, limits: this.limits })
    let greeted = false
    this.all.add(connection)
    this.inside++
    connection.onOpen = () => {
      greeted = true
      this.open.add(connection)
      onConnection(connection)
    }
    connection.onClose((reason) => {
      this.inside--
      this.open.delete(connection)
      if (!greeted && reason.kind === 'failed') onRejected?.(reason.error)
    })
    void connection.gone().then(() => this.all.delete(connection))
    if (this.inside > this.cap) {
      const text = `the server has ${this.cap} connections, as many as it takes; try again later`
      connection.fail(new ConnectionError('E_CONNECTION_REFUSED', text))
    } else connection.start()
  }

  async close(): Promise<void> {
    await Promise.all([...this.all].map((connection) => connection.close()))
  }
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
