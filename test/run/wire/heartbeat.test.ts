import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { systemTimers } from '../../../src/core/timers.ts'
import { connect } from '../../../src/run/wire/client.ts'
import { encodeFrames, makeFrame } from '../../../src/run/wire/frame.ts'
import { FRAME } from '../../../src/run/wire/types.ts'
import { jsonFrame } from '../../../src/run/wire/payloads.ts'
import { listen } from '../../../src/run/wire/server.ts'
import type { Connection, Frame, Heartbeat, Transfer } from '../../../src/run/wire/types.ts'
import { openBench } from './paper.ts'
import type { Bench } from './paper.ts'
import { concat, ending } from './support.ts'

const GONE = [{ kind: 'failed', message: 'nothing heard for 10 s', error: { code: 'E_CONNECTION_TIMEOUT' } }]

/** Lets `seconds` pass, one at a time as a running process sees them. */
function live({ time }: Bench, seconds: number, each: () => void = () => {}): void {
  for (let i = 0; i < seconds; i++) {
    time.pass(1)
    each()
  }
}

function pings({ paper }: Bench): Frame[] {
  return paper.writes.flatMap(([part]) => (part[5] === FRAME.ping ? [frameOf(part)] : []))
}

function frameOf(part: Uint8Array): Frame {
  const view = new DataView(part.buffer, part.byteOffset)
  return makeFrame(FRAME.ping, { request: view.getUint32(8, true), payload: part.subarray(32) })
}

function pong(request: number): Frame {
  return makeFrame(FRAME.pong, { request, payload: new Uint8Array(Float64Array.of(7).buffer) })
}

async function settled(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
}

describe('a heartbeat', () => {
  it('leaves a client every second, without padding, unless one is under way, and is told', async () => {
    const client = openBench('client')
    const beats: Heartbeat[] = []
    client.connection.onHeartbeat((beat) => beats.push(beat))
    live(client, 1)
    expect(pings(client).map(({ request, payload }) => [request, payload.length])).toEqual([[1, 0]])
    live(client, 2)
    expect(pings(client)).toHaveLength(1)
    client.peer(pong(1))
    await settled()
    expect(beats).toEqual([{ atSeconds: 103, rttSeconds: 2, clockOffsetSeconds: 7 - 102 }])
    live(client, 1)
    expect(pings(client)).toHaveLength(2)
  })

  it('leaves a server only where it has said nothing for a while', () => {
    const server = openBench('server')
    live(server, 3)
    expect(pings(server)).toHaveLength(0)
    live(server, 1)
    expect(pings(server)).toHaveLength(1)
    const busy = openBench('server')
    live(busy, 9, () => busy.peer(makeFrame(FRAME.ping)))
    expect(pings(busy)).toHaveLength(0)
  })

  it('is a sign of life while a long frame keeps an answer back', () => {
    const client = openBench('client')
    const bytes = concat(encodeFrames([makeFrame(FRAME.tensor, { payload: new Uint8Array(100) })], 1))
    let at = 0
    live(client, 30, () => client.connection.receive(bytes.subarray(at, ++at)))
    expect(client.ends).toEqual([])
    expect(pings(client).length).toBeGreaterThan(5)
  })

  it('counts as no bytes of anybody', () => {
    const client = openBench('client')
    const before = [client.connection.sentBytes, client.connection.receivedBytes]
    live(client, 1)
    client.peer(pong(1), makeFrame(FRAME.ping))
    expect([client.connection.sentBytes, client.connection.receivedBytes]).toEqual(before)
    expect(client.paper.writes).toHaveLength(2)
  })

  it('can be switched off, and with it the wait for a sign', () => {
    for (const role of ['client', 'server'] as const) {
      const off = openBench(role, { heartbeatSeconds: null })
      expect(off.time.pending).toBe(0)
      live(off, 60)
      expect([off.paper.writes, off.ends]).toEqual([[], []])
    }
  })

  it('ends the connection where a listener of it fails', async () => {
    const client = openBench('client')
    client.connection.onHeartbeat(() => {
      throw new Error('no')
    })
    live(client, 1)
    client.peer(pong(1))
    await settled()
    expect(client.ends).toMatchObject([{ kind: 'failed', message: 'no' }])
  })

  it('keeps no process alive, and no timer after the end', () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    const before = timers()
    const stop = systemTimers.after(1000, () => {}, true)
    expect(timers()).toBe(before)
    const stopOther = systemTimers.after(1000, () => {})
    expect(timers()).toBe(before + 1)
    for (const end of [stop, stopOther]) end()
    for (const role of ['client', 'server'] as const) {
      const one = openBench(role)
      expect(one.time.background).toBe(one.time.pending)
      void one.connection.close()
      one.connection.transportGone()
      expect(one.time.pending).toBe(0)
    }
  })
})

describe('silence', () => {
  it.each(['client', 'server'] as const)('ends the connection of a %s in its time', (role) => {
    const one = openBench(role)
    live(one, 9)
    expect(one.ends).toEqual([])
    live(one, 1)
    expect(one.ends).toMatchObject(GONE)
    expect(one.paper.destroys).toBe(1)
    one.connection.transportGone()
    expect(one.time.pending).toBe(0)
  })

  it('is over with any byte', () => {
    const server = openBench('server')
    const [bytes] = encodeFrames([makeFrame(FRAME.close)], 1)
    for (let i = 0; i < 4; i++) {
      live(server, 9)
      server.connection.receive(bytes.subarray(i, i + 1))
      expect(server.connection.heardSeconds).toBe(server.time.nowSeconds())
    }
    expect(server.ends).toEqual([])
    live(server, 10)
    expect(server.ends).toMatchObject(GONE)
  })

  it('is none while the peer takes what waits for it', () => {
    const server = openBench('server')
    server.paper.stuck = true
    server.connection.send(makeFrame(FRAME.tensor, { payload: new Uint8Array(5000) }))
    live(server, 40, () => (server.paper.queuedBytes -= 100))
    expect(server.ends).toEqual([])
    expect(server.connection.heardSeconds).toBe(140)
    live(server, 10)
    expect(server.ends).toMatchObject(GONE)
  })

  it('is not broken by bytes that only the system takes', () => {
    const server = openBench('server')
    live(server, 10, () => {
      if (server.ends.length === 0) server.connection.send(makeFrame(FRAME.close))
    })
    expect(server.ends).toMatchObject(GONE)
  })

  it('is not the peer’s while this process does not run', () => {
    const client = openBench('client')
    live(client, 5)
    client.time.pass(3600)
    expect(client.ends).toEqual([])
    client.peer(pong(1))
    live(client, 9)
    expect(client.ends).toEqual([])
    live(client, 2)
    expect(client.ends).toMatchObject(GONE)
  })

  it('is found in bounded time for any limits', () => {
    const limits = fc.record({
      heartbeatSeconds: fc.double({ min: 0.01, max: 30, noNaN: true }),
      silenceSeconds: fc.double({ min: 0.1, max: 60, noNaN: true }),
    })
    fc.assert(
      fc.property(limits, fc.constantFrom('client' as const, 'server' as const), (some, role) => {
        const one = openBench(role, some)
        const step = Math.min(some.heartbeatSeconds, some.silenceSeconds / 5)
        let seconds = 0
        for (; one.ends.length === 0 && seconds < 1000; seconds += step) one.time.pass(step)
        expect(seconds).toBeGreaterThan(some.silenceSeconds - 2 * step)
        expect(seconds).toBeLessThan(some.silenceSeconds + 3 * step)
      }),
    )
  })

  it('finds a peer at the other end of a real socket that has stopped', async () => {
    const sockets: Socket[] = []
    const server = createServer((socket) => {
      sockets.push(socket)
      socket.write(concat(encodeFrames([jsonFrame(FRAME.welcome, {})], 0)))
      socket.pause()
    })
    await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve))
    const { port } = server.address() as AddressInfo
    const limits = { heartbeatSeconds: 0.02, silenceSeconds: 0.2 }
    const client = await connect({ host: '127.0.0.1', port, greeting: {}, clock: systemClock, limits })
    expect(await ending(client)).toMatchObject({ error: { code: 'E_CONNECTION_TIMEOUT' } })
    for (const socket of sockets) socket.destroy()
    server.close()
  })

  it('does not end a connection whose both ends live', async () => {
    const limits = { heartbeatSeconds: 0.02, silenceSeconds: 0.5 }
    let accept: (connection: Connection) => void = () => {}
    const accepted = new Promise<Connection>((resolve) => (accept = resolve))
    const base = { host: '127.0.0.1', clock: systemClock }
    const greet = (): { welcome: unknown } => ({ welcome: {} })
    const server = await listen({ ...base, port: 0, greet, onConnection: accept })
    const client = await connect({ ...base, port: server.port, greeting: {}, limits })
    const beats: Heartbeat[] = []
    await new Promise<void>((resolve, reject) => {
      client.onClose(({ message }) => reject(new Error(message)))
      client.onHeartbeat((beat) => {
        if (beats.push(beat) === 30) resolve()
      })
    })
    expect(beats.every(({ rttSeconds }) => rttSeconds > 0)).toBe(true)
    expect((await accepted).heardSeconds).toBeGreaterThan(0)
    await server.close()
  })
})

describe('a transfer', () => {
  const tensor = makeFrame(FRAME.tensor, { payload: new Uint8Array(9968) })

  function arriving(frames: readonly Frame[], cuts: readonly number[]): Transfer[] {
    const { connection, time } = openBench('client')
    const transfers: Transfer[] = []
    connection.onTransfer((transfer) => transfers.push(transfer))
    const bytes = concat(encodeFrames(frames, 1))
    for (const [i, end] of [...cuts, bytes.length].entries()) {
      connection.receive(bytes.subarray(cuts[i - 1] ?? 0, end))
      time.pass(0.25)
    }
    return transfers
  }

  it('is a frame of some size that came in several chunks, from its first to its last bytes', () => {
    expect(arriving([tensor], [3000, 7000])).toEqual([{ bytes: 7000, startSeconds: 100, endSeconds: 100.5 }])
  })

  it('is not a small frame, nor one that came at once', () => {
    expect(arriving([tensor], [])).toEqual([])
    expect(arriving([makeFrame(FRAME.tensor, { payload: new Uint8Array(4000) })], [32, 2000])).toEqual([])
  })

  it('keeps frames apart that share a chunk', () => {
    expect(arriving([tensor, tensor, tensor], [5000, 12_000, 26_000])).toEqual([
      { bytes: 5000, startSeconds: 100, endSeconds: 100.25 },
      { bytes: 8000, startSeconds: 100.25, endSeconds: 100.5 },
      { bytes: 4000, startSeconds: 100.5, endSeconds: 100.75 },
    ])
  })

  it('may be a ping, too', () => {
    const ping = makeFrame(FRAME.ping, { payload: new Uint8Array(8000) })
    expect(arriving([ping], [1000])).toEqual([{ bytes: 7032, startSeconds: 100, endSeconds: 100.25 }])
  })
})
