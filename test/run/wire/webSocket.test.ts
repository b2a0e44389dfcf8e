import { get } from 'node:http'
import { createConnection } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { systemClock } from '../../../src/core/clock.ts'
import { connect } from '../../../src/run/wire/client.ts'
import { encodeFrames, makeFrame } from '../../../src/run/wire/frame.ts'
import { FRAME } from '../../../src/run/wire/types.ts'
import { jsonFrame } from '../../../src/run/wire/payloads.ts'
import { listen } from '../../../src/run/wire/server.ts'
import type { Connection } from '../../../src/run/wire/types.ts'
import type { ConnectOptions } from '../../../src/run/wire/client.ts'
import type { ListenOptions, WireServer } from '../../../src/run/wire/server.ts'
import { testAuthority } from './certificates.ts'
import { ending } from './support.ts'

const webSocket = { path: '/wire', token: 'secret' }
const authorization = { Authorization: 'Bearer secret' }

const closers: (() => void | Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

interface Served {
  readonly server: WireServer
  readonly port: number
  readonly rejected: Promise<Error>
  readonly accepted: Promise<Connection>
}

async function serve(parts: Partial<ListenOptions> = {}): Promise<Served> {
  let [reject, accept]: [(error: Error) => void, (connection: Connection) => void] = [() => {}, () => {}]
  const rejected = new Promise<Error>((resolve) => (reject = resolve))
  const accepted = new Promise<Connection>((resolve) => (accept = resolve))
  const server = await listen({
    host: '127.0.0.1',
    port: 0,
    clock: systemClock,
    webSocket,
    onRejected: reject,
    greet: () => ({ welcome: {} }),
    onConnection: accept,
    ...parts,
  })
  closers.push(() => server.close())
  return { server, port: server.port, rejected, accepted }
}

function dial(port: number, parts: Partial<ConnectOptions> = {}): Promise<Connection> {
  return connect({ host: '127.0.0.1', port, greeting: {}, clock: systemClock, webSocket, ...parts })
}

/** A WebSocket without the protocol, open. */
async function bare(port: number): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/wire`, { headers: authorization })
  socket.on('error', () => {})
  closers.push(() => socket.terminate())
  await new Promise((resolve) => socket.once('open', resolve))
  return socket
}

async function greeted(served: Served): Promise<{ socket: WebSocket; connection: Connection }> {
  const socket = await bare(served.port)
  for (const part of encodeFrames([jsonFrame(FRAME.hello, {})], 0)) socket.send(part)
  return { socket, connection: await served.accepted }
}

describe('a WebSocket', () => {
  it.each([
    [404, '/other', {}],
    [404, '/wire/more', authorization],
    [401, '/wire', {}],
    [401, '/wire', { Authorization: 'Bearer secre' }],
    [401, '/wire', { Authorization: 'secret' }],
    [403, '/wire', { ...authorization, Origin: 'https://page.test' }],
  ])('is refused with %d at %s with %o', async (status, path, headers) => {
    const { port, rejected, server } = await serve()
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers })
    const error = await new Promise<Error>((resolve) => socket.once('error', resolve))
    expect(error.message).toContain(String(status))
    expect(await rejected).toMatchObject({ message: expect.stringContaining(String(status)) as string })
    expect(server.connections.size).toBe(0)
  })

  it.each([
    [400, '/wire'],
    [404, '/'],
  ])('door answers %d to a plain request for %s', async (status, path) => {
    const { port } = await serve()
    const found = await new Promise<number | undefined>((resolve) => {
      get({ host: '127.0.0.1', port, path }, ({ statusCode }) => resolve(statusCode))
    })
    expect(found).toBe(status)
  })

  it.each([
    [{ path: '/other' }, 'it has no WebSocket at /other'],
    [{ path: '/wire', token: 'wrong' }, 'the token is missing or wrong'],
  ])('client with %o hears why', async (target, why) => {
    const { port } = await serve()
    await expect(dial(port, { webSocket: target })).rejects.toMatchObject({
      code: 'E_CONNECTION_REFUSED',
      message: expect.stringContaining(why) as string,
    })
  })

  it('brings a refusal that comes right behind its opening', async () => {
    const { port } = await serve({ maxConnections: 1 })
    await dial(port)
    await expect(dial(port)).rejects.toMatchObject({
      code: 'E_CONNECTION_REFUSED',
      peerCode: 'E_CONNECTION_REFUSED',
      message: expect.stringContaining('the server has 1 connections') as string,
    })
  })

  it('brings the refusal of a name that is not allowed', async () => {
    const authority = await testAuthority()
    const [cloud, edge] = [await authority.issue('cloud'), await authority.issue('edge')]
    const { port } = await serve({ tls: cloud, allow: (identity) => identity !== 'edge' })
    await expect(dial(port, { tls: edge })).rejects.toMatchObject({
      code: 'E_CONNECTION_REFUSED',
      peerCode: 'E_FORBIDDEN',
      message: expect.stringContaining('edge may not connect here') as string,
    })
  })

  it('needs no token where none is set', async () => {
    const { port } = await serve({ webSocket: { path: '/' } })
    const client = await dial(port, { webSocket: { path: '/' } })
    expect((await client.ping()).rttSeconds).toBeGreaterThan(0)
  })

  it('stays on this machine without TLS', async () => {
    await expect(serve({ host: '0.0.0.0' })).rejects.toThrow('TLS and a client certificate are needed')
    await expect(dial(1, { host: '192.0.2.1' })).rejects.toThrow('TLS and a client certificate are needed')
  })

  it('says that nobody listens', async () => {
    const { server, port } = await serve()
    await server.close()
    await expect(dial(port)).rejects.toMatchObject({ code: 'E_CONNECTION_UNREACHABLE' })
  })

  it('can be called off while it opens', async () => {
    const control = new AbortController()
    const { port } = await serve()
    const pending = dial(port, { signal: control.signal })
    control.abort(new Error('enough'))
    await expect(pending).rejects.toThrow('enough')
  })

  it.each([
    ['text', (socket: WebSocket) => socket.send('hello'), 'E_WIRE_HEADER'],
    ['nothing', (socket: WebSocket) => socket.send(Buffer.alloc(0)), 'E_WIRE_HEADER'],
    ['too large a message', (socket: WebSocket) => socket.send(Buffer.alloc(300_000)), 'E_CONNECTION_LOST'],
    [
      'a hundred pings',
      (socket: WebSocket) => {
        for (let i = 0; i < 100; i++) socket.ping()
      },
      'E_WIRE_RATE',
    ],
  ])('ends at %s', async (_, say, code) => {
    const { socket, connection } = await greeted(await serve())
    const end = ending(connection)
    say(socket)
    expect(await end).toMatchObject({ kind: 'failed', error: { code } })
  })

  it('may be cut into messages anywhere', async () => {
    const { socket, connection } = await greeted(await serve())
    const frames = new Promise((resolve) => connection.onFrame(({ position }) => resolve(position)))
    const bytes = Buffer.concat(encodeFrames([makeFrame(FRAME.close, { position: 77 })], 1))
    for (const byte of bytes) socket.send(Uint8Array.of(byte))
    expect(await frames).toBe(77)
  })

  it('gives a client up that does not read', async () => {
    const served = await serve({ limits: { maxQueuedBytes: 4_000_000 } })
    const { socket, connection } = await greeted(served)
    socket.pause()
    const end = ending(connection)
    const tensor = makeFrame(FRAME.tensor, { payload: new Uint8Array(1_000_000) })
    expect(() => {
      for (let i = 0; i < 200; i++) connection.send(tensor)
    }).toThrow('the peer does not read')
    expect(await end).toMatchObject({ kind: 'failed', error: { code: 'E_CONNECTION_SLOW' } })
  })

  it('gives a request its time and not more, and its place back', async () => {
    const { port, rejected } = await serve({ limits: { greetingSeconds: 0.2 }, maxConnections: 1 })
    const slow = createConnection({ host: '127.0.0.1', port })
    slow.on('error', () => {})
    slow.write('GET /wire HTTP/1.1\r\nHost: x\r\n')
    expect(await rejected).toMatchObject({ code: 'E_CONNECTION_TIMEOUT' })
    await new Promise((resolve) => slow.once('close', resolve))
    const client = await dial(port)
    expect((await client.ping()).rttSeconds).toBeGreaterThan(0)
  })
})
