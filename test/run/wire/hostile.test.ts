import { createConnection, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { systemTimers } from '../../../src/core/timers.ts'
import { randomStream } from '../../../src/core/random.ts'
import type { RandomStream } from '../../../src/core/random.ts'
import { connect } from '../../../src/run/wire/client.ts'
import { encodeFrames, makeFrame } from '../../../src/run/wire/frame.ts'
import { FRAME } from '../../../src/run/wire/types.ts'
import { idsFrame, jsonFrame } from '../../../src/run/wire/payloads.ts'
import { listen } from '../../../src/run/wire/server.ts'
import { overSocket } from '../../../src/run/wire/socket.ts'
import { DEFAULT_LIMITS } from '../../../src/run/wire/limits.ts'
import type { CloseReason, Connection, Frame } from '../../../src/run/wire/types.ts'
import type { WireServer } from '../../../src/run/wire/server.ts'
import { bench } from './paper.ts'
import { concat, ending, HandTime, nextFrames, singly } from './support.ts'

const LIMITS = { maxPayloadBytes: 64 * 1024, closingSeconds: 0.2, greetingSeconds: 1 }
/** What a well-behaved client says; the payloads tell the frames apart. */
const SENT: readonly Frame[] = [
  jsonFrame(FRAME.hello, {}),
  jsonFrame(FRAME.plan, { layers: 3 }, { request: 1 }),
  jsonFrame(FRAME.open, { plan: 1 }, { request: 1 }),
  makeFrame(FRAME.tensor, { request: 1, bits: 8, count: 1, payload: new Uint8Array(3000).fill(7) }),
  idsFrame([3, 1, 4, 1, 5], { request: 1 }),
  makeFrame(FRAME.close, { request: 1 }),
]
const PIECES = SENT.map((frame, i) => concat(encodeFrames([frame], i)))
const BYTES = concat(PIECES)

/** One way to ruin a stream. */
const RUINS: Readonly<Record<string, (random: RandomStream) => Uint8Array>> = {
  'random bytes': (random) => randomBytes(1 + random.integer(400), random),
  'random bytes after a greeting': (random) =>
    concat([PIECES[0], randomBytes(32 + random.integer(400), random)]),
  'a truncated stream': (random) => BYTES.subarray(0, random.integer(BYTES.length)),
  'a frame twice': (random) => {
    const i = random.integer(PIECES.length)
    return concat([...PIECES.slice(0, i + 1), ...PIECES.slice(i)])
  },
  'a frame left out': (random) => {
    const i = random.integer(PIECES.length - 1)
    return concat([...PIECES.slice(0, i), ...PIECES.slice(i + 1)])
  },
  'flipped bits': (random) => {
    const bytes = BYTES.slice()
    for (let i = 0; i <= random.integer(3); i++) bytes[random.integer(bytes.length)] ^= 1 << random.integer(8)
    return bytes
  },
}

function randomBytes(length: number, random: RandomStream): Uint8Array {
  return Uint8Array.from({ length }, () => random.integer(256))
}

/** Frames that are delivered have to be the first ones that were sent, but for the greeting and unchanged. */
function isPrefix(frames: readonly Frame[]): boolean {
  return frames.every(
    (frame, i) => i + 1 < SENT.length && PIECES[i + 1].join() === concat(encodeFrames([frame], i + 1)).join(),
  )
}

describe.each(Object.keys(RUINS))('%s on paper', (name) => {
  it('never delivers a frame that was not sent, and ends in one error', () => {
    fc.assert(
      fc.property(fc.nat(), fc.boolean(), (seed, one) => {
        const bytes = RUINS[name](randomStream(seed, name))
        const { connection, ends } = bench('server', LIMITS)
        const frames: Frame[] = []
        connection.onFrame((frame) => frames.push(frame))
        for (const chunk of one ? singly(bytes) : [bytes]) connection.receive(chunk)
        connection.ended()
        connection.transportGone()
        expect(isPrefix(frames)).toBe(true)
        expect(ends).toMatchObject([{ kind: 'failed' }])
      }),
      { numRuns: 100 },
    )
  })
})

describe.each(Object.keys(RUINS))('%s over a real socket', (name) => {
  let server: WireServer
  const seen = new Map<Connection, { frames: Frame[]; end: Promise<CloseReason> }>()
  beforeAll(async () => {
    server = await listen({
      host: '127.0.0.1',
      port: 0,
      clock: systemClock,
      limits: LIMITS,
      greet: () => ({ welcome: {} }),
      onConnection: (connection) => {
        const frames: Frame[] = []
        connection.onFrame((frame) => frames.push(frame))
        seen.set(connection, { frames, end: ending(connection) })
      },
    })
  })
  afterEach(() => seen.clear())
  afterAll(() => server.close())

  it.each([false, true])(
    'leaves nobody behind, and the server as it was (one byte at a time: %s)',
    async (one) => {
      for (let seed = 0; seed < 12; seed++) {
        const bytes = RUINS[name](randomStream(seed, `${name} ${one}`))
        const socket = createConnection({ host: '127.0.0.1', port: server.port, noDelay: true })
        socket.on('error', () => {}).resume()
        const closed = new Promise((resolve) => socket.once('close', resolve))
        if (one) for (const chunk of singly(bytes)) socket.write(chunk)
        else socket.write(bytes)
        socket.end()
        await closed
      }
      for (const { frames, end } of seen.values()) {
        expect((await end).kind).toBe('failed')
        expect(isPrefix(frames)).toBe(true)
      }
      await expect.poll(() => server.connections.size).toBe(0)
      const client = await connect({ host: '127.0.0.1', port: server.port, greeting: {}, clock: systemClock })
      expect((await client.ping()).rttSeconds).toBeGreaterThan(0)
      await client.close()
    },
  )
})

describe('a slow client', () => {
  it('that says a byte a second occupies nothing but its place, until its greeting is over', () => {
    const { connection, time, ends, paper } = bench('server', { greetingSeconds: 5 })
    const before = process.memoryUsage().arrayBuffers
    let sent = 0
    while (ends.length === 0) {
      connection.receive(PIECES[0].subarray(sent, ++sent))
      time.pass(1)
    }
    expect(sent).toBe(5)
    expect(ends).toMatchObject([{ error: { code: 'E_CONNECTION_TIMEOUT' } }])
    expect(paper.ends).toBe(1)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1e6)
  })

  it('holds no other up, and is gone in its time', async () => {
    const time = new HandTime()
    const rejected: Error[] = []
    const server = await listen({
      host: '127.0.0.1',
      port: 0,
      clock: time,
      timers: time,
      maxConnections: 3,
      greet: () => ({ welcome: {} }),
      onConnection: (connection) => connection.onFrame((frame) => connection.send(frame)),
      onRejected: (error) => rejected.push(error),
    })
    const { port } = server
    const slow = [0, 1].map(() => createConnection({ host: '127.0.0.1', port, noDelay: true }))
    const closed = slow.map((socket) => new Promise((resolve) => socket.once('close', resolve)))
    for (const socket of slow) socket.on('error', () => {}).resume()
    const client = await connect({ host: '127.0.0.1', port, greeting: {}, clock: systemClock })
    for (let i = 0; i < 5; i++) {
      for (const socket of slow) if (!socket.destroyed) socket.write(PIECES[0].subarray(i, i + 1))
      const echo = nextFrames(client, 1)
      client.send(idsFrame([i]))
      expect(await echo).toHaveLength(1)
      time.pass(1)
    }
    await Promise.all(closed)
    expect(rejected).toMatchObject([{ code: 'E_CONNECTION_TIMEOUT' }, { code: 'E_CONNECTION_TIMEOUT' }])
    await connect({ host: '127.0.0.1', port, greeting: {}, clock: systemClock })
    await server.close()
  })
})

describe('a hostile server', () => {
  const servers: Server[] = []
  const sockets: Socket[] = []
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy()
    for (const server of servers.splice(0)) server.close()
  })

  async function saying(bytes: Uint8Array): Promise<number> {
    const server = createServer((socket) => {
      sockets.push(socket)
      socket.on('error', () => {}).resume()
      socket.write(bytes)
    })
    servers.push(server)
    await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve))
    return (server.address() as AddressInfo).port
  }

  it('gets an error from its client for any bytes', async () => {
    const welcome = concat(encodeFrames([jsonFrame(FRAME.welcome, {})], 0))
    for (let seed = 0; seed < 20; seed++) {
      const random = randomStream(seed, 'server')
      const junk = randomBytes(64, random)
      const greeted = seed % 2 === 0
      const port = await saying(greeted ? concat([welcome, junk]) : junk)
      const attempt = connect({ host: '127.0.0.1', port, greeting: {}, clock: systemClock, limits: LIMITS })
      if (!greeted) await expect(attempt).rejects.toMatchObject({ name: 'WireError' })
      else expect(await ending(await attempt)).toMatchObject({ kind: 'failed', error: { name: 'WireError' } })
    }
  })

  it('makes its client allocate nothing for a size past the cap', async () => {
    const header = PIECES[3].slice(0, 32)
    new DataView(header.buffer).setUint32(0, 0xffffffff, true)
    new DataView(header.buffer).setUint32(12, 1, true)
    const welcome = concat(encodeFrames([jsonFrame(FRAME.welcome, {})], 0))
    const port = await saying(concat([welcome, header]))
    const before = process.memoryUsage().arrayBuffers
    const client = await connect({ host: '127.0.0.1', port, greeting: {}, clock: systemClock })
    expect(await ending(client)).toMatchObject({ error: { code: 'E_WIRE_SIZE' } })
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1e7)
  })
})

describe('a flood', () => {
  it('of pings whose answers nobody reads ends the connection at its cap', async () => {
    const ended = new Promise<CloseReason>((resolve) => {
      const server = createServer((socket) => {
        const options = {
          clock: systemClock,
          timers: systemTimers,
          limits: { ...DEFAULT_LIMITS, maxQueuedBytes: 1_000_000 },
        }
        const handshake = { role: 'server', greet: () => ({ welcome: {} }) } as const
        const connection = overSocket(socket, handshake, options)
        connection.onClose((reason) => {
          server.close()
          resolve(reason)
        })
        connection.start()
      })
      server.listen({ host: '127.0.0.1', port: 0 }, () => {
        const { port } = server.address() as AddressInfo
        const socket = createConnection({ host: '127.0.0.1', port })
        socket.on('error', () => {}).pause()
        socket.write(PIECES[0])
        const payload = new Uint8Array(65_536)
        for (let i = 1; i <= 400; i++) {
          for (const part of encodeFrames([makeFrame(FRAME.ping, { request: i, payload })], i))
            socket.write(part)
        }
      })
    })
    expect(await ended).toMatchObject({ kind: 'failed', error: { code: 'E_CONNECTION_SLOW' } })
  })
})
