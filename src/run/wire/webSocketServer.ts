import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type WebSocket from 'ws'
import { ConnectionError } from './errors.ts'
import { SOCKET_OPTIONS } from './webSocket.ts'

/** Where a server accepts WebSockets. */
export interface WebSocketListenOptions {
  readonly path: string
  /** Clients must send it as `Authorization: Bearer`. */
  readonly token?: string
}

/** Largest size of a request's headers, in bytes. */
const MAX_HEADER_BYTES = 8 * 1024

const REASONS = { 400: 'Bad Request', 401: 'Unauthorized', 403: 'Forbidden', 404: 'Not Found' } as const
type Refused = keyof typeof REASONS

/** Upgrades sockets to WebSockets. */
export interface Upgrader {
  /** Waits for the request on `line` and answers it: calls one of the two functions, at most once. */
  take(line: Duplex, opened: (socket: WebSocket) => void, failed: (error: Error) => void): void
}

/** Creates an upgrader, which does not listen itself: sockets are passed to it. */
export async function openUpgrader({ path, token }: WebSocketListenOptions): Promise<Upgrader> {
  const { WebSocketServer } = await import('ws')
  const sockets = new WebSocketServer({ ...SOCKET_OPTIONS, noServer: true, clientTracking: false })
  const waiting = new WeakMap<Duplex, { opened(socket: WebSocket): void; failed(error: Error): void }>()
  const requests = createServer({ maxHeaderSize: MAX_HEADER_BYTES, keepAlive: false })
  const refuse = (line: Duplex, status: Refused): void => {
    const text = `turned a request away: ${status} ${REASONS[status]}`
    waiting.get(line)?.failed(new ConnectionError('E_CONNECTION_REFUSED', text))
    turnAway(line, status)
  }
  requests.on('upgrade', (request: IncomingMessage, line: Duplex, head: Buffer) => {
    const status = problemOf(request, path, token)
    if (status === null) {
      sockets.handleUpgrade(request, line, head, (socket) => waiting.get(line)?.opened(socket))
    } else refuse(line, status)
  })
  requests.on('request', ({ socket, url }: IncomingMessage) =>
    refuse(socket, pathOf(url) === path ? 400 : 404),
  )
  requests.on('clientError', (_error, line) => refuse(line, 400))
  sockets.on('wsClientError', (_error, line) => refuse(line, 400))
  return {
    take(line, opened, failed) {
      waiting.set(line, { opened, failed })
      requests.emit('connection', line)
    },
  }
}

/** A browser sends the page's origin: pages must not use a device's cloud. */
function problemOf({ url, headers }: IncomingMessage, path: string, token?: string): Refused | null {
  if (pathOf(url) !== path) return 404
  if (headers.origin !== undefined) return 403
  return token === undefined || sameText(headers.authorization ?? '', `Bearer ${token}`) ? null : 401
}

function pathOf(url = ''): string {
  return url.split('?')[0]
}

/** Compares in a time that does not depend on where the texts differ. */
function sameText(a: string, b: string): boolean {
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(hash(a), hash(b))
}

function turnAway(line: Duplex, status: Refused): void {
  if (line.destroyed || line.writableEnded) return
  line.once('finish', () => line.destroy())
  line.end(`HTTP/1.1 ${status} ${REASONS[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}
