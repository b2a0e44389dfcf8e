import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { randomStream } from '../../../src/core/random.ts'
import { parseLoopback } from '../../../src/trace/replay/endpoint.ts'
import { startRelay } from '../../../src/trace/replay/relay.ts'
import type { Relay, RelayOptions } from '../../../src/trace/replay/relay.ts'
import { constantLink, createLink } from '../../../src/trace/link.ts'
import { ManualTime, until } from './manual.ts'

const LOOPBACK = { host: '127.0.0.1', port: 0 }
const cleanups: (() => Promise<unknown> | void)[] = []
afterEach(async () => {
  for (let last = cleanups.pop(); last !== undefined; last = cleanups.pop()) await last()
})

/** A server for the relay to reach; what it accepts is kept. */
async function target(onSocket: (socket: Socket) => void): Promise<number> {
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    cleanups.push(() => void socket.destroy())
    socket.on('error', () => {})
    onSocket(socket)
  })
  server.listen(LOOPBACK)
  await once(server, 'listening')
  cleanups.push(() => void server.close())
  return (server.address() as AddressInfo).port
}

async function relayTo(port: number, options: Partial<RelayOptions> = {}): Promise<Relay> {
  const relay = await startRelay({
    listen: LOOPBACK,
    to: { host: '127.0.0.1', port },
    link: constantLink(1e9, 1e9, 0),
    clock: systemClock,
    ...options,
  })
  cleanups.push(() => relay.close())
  return relay
}

function client(port: number): Socket {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
  cleanups.push(() => void socket.destroy())
  socket.on('error', () => {})
  return socket
}

/** What a socket has said so far. */
function listen(socket: Socket): { bytes(): number; text(): string; ended: boolean } {
  const chunks: Buffer[] = []
  const heard = {
    bytes: () => chunks.reduce((sum, chunk) => sum + chunk.length, 0),
    text: () => Buffer.concat(chunks).toString('latin1'),
    ended: false,
  }
  socket.on('data', (chunk) => chunks.push(chunk))
  socket.on('end', () => (heard.ended = true))
  return heard
}

describe('a relay under a clock that is moved by hand', () => {
  /** One connection: what the target heard, and its socket for answers. */
  async function fixture(options: Partial<RelayOptions>) {
    const time = new ManualTime()
    const accepted: { socket: Socket; heard: ReturnType<typeof listen> }[] = []
    const port = await target((socket) => accepted.push({ socket, heard: listen(socket) }))
    const relay = await relayTo(port, { clock: time.clock, timer: time.timer, ...options })
    const socket = client(relay.port)
    await until(() => accepted.length === 1)
    const { socket: remote, heard } = accepted[0]
    return { time, relay, socket, answers: listen(socket), heard, remote }
  }

  it('delivers the last byte when the link says, in both directions', async () => {
    const link = constantLink(8e6, 4e6, 0.1)
    const { time, relay, socket, heard, answers, remote } = await fixture({ link })
    socket.write(Buffer.alloc(100_000))
    await until(() => relay.stats().up.receivedBytes === 100_000)
    // 100 kB at 1 MB/s and 50 ms: the last of them after 0.15 s, the first slices before.
    time.moveTo(100.1499)
    await until(() => heard.bytes() === relay.stats().up.deliveredBytes)
    expect(heard.bytes()).toBeGreaterThan(95_000)
    expect(heard.bytes()).toBeLessThan(100_000)
    time.moveTo(100.1501)
    await until(() => heard.bytes() === 100_000)
    remote.write(Buffer.alloc(1000))
    await until(() => relay.stats().down.receivedBytes === 1000)
    time.moveTo(100.1501 + 0.0519)
    expect(relay.stats().down.deliveredBytes).toBe(0)
    time.moveTo(100.1501 + 0.0521)
    await until(() => answers.bytes() === 1000)
  })

  it('holds bytes through an outage, and lets them go as after it', async () => {
    const series = {
      timeSeconds: Float64Array.of(0, 1, 31, 60),
      upBitsPerSecond: Float64Array.of(8e6, 0, 8e6),
      downBitsPerSecond: Float64Array.of(8e6, 8e6, 8e6),
      rttSeconds: Float64Array.of(0.02, 0.02, 0.02),
      label: 'an outage of 30 s',
    }
    const { time, relay, socket, heard } = await fixture({ link: createLink(series), startSeconds: 5 })
    socket.write('hello')
    await until(() => relay.stats().up.receivedBytes === 5)
    time.moveTo(125.9)
    expect(relay.stats()).toMatchObject({ linkSeconds: expect.closeTo(30.9, 6), up: { waitingBytes: 5 } })
    time.moveTo(126.02)
    await until(() => heard.text() === 'hello')
  })

  it('compresses time by its speed', async () => {
    const { time, relay, socket, heard } = await fixture({ link: constantLink(8e6, 8e6, 1), speed: 10 })
    socket.write(Buffer.alloc(50_000))
    await until(() => relay.stats().up.receivedBytes === 50_000)
    time.moveTo(100.0549)
    expect(relay.stats().up.deliveredBytes).toBeLessThan(50_000)
    time.moveTo(100.0551)
    await until(() => heard.bytes() === 50_000)
  })

  it('shares the link among connections, first come first served', async () => {
    const { time, relay, socket, heard } = await fixture({ link: constantLink(8e6, 8e6, 0) })
    socket.write(Buffer.alloc(60_000))
    await until(() => relay.stats().up.receivedBytes === 60_000)
    const second = client(relay.port)
    second.write('x')
    await until(() => relay.stats().up.receivedBytes === 60_001)
    time.moveTo(100.0599)
    expect(relay.stats().up.deliveredBytes).toBeLessThan(60_000)
    time.moveTo(100.06001)
    await until(() => heard.bytes() === 60_000)
    expect(relay.stats().up).toMatchObject({ deliveredBytes: 60_001, flightBytes: 0, waitingBytes: 0 })
  })

  it('pauses reading when the queue is full, and loses nothing', async () => {
    const queueBytes = 100_000
    const sent = 30_000_000
    const { time, relay, socket, heard } = await fixture({ link: constantLink(8e8, 8e8, 0.02), queueBytes })
    socket.write(Buffer.alloc(sent))
    await until(() => relay.stats().up.pauses === 1)
    expect(relay.stats().up.waitingBytes).toBeLessThanOrEqual(queueBytes + 65_536)
    while (heard.bytes() < sent) {
      time.moveTo(time.seconds + 0.0005)
      await new Promise(setImmediate)
    }
    expect(relay.stats().up.largestWaitingBytes).toBeLessThanOrEqual(queueBytes + 65_536)
  })

  it('caps what is on its way', async () => {
    const { time, relay, socket, heard } = await fixture({
      link: constantLink(8e9, 8e9, 10),
      flightBytes: 1e6,
    })
    socket.write(Buffer.alloc(8_000_000))
    await until(() => relay.stats().up.receivedBytes > 0)
    while (relay.stats().up.pauses === 0) {
      time.moveTo(time.seconds + 0.001)
      await new Promise(setImmediate)
    }
    expect(relay.stats().up.flightBytes).toBeLessThan(2e6)
    while (heard.bytes() < 8_000_000) {
      time.moveTo(time.seconds + 1)
      await new Promise(setImmediate)
    }
  })

  it('passes on the end of a stream after its bytes, and goes on the other way', async () => {
    const { time, relay, socket, heard, remote, answers } = await fixture({
      link: constantLink(8e6, 8e6, 0.2),
    })
    socket.end('last words')
    await until(() => relay.stats().up.receivedBytes === 10)
    time.moveTo(100.05)
    expect(heard.ended).toBe(false)
    await until(() => {
      time.moveTo(time.seconds + 0.01)
      return heard.ended
    })
    expect(heard.text()).toBe('last words')
    remote.end('an answer')
    await until(() => {
      time.moveTo(time.seconds + 0.01)
      return answers.ended && relay.stats().connections.open === 0
    })
    expect(answers.text()).toBe('an answer')
  })

  it.each(['the client', 'the target'])('passes on a reset of %s', async (who) => {
    const { time, relay, socket, remote } = await fixture({ link: constantLink(8e6, 8e6, 0.2) })
    const [from, to] = who === 'the client' ? [socket, remote] : [remote, socket]
    const failure = new Promise<NodeJS.ErrnoException>((resolve) => to.on('error', resolve))
    from.resetAndDestroy()
    await until(() => {
      time.moveTo(time.seconds + 0.01)
      return relay.stats().connections.open === 0
    })
    expect((await failure).code).toBe('ECONNRESET')
  })
})

describe('a relay over real sockets and its own thread', () => {
  it('brings bytes out intact and in order, both ways, on many connections, through outages', async () => {
    const steps = 200
    const random = randomStream(3, 'relay test')
    const rates = (): Float64Array =>
      Float64Array.from({ length: steps }, () => (random.uniform() < 0.3 ? 0 : 1e6 + 4e6 * random.uniform()))
    const link = createLink({
      timeSeconds: Float64Array.from({ length: steps + 1 }, (_, i) => i * 0.1),
      upBitsPerSecond: rates(),
      downBitsPerSecond: rates(),
      rttSeconds: Float64Array.from({ length: steps }, () => 0.2 * random.uniform()),
      label: 'steps and outages',
    })
    const port = await target((socket) => void socket.pipe(socket))
    const relay = await relayTo(port, { link, speed: 50, queueBytes: 100_000 })
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.integer({ min: 1, max: 90_000 }), { minLength: 1, maxLength: 6 }), {
          minLength: 1,
          maxLength: 8,
        }),
        async (connections) => {
          await Promise.all(connections.map((sizes) => echoes(relay.port, sizes)))
        },
      ),
      { numRuns: 10 },
    )
    await until(() => relay.stats().connections.open === 0)
    const { up, down } = relay.stats()
    expect(up.deliveredBytes).toBe(up.receivedBytes)
    expect(down.deliveredBytes).toBe(up.deliveredBytes)
    // Nothing arrives before its time.
    expect(up.latenessSeconds.p50).toBeGreaterThanOrEqual(0)
  })

  /** Sends chunks of the given sizes, ends, and checks that the same comes back until the end. */
  async function echoes(port: number, sizes: readonly number[]): Promise<void> {
    const random = randomStream(port + sizes.length, `chunks ${sizes.join()}`)
    const socket = client(port)
    const sent = createHash('sha256')
    const back = createHash('sha256')
    socket.on('data', (chunk) => back.update(chunk))
    for (const size of sizes) {
      const chunk = Buffer.from(Uint8Array.from({ length: size }, () => random.nextUint32()))
      sent.update(chunk)
      socket.write(chunk)
      if (random.uniform() < 0.5) await new Promise(setImmediate)
    }
    socket.end()
    await once(socket, 'end')
    expect(back.digest('hex')).toBe(sent.digest('hex'))
  }

  it('is never early', async () => {
    const port = await target((socket) => void socket.pipe(socket))
    const relay = await relayTo(port, { link: constantLink(1e8, 1e8, 0.01) })
    const socket = client(relay.port)
    for (let i = 0; i < 20; i++) {
      const from = systemClock.nowSeconds()
      socket.write('ping')
      await once(socket, 'data')
      expect(systemClock.nowSeconds() - from).toBeGreaterThanOrEqual(0.01)
    }
  })

  it('resets a client whose target is not there, and says why', async () => {
    const free = createServer().listen(LOOPBACK)
    await once(free, 'listening')
    const { port } = free.address() as AddressInfo
    free.close()
    await once(free, 'close')
    const relay = await relayTo(port)
    const socket = client(relay.port)
    const error = await new Promise<NodeJS.ErrnoException>((resolve) => socket.on('error', resolve))
    expect(error.code).toBe('ECONNRESET')
    await until(() => relay.stats().connections.open === 0)
    expect(relay.stats().connections).toMatchObject({
      unreachable: 1,
      problem: `127.0.0.1:${port}: ECONNREFUSED`,
    })
  })

  it('refuses more connections than it may have', async () => {
    const port = await target(() => {})
    const relay = await relayTo(port, { maxConnections: 1 })
    const first = client(relay.port)
    await until(() => relay.stats().connections.open === 1)
    const second = client(relay.port)
    await new Promise((resolve) => second.once('close', resolve))
    expect(relay.stats().connections).toMatchObject({ open: 1, total: 2, refused: 1 })
    expect(first.destroyed).toBe(false)
  })
})

describe('what is refused', () => {
  it.each(['', 'x', '127.0.0.1', '10.0.0.1:80', '127.0.0.1:65536', 'example.org:1', '[::2]:5', '0.0.0.0:1'])(
    'an address %j',
    (text) => {
      expect(() => parseLoopback(text, '--to')).toThrow(/--to[^]*expected[^]*remedy/)
    },
  )

  it.each([
    ['127.0.0.1:7400', { host: '127.0.0.1', port: 7400 }],
    ['localhost:0', { host: '127.0.0.1', port: 0 }],
    ['[::1]:9', { host: '::1', port: 9 }],
  ])('not %s', (text, endpoint) => {
    expect(parseLoopback(text, '--to')).toEqual(endpoint)
  })

  it.each([
    { listen: { host: '0.0.0.0', port: 0 } },
    { to: { host: '192.168.0.1', port: 1 } },
    { speed: 0 },
    { startSeconds: -1 },
    { queueBytes: 0.5 },
    { maxConnections: 0 },
  ])('options %j', async (options) => {
    await expect(relayTo(1, options)).rejects.toThrow(/relay: /)
  })

  it('a port that is taken', async () => {
    const port = await target(() => {})
    await expect(relayTo(1, { listen: { host: '127.0.0.1', port } })).rejects.toThrow(/EADDRINUSE/)
  })
})
