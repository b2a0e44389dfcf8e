import { createConnection, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { systemTimers } from '../../../src/core/timers.ts'
import { connect } from '../../../src/run/wire/client.ts'
import { DEFAULT_LIMITS } from '../../../src/run/wire/limits.ts'
import { encodeFrames, makeFrame } from '../../../src/run/wire/frame.ts'
import { FRAME } from '../../../src/run/wire/types.ts'
import { jsonFrame, readRefusal } from '../../../src/run/wire/payloads.ts'
import { listen } from '../../../src/run/wire/server.ts'
import { overSocket } from '../../../src/run/wire/socket.ts'
import type { Connection } from '../../../src/run/wire/types.ts'
import type { ListenOptions, WireServer } from '../../../src/run/wire/server.ts'
import { ending, nextFrames, parseAll } from './support.ts'

const closers: (() => void | Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

async function serve(
  options: Partial<ListenOptions> = {},
): Promise<{ server: WireServer; accepted: Promise<Connection>; rejected: Promise<Error> }> {
  let accept: (connection: Connection) => void = () => {}
  const accepted = new Promise<Connection>((resolve) => (accept = resolve))
  let reject: (error: Error) => void = () => {}
  const rejected = new Promise<Error>((resolve) => (reject = resolve))
  const server = await listen({
    host: '127.0.0.1',
    port: 0,
    greet: () => ({ welcome: {} }),
    onConnection: accept,
    onRejected: reject,
    clock: systemClock,
    ...options,
  })
  closers.push(() => server.close())
  return { server, accepted, rejected }
}

function dial(port: number, signal?: AbortSignal): Promise<Connection> {
  return connect({
    host: '127.0.0.1',
    port,
    greeting: {},
    clock: systemClock,
    ...(signal === undefined ? {} : { signal }),
  })
}

/** A socket without the protocol. */
function raw(port: number): Socket {
  const socket = createConnection({ host: '127.0.0.1', port })
  socket.on('error', () => {})
  closers.push(() => void socket.destroy())
  return socket
}

function send(socket: Socket, bytes: readonly Uint8Array[]): void {
  for (const part of bytes) socket.write(part)
}

/** All that a socket hears until its end. */
async function hear(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** A plain server that does `talk` with whoever comes. */
async function plainServer(talk: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    talk(socket)
  })
  await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve))
  closers.push(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

const hello = encodeFrames([jsonFrame(FRAME.hello, {})], 0)

describe('a server', () => {
  it('tells a client of another version, and hears of it', async () => {
    const { server, rejected } = await serve()
    const bytes = Buffer.concat(hello)
    bytes[4] = 1
    const socket = raw(server.port)
    socket.write(bytes)
    const { frames } = parseAll([await hear(socket)])
    expect(frames.map((frame) => readRefusal(frame))).toMatchObject([{ code: 'E_WIRE_VERSION' }])
    expect(await rejected).toMatchObject({ code: 'E_WIRE_VERSION' })
  })

  it('ends a conversation in another protocol', async () => {
    const { server, rejected } = await serve()
    const socket = raw(server.port)
    socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n')
    await hear(socket)
    expect(await rejected).toMatchObject({ code: 'E_WIRE_VERSION' })
  })

  it('waits for a hello only so long', async () => {
    const { server, rejected } = await serve({ limits: { greetingSeconds: 0.05 } })
    const { frames } = parseAll([await hear(raw(server.port))])
    expect(readRefusal(frames[0]).code).toBe('E_CONNECTION_TIMEOUT')
    expect(await rejected).toMatchObject({ code: 'E_CONNECTION_TIMEOUT' })
  })

  it('takes so many clients at a time, and the next when one has left', async () => {
    const { server } = await serve({ maxConnections: 2 })
    const [first] = [await dial(server.port), await dial(server.port)]
    expect(server.connections.size).toBe(2)
    await expect(dial(server.port)).rejects.toThrow('the server has 2 connections, its maximum')
    await first.close()
    expect(server.connections.size).toBe(1)
    await dial(server.port)
  })

  it('gives a client up that does not read', async () => {
    const { server, accepted } = await serve({ limits: { maxQueuedBytes: 4_000_000 } })
    const socket = raw(server.port)
    send(socket, hello)
    socket.pause()
    const connection = await accepted
    const end = ending(connection)
    const tensor = makeFrame(FRAME.tensor, { payload: new Uint8Array(1_000_000) })
    // The kernel takes some megabytes itself.
    const flood = (): void => {
      for (let i = 0; i < 200; i++) connection.send(tensor)
    }
    expect(flood).toThrow('the peer does not read')
    expect(await end).toMatchObject({ kind: 'failed', error: { code: 'E_CONNECTION_SLOW' } })
  })

  it('notices a client that vanishes, inside a frame or between two', async () => {
    for (const [bytes, text] of [
      [hello, 'without a bye'],
      [[...hello, encodeFrames([makeFrame(FRAME.close)], 1)[0].subarray(0, 9)], 'inside a frame'],
    ] as const) {
      const { server, accepted } = await serve()
      const socket = raw(server.port)
      socket.on('data', () => socket.destroy())
      send(socket, bytes)
      const reason = await ending(await accepted)
      expect(reason).toMatchObject({ kind: 'failed', error: { code: 'E_CONNECTION_LOST' } })
      expect(reason.message).toContain(text)
      expect(server.connections.size).toBe(0)
    }
  })

  it('closes when everything it sent is there, and says so to those who greet', async () => {
    const { server, accepted } = await serve()
    const client = await dial(server.port)
    const arrived = nextFrames(client, 20)
    const end = ending(client)
    const connection = await accepted
    const shy = hear(raw(server.port))
    await client.ping()
    for (let i = 0; i < 20; i++) {
      connection.send(makeFrame(FRAME.tensor, { position: i, payload: new Uint8Array(1_000_000) }))
    }
    await server.close()
    expect((await arrived).map((frame) => frame.position)).toEqual(Array.from({ length: 20 }, (_, i) => i))
    expect((await end).kind).toBe('ended')
    await shy
    await expect(dial(server.port)).rejects.toMatchObject({ code: 'E_CONNECTION_UNREACHABLE' })
  })

  it('says that its port is taken', async () => {
    const { server } = await serve()
    await expect(serve({ port: server.port })).rejects.toThrow('EADDRINUSE')
  })
})

describe('a client', () => {
  it('says that nobody listens', async () => {
    const { server } = await serve()
    await server.close()
    await expect(dial(server.port)).rejects.toThrow('remedy: check that `edgewise cloud` listens there')
  })

  it('refuses a server of another version by naming both', async () => {
    const bytes = Buffer.concat(encodeFrames([jsonFrame(FRAME.welcome, {})], 0))
    bytes[4] = 3
    const port = await plainServer((socket) => void socket.write(bytes))
    await expect(dial(port)).rejects.toThrow('expected: version 2\n  found: version 3')
  })

  it('waits for a welcome only so long', async () => {
    const port = await plainServer((socket) => void socket.resume())
    const late = connect({
      host: '127.0.0.1',
      port,
      greeting: {},
      clock: systemClock,
      limits: { greetingSeconds: 0.05 },
    })
    await expect(late).rejects.toMatchObject({ code: 'E_CONNECTION_TIMEOUT' })
  })

  it('notices a server that hangs up on it', async () => {
    const port = await plainServer((socket) => void socket.end())
    await expect(dial(port)).rejects.toMatchObject({ code: 'E_CONNECTION_LOST' })
  })

  it('can be called off before and while it greets, and not after', async () => {
    const port = await plainServer((socket) => void socket.resume())
    await expect(dial(port, AbortSignal.abort(new Error('never mind')))).rejects.toThrow('never mind')
    const control = new AbortController()
    const pending = dial(port, control.signal)
    setImmediate(() => control.abort(new Error('enough')))
    await expect(pending).rejects.toThrow('enough')
    const { server } = await serve()
    const later = new AbortController()
    const client = await dial(server.port, later.signal)
    later.abort()
    expect((await client.ping()).rttSeconds).toBeGreaterThan(0)
  })
})

describe('a socket', () => {
  it('gets one write for the frames of one send', async () => {
    let writes = 0
    const socket = new Duplex({
      read() {},
      write(_chunk, _encoding, done) {
        writes++
        done()
      },
      writev(_chunks, done) {
        writes++
        done()
      },
    })
    const options = { clock: systemClock, timers: systemTimers, limits: DEFAULT_LIMITS }
    const handshake = { role: 'server', greet: () => ({ welcome: {} }) } as const
    const connection = overSocket(socket, handshake, options)
    connection.start()
    for (const part of hello) connection.receive(part)
    expect(writes).toBe(1)
    const large = makeFrame(FRAME.tensor, { payload: new Uint8Array(100_000) })
    connection.send(makeFrame(FRAME.close), large, large, makeFrame(FRAME.close))
    expect(writes).toBe(2)
    socket.destroy()
    await connection.gone()
  })
})
