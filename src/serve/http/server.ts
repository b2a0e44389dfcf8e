import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerOptions, ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { InputError } from '../../core/errors.ts'
import { clientLeft } from './body.ts'
import { ApiState } from './apiState.ts'
import { ApiError, errorBody } from './errors.ts'
import { HttpExchange } from './httpExchange.ts'
import { handle } from './handler.ts'
import { safeAddress } from './hosts.ts'
import { newRequestId } from './requestId.ts'
import type { ApiLimits, ApiOptions, ApiServer, ApiTls } from './options.ts'
import { matchRoute } from './routes.ts'

/** How often node looks for connections that take too long. */
const CHECKING_SECONDS = 1

/**
 * Serves the API until it is closed. Rejects with InputError for an address that other machines can reach without TLS
 * and a key, for a port that is not free, and for a certificate that cannot be used.
 */
export async function startApi(options: ApiOptions): Promise<ApiServer> {
  const { host, port, keys, tls } = options
  const where = `the API on ${host}:${port}`
  const address = await safeAddress(host, where, { tls: tls !== undefined, keys: keys?.size ?? 0 })
  const service = new Service(new ApiState(options))
  const server = open(service.api.limits, tls, where)
  service.attach(server)
  await bind(server, address, port, where)
  const bound = (server.address() as AddressInfo).port
  const name = address.includes(':') ? `[${address}]` : address
  return {
    address,
    port: bound,
    url: `${tls === undefined ? 'http' : 'https'}://${name}:${bound}`,
    close: () => service.close(),
    drain: (seconds) => service.drain(seconds),
  }
}

/** The requests of one server. */
class Service {
  readonly api: ApiState
  /** What each connection is at. */
  private readonly exchanges = new WeakMap<Duplex, HttpExchange>()
  private closed: Promise<void> | null = null
  private server: Server | null = null

  constructor(api: ApiState) {
    this.api = api
  }

  attach(server: Server): void {
    this.server = server
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      this.take(request, response)
    })
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => this.broken(error, socket))
    // A handshake that fails is the client's affair.
    server.on('tlsClientError', (_error: Error, socket: Socket) => socket.destroy())
  }

  async close(): Promise<void> {
    this.closed ??= this.end()
    await this.closed
  }

  async drain(seconds: number): Promise<{ givenUp: number }> {
    this.api.draining = true
    await this.api.empty(seconds)
    const givenUp = this.api.abortAll()
    await this.close()
    return { givenUp }
  }

  private async end(): Promise<void> {
    this.api.draining = true
    this.api.abortAll()
    const down = new Promise<void>((resolve) => this.server?.close(() => resolve()))
    const disarm = this.api.options.timers.after(this.api.limits.closingSeconds, () =>
      this.server?.closeAllConnections(),
    )
    await down
    disarm()
  }

  private take(request: IncomingMessage, response: ServerResponse): void {
    const { options, limits } = this.api
    const exchange = new HttpExchange(request, response, matchRoute(request.url ?? ''), {
      id: `req_${newRequestId(options.random)}`,
      arrivedSeconds: options.clock.nowSeconds(),
      limits,
      timers: options.timers,
      onDefect: options.onDefect ?? (() => {}),
    })
    if (this.api.draining) response.setHeader('connection', 'close')
    this.exchanges.set(request.socket, exchange)
    response.on('close', () => {
      if (this.exchanges.get(request.socket) === exchange) this.exchanges.delete(request.socket)
      const record = exchange.record(options.clock.nowSeconds())
      this.api.metrics.record(record)
      options.onRequest?.(record)
      // A connection that was busy when the server closed would be kept for a next request.
      if (this.closed !== null) setImmediate(() => this.server?.closeIdleConnections())
    })
    void handle(this.api, exchange)
  }

  /** A request that takes too long or is no HTTP: told so where nothing else was said yet. */
  private broken(error: NodeJS.ErrnoException, socket: Duplex): void {
    const exchange = this.exchanges.get(socket)
    if (GONE.has(error.code ?? '')) {
      exchange?.abort(clientLeft())
      socket.destroy()
      return
    }
    const problem = brokenRequest(error.code)
    if (exchange !== undefined && !exchange.writer.headersSent && socket.writable) {
      exchange.response.setHeader('connection', 'close')
      exchange.abort(problem)
    } else if (exchange !== undefined || !socket.writable) socket.destroy()
    else refuse(socket, problem)
  }
}

/** The connection ended, or its half of it, before the request did. */
const GONE: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE', 'HPE_INVALID_EOF_STATE'])

function open(limits: ApiLimits, tls: ApiTls | undefined, where: string): Server {
  const options: ServerOptions = {
    maxHeaderSize: limits.headerBytes,
    headersTimeout: 1000 * limits.headerSeconds,
    requestTimeout: 1000 * limits.uploadSeconds,
    keepAliveTimeout: 1000 * limits.keepAliveSeconds,
    connectionsCheckingInterval: 1000 * CHECKING_SECONDS,
    noDelay: true,
  }
  const server = tls === undefined ? createServer(options) : openTls(options, tls, limits, where)
  server.maxConnections = limits.connections
  return server
}

function openTls(options: ServerOptions, tls: ApiTls, limits: ApiLimits, where: string): Server {
  try {
    const handshakeTimeout = 1000 * limits.headerSeconds
    return createTlsServer({ ...options, ...tls, minVersion: 'TLSv1.3', handshakeTimeout })
  } catch (error) {
    const expected = 'a certificate and its private key, as PEM'
    throw new InputError({ where, expected, found: (error as Error).message }, { cause: error })
  }
}

function brokenRequest(code: string | undefined): ApiError {
  const type = 'invalid_request_error'
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    const message = 'the request took too long to arrive'
    return new ApiError({ status: 408, type, code: 'request_timeout', message })
  }
  if (code === 'HPE_HEADER_OVERFLOW') {
    return new ApiError({
      status: 431,
      type,
      code: 'headers_too_large',
      message: 'the headers are too large',
    })
  }
  return new ApiError({ status: 400, type, code: 'bad_http', message: 'this is no HTTP request' })
}

const PHRASES: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
}

/** Answers a connection that has no request. */
function refuse(socket: Duplex, error: ApiError): void {
  const { status } = error.problem
  const body = JSON.stringify(errorBody(error))
  const lines = [
    `HTTP/1.1 ${status} ${PHRASES[status]}`,
    'connection: close',
    'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`,
  ]
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy())
}

function bind(server: Server, host: string, port: number, where: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => {
      const expected = 'an address and a port that are free'
      const remedy = 'take another port, or 0 for any free one'
      const found = error.code ?? error.message
      reject(new InputError({ where, expected, found, remedy }, { cause: error }))
    }
    server.once('error', failed)
    server.listen({ host, port }, () => {
      server.off('error', failed)
      // What goes wrong later is one connection's affair.
      server.on('error', () => {})
      resolve()
    })
  })
}
