import { connect as connectSocket } from 'node:net'
import type { Socket } from 'node:net'
import type { Clock } from '../../core/clock.ts'
import type { ConnectionOptions, Handshake, WireConnection } from './connection.ts'
import { ConnectionError } from './errors.ts'
import { safeAddress } from './hosts.ts'
import type { HostOptions } from './hosts.ts'
import { DEFAULT_LIMITS } from './limits.ts'
import { overSocket } from './socket.ts'
import { systemTimers } from '../../core/timers.ts'
import type { Timers } from '../../core/timers.ts'
import { dialTls, usableKeys } from './tls.ts'
import type { TlsMaterial } from './tls.ts'
import type { Connection, WireLimits } from './types.ts'
import { overWebSocket } from './webSocket.ts'
import { upgrade } from './webSocketClient.ts'
import type { WebSocketTarget } from './webSocketClient.ts'

/** Idle seconds before TCP probes whether the peer is still there. */
export const KEEP_ALIVE_SECONDS = 15

/** Options of `connect`. */
export interface ConnectOptions extends Omit<HostOptions, 'secured'> {
  readonly host: string
  readonly port: number
  /** TLS 1.3 with this client's own certificate. The server's certificate must name `serverName` (default: `host`). */
  readonly tls?: TlsMaterial & { readonly serverName?: string }
  /** Sends the frames in WebSocket messages, e.g. through a proxy. */
  readonly webSocket?: WebSocketTarget
  /** JSON that is passed to the server's `greet`. */
  readonly greeting: unknown
  readonly clock: Clock
  readonly timers?: Timers
  /** Default for each absent field: DEFAULT_LIMITS. */
  readonly limits?: Partial<WireLimits>
  /** Aborts the attempt to connect; has no effect on an open connection. */
  readonly signal?: AbortSignal
}

/** The options of one attempt with defaults filled in. */
interface Attempt {
  readonly host: string
  readonly port: number
  readonly handshake: Handshake
  readonly context: ConnectionOptions
  readonly signal: AbortSignal | undefined
  dial(): Line
}

interface Line {
  readonly socket: Socket
  /** Whether the TCP connection was established. */
  connected: boolean
}

/**
 * Connects, greets, and resolves when the server has sent its welcome. Rejects with InputError (a host that is not
 * loopback without TLS; unusable keys), ConnectionError (unreachable, untrusted, refused, timeout, lost), WireError
 * (another protocol or version), or the signal's reason.
 */
export async function connect(options: ConnectOptions): Promise<Connection> {
  const { host, port, greeting, clock, signal, tls, webSocket, timers = systemTimers } = options
  const secured = tls !== undefined || webSocket?.secure === true
  signal?.throwIfAborted()
  const address = await safeAddress(host, `connect to ${host}:${port}`, { ...options, secured })
  signal?.throwIfAborted()
  const attempt: Attempt = {
    host,
    port,
    signal,
    handshake: { role: 'client', greeting },
    context: { clock, timers, limits: { ...DEFAULT_LIMITS, ...options.limits } },
    dial: () => dial(options, address, secured),
  }
  if (webSocket !== undefined) return await connectWebSocket(attempt, webSocket, secured)
  const line = attempt.dial()
  return await opened(overSocket(line.socket, attempt.handshake, attempt.context), line, attempt)
}

function dial({ host, port, tls }: ConnectOptions, address: string, secured: boolean): Line {
  const socket = secured
    ? usableKeys(`connect to ${host}:${port}`, () =>
        dialTls({ address, port, serverName: tls?.serverName ?? host, ...(tls && { material: tls }) }),
      )
    : connectSocket({ host: address, port })
  socket.setNoDelay(true)
  socket.setKeepAlive(true, 1000 * KEEP_ALIVE_SECONDS)
  const line = { socket, connected: false }
  socket.once('connect', () => (line.connected = true))
  return line
}

async function connectWebSocket(
  attempt: Attempt,
  target: WebSocketTarget,
  secure: boolean,
): Promise<Connection> {
  const { host, port, handshake, context, signal } = attempt
  const { timers, limits } = context
  const deadline = new AbortController()
  const stop = timers.after(limits.greetingSeconds, () => {
    const text = `no answer to the request for a WebSocket within ${limits.greetingSeconds} s`
    deadline.abort(new ConnectionError('E_CONNECTION_TIMEOUT', text))
  })
  const signals = signal === undefined ? [deadline.signal] : [deadline.signal, signal]
  const lines: Line[] = []
  const dialed = (): Socket => {
    const line = attempt.dial()
    lines.push(line)
    return line.socket
  }
  try {
    const socket = await upgrade(dialed, { host, port, secure, target, signal: AbortSignal.any(signals) })
    const connection = overWebSocket(socket, lines[0].socket, handshake, context)
    const open = opened(connection, lines[0], attempt)
    socket.resume()
    return await open
  } catch (error) {
    for (const { socket } of lines) socket.destroy()
    const isLost = error instanceof ConnectionError && error.code === 'E_CONNECTION_LOST'
    throw isLost && lines.every(({ connected }) => !connected) ? unreachable(attempt, error) : error
  } finally {
    stop()
  }
}

function opened(connection: WireConnection, line: Line, attempt: Attempt): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const { socket } = line
    const { signal } = attempt
    const abort = (): void => {
      reject(signal?.reason as Error)
      socket.destroy()
    }
    signal?.addEventListener('abort', abort, { once: true })
    connection.onOpen = () => {
      signal?.removeEventListener('abort', abort)
      resolve(connection)
    }
    connection.onClose((reason) => {
      signal?.removeEventListener('abort', abort)
      if (reason.kind !== 'failed') return
      if (!line.connected) socket.destroy()
      reject(line.connected ? reason.error : unreachable(attempt, reason.error))
    })
    connection.start()
  })
}

function unreachable({ host, port }: Attempt, error: Error): ConnectionError {
  const cause = error.cause instanceof Error ? error.cause : error
  const text = `cannot connect to ${host}:${port}: ${cause.message}\n  remedy: check that \`edgewise cloud\` listens there`
  return new ConnectionError('E_CONNECTION_UNREACHABLE', text, { cause })
}
