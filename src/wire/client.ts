import { connect as connectSocket } from 'node:net'
import type { Socket } from 'node:net'
import type { Clock } from '../base/clock.ts'
import type { WireConnection } from './connection.ts'
import { ConnectionError } from './errors.ts'
import { safeAddress } from './hosts.ts'
import type { HostOptions } from './hosts.ts'
import { DEFAULT_LIMITS } from './limits.ts'
import { overSocket } from './socket.ts'
import { systemTimers } from './timers.ts'
import type { Timers } from './timers.ts'
import type { Connection, WireLimits } from './types.ts'

/** Idle seconds before TCP asks whether the peer is still there. */
export const KEEP_ALIVE_SECONDS = 15

export interface ConnectOptions extends HostOptions {
  readonly host: string
  readonly port: number
  /** JSON for the server's `greet`. */
  readonly greeting: unknown
  readonly clock: Clock
  readonly timers?: Timers
  /** What is left out is as in DEFAULT_LIMITS. */
  readonly limits?: Partial<WireLimits>
  /** Gives the attempt up; an open connection is not touched. */
  readonly signal?: AbortSignal
}

/**
 * Connects, greets and resolves when the server has said welcome. Rejects with InputError (a host that is not
 * loopback), ConnectionError (unreachable, refused, timeout, lost), WireError (not our protocol or version), or
 * the signal's reason.
 */
export async function connect(options: ConnectOptions): Promise<Connection> {
  const { host, port, greeting, clock, signal, timers = systemTimers } = options
  const limits = { ...DEFAULT_LIMITS, ...options.limits }
  signal?.throwIfAborted()
  const address = await safeAddress(host, `connect to ${host}:${port}`, options)
  signal?.throwIfAborted()
  const socket = connectSocket({ host: address, port, noDelay: true })
  socket.setKeepAlive(true, 1000 * KEEP_ALIVE_SECONDS)
  const connection = overSocket(socket, { role: 'client', greeting }, { clock, timers, limits })
  return opened(connection, socket, `${host}:${port}`, signal)
}

function opened(
  connection: WireConnection,
  socket: Socket,
  where: string,
  signal: AbortSignal | undefined,
): Promise<Connection> {
  return new Promise((resolve, reject) => {
    let connected = false
    const abort = (): void => {
      reject(signal?.reason as Error)
      socket.destroy()
    }
    signal?.addEventListener('abort', abort, { once: true })
    socket.once('connect', () => (connected = true))
    connection.onOpen = () => {
      signal?.removeEventListener('abort', abort)
      resolve(connection)
    }
    connection.onClose((reason) => {
      signal?.removeEventListener('abort', abort)
      if (reason.kind !== 'failed') return
      if (!connected) socket.destroy()
      reject(connected ? reason.error : unreachable(where, reason.error))
    })
    connection.start()
  })
}

function unreachable(where: string, error: Error): ConnectionError {
  const cause = error.cause instanceof Error ? error.cause : error
  const text = `cannot connect to ${where}: ${cause.message}\n  remedy: check that \`edgewise cloud\` listens there`
  return new ConnectionError('E_CONNECTION_UNREACHABLE', text, { cause })
}
