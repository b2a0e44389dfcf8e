import type { Duplex } from 'node:stream'
import type WebSocket from 'ws'
import { ConnectionError } from './errors.ts'
import { SOCKET_OPTIONS } from './webSocket.ts'
import { trustError } from './tls.ts'

/** A server's WebSocket endpoint, as a client requests it. */
export interface WebSocketTarget {
  readonly path: string
  /** Sent as `Authorization: Bearer`. */
  readonly token?: string
  /** Uses TLS, without a client certificate if `tls` is absent. Default: whether `tls` is given. */
  readonly secure?: boolean
}

/** Options of `upgrade`. */
interface Upgrading {
  readonly host: string
  readonly port: number
  readonly secure: boolean
  readonly target: WebSocketTarget
  /** Aborts the request; it rejects with the signal's reason. */
  readonly signal: AbortSignal
}

/**
 * Requests a WebSocket from the server at the other end of `line`; resolves to it paused. Rejects with ConnectionError
 * (E_CONNECTION_REFUSED for any other answer, E_CONNECTION_UNTRUSTED, E_CONNECTION_LOST), or the signal's reason, and
 * destroys the line.
 */
export async function upgrade(line: () => Duplex, options: Upgrading): Promise<WebSocket> {
  const { host, port, secure, target, signal } = options
  // Loaded on demand, because only some users need it.
  const { WebSocket: Socket } = await import('ws')
  signal.throwIfAborted()
  const { path, token } = target
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` }
  const socket = new Socket(
    `${secure ? 'wss' : 'ws'}://${host.includes(':') ? `[${host}]` : host}:${port}${path}`,
    {
      ...SOCKET_OPTIONS,
      headers,
      // The socket exists already, connected to the address that was checked.
      createConnection: line,
    },
  )
  return new Promise((resolve, reject) => {
    const giveUp = (error: Error): void => {
      signal.removeEventListener('abort', abort)
      socket.terminate()
      reject(error)
    }
    const abort = (): void => giveUp(signal.reason as Error)
    signal.addEventListener('abort', abort, { once: true })
    socket.on('error', (error) => giveUp(trustError(error) ?? lost(error)))
    socket.once('unexpected-response', (_request, { statusCode }) => giveUp(refused(statusCode ?? 0, path)))
    socket.once('open', () => {
      signal.removeEventListener('abort', abort)
      // A refusal may directly follow the 101 response, when there is no listener for it yet.
      socket.pause()
      resolve(socket)
    })
  })
}

function lost(cause: Error): ConnectionError {
  const text = `the connection broke before the WebSocket was open: ${cause.message}`
  return new ConnectionError('E_CONNECTION_LOST', text, { cause })
}

function refused(status: number, path: string): ConnectionError {
  const why: Readonly<Record<number, string>> = {
    401: 'the token is missing or wrong',
    404: `it has no WebSocket at ${path}`,
  }
  const text = `the server answers ${status} to the request for a WebSocket`
  return new ConnectionError('E_CONNECTION_REFUSED', status in why ? `${text}: ${why[status]}` : text, {
    peerCode: status === 401 ? 'E_FORBIDDEN' : null,
  })
}
