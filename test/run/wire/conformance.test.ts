import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import type { Clock } from '../../../src/core/clock.ts'
import { sha256 } from '../../../src/core/files.ts'
import { randomStream } from '../../../src/core/random.ts'
import { connect } from '../../../src/run/wire/client.ts'
import { FRAME, FRAME_HEADER_BYTES } from '../../../src/run/wire/types.ts'
import { idsFrame, jsonFrame, readIds, readJson } from '../../../src/run/wire/payloads.ts'
import { listen } from '../../../src/run/wire/server.ts'
import { makeFrame } from '../../../src/run/wire/frame.ts'
import { memoryPair } from './memory.ts'
import type { HelloReply } from '../../../src/run/wire/connection.ts'
import type { Connection, Frame } from '../../../src/run/wire/types.ts'
import type { ConnectOptions } from '../../../src/run/wire/client.ts'
import type { ListenOptions, WireServer } from '../../../src/run/wire/server.ts'
import { testAuthority } from './certificates.ts'
import { ending, nextFrames } from './support.ts'

interface Options {
  readonly greeting?: unknown
  readonly greet?: (peer: unknown) => HelloReply
  readonly serverClock?: Clock
}

type Open = (options: Options) => Promise<{ client: Connection; server: Connection }>

const servers: WireServer[] = []
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()))
})

const authority = await testAuthority()
const tls = { server: await authority.issue('cloud'), client: await authority.issue('edge') }
const webSocket = { path: '/wire', token: 'secret' }

/** Over a real socket on loopback. */
function overLoopback(parts: Partial<ListenOptions>, clientParts: Partial<ConnectOptions>): Open {
  return async ({ greeting = {}, greet = () => ({ welcome: {} }), serverClock = systemClock }) => {
    let accept: (connection: Connection) => void = () => {}
    const accepted = new Promise<Connection>((resolve) => (accept = resolve))
    const base = { host: '127.0.0.1', clock: systemClock }
    const server = await listen({
      ...base,
      port: 0,
      greet,
      onConnection: accept,
      clock: serverClock,
      ...parts,
    })
    servers.push(server)
    const client = await connect({ ...base, port: server.port, greeting, ...clientParts })
    return { client, server: await accepted }
  }
}

/** A payload by its hash: comparing large arrays one element at a time takes seconds. */
function plain({ payload, ...rest }: Frame): unknown {
  return { ...rest, payload: sha256(payload) }
}

/** One suite for every transport. */
const transports: Readonly<Record<string, Open>> = {
  memory: (options) => memoryPair({ ...options, clock: systemClock }),
  'memory in random chunks': (options) =>
    memoryPair({ ...options, clock: systemClock, chop: randomStream(1, 'chop') }),
  TCP: overLoopback({}, {}),
  TLS: overLoopback({ tls: tls.server }, { tls: tls.client }),
  WebSocket: overLoopback({ webSocket }, { webSocket }),
  'WebSocket over TLS': overLoopback({ tls: tls.server, webSocket }, { tls: tls.client, webSocket }),
}

describe.each(Object.keys(transports))('a connection over %s', (name) => {
  const open = transports[name]

  it('knows both greetings', async () => {
    const greet = (peer: unknown): HelloReply => ({ welcome: { heard: peer } })
    const { client, server } = await open({ greeting: { model: 'm' }, greet })
    expect(server.peer).toEqual({ model: 'm' })
    expect(client.peer).toEqual({ heard: { model: 'm' } })
  })

  it("knows the name in the other side's certificate, where there is one", async () => {
    const { client, server } = await open({})
    const names = name.includes('TLS') ? ['cloud', 'edge'] : [null, null]
    expect([client.identity, server.identity]).toEqual(names)
  })

  it('carries every kind of frame in order, both ways, and counts every byte', async () => {
    const { client, server } = await open({})
    const [up, down] = [client.sentBytes, server.sentBytes]
    const large = new Uint8Array(3_000_001).map((_, i) => i)
    const sent = [
      jsonFrame(FRAME.plan, { layers: [1, 2] }, { request: 7 }),
      jsonFrame(FRAME.open, { plan: 7 }, { request: 1 }),
      makeFrame(FRAME.tensor, { request: 1, step: 2, position: 3, count: 4, bits: 8, payload: large }),
      idsFrame([5, 0xffffffff], { request: 1, position: 9, flags: 3 }),
      makeFrame(FRAME.close, { request: 1, position: 11 }),
      makeFrame(FRAME.close, { request: 1 }),
    ]
    const arrived = nextFrames(server, sent.length)
    client.send(...sent)
    expect((await arrived).map(plain)).toEqual(sent.map(plain))
    const bytes = sent.reduce((sum, { payload }) => sum + FRAME_HEADER_BYTES + payload.length, 0)
    expect(client.sentBytes - up).toBe(bytes)
    expect(server.receivedBytes).toBe(client.sentBytes)

    const back = nextFrames(client, 2)
    server.send(idsFrame([1, 2, 3], { position: 4 }))
    server.send(jsonFrame(FRAME.report, { ok: true }))
    const [ids, report] = await back
    expect([...readIds(ids)]).toEqual([1, 2, 3])
    expect(readJson(report)).toEqual({ ok: true })
    expect(server.sentBytes - down).toBe(2 * FRAME_HEADER_BYTES + 12 + 11)
    expect(client.receivedBytes).toBe(server.sentBytes)
  })

  it('delivers payloads that can be viewed as floats', async () => {
    const { client, server } = await open({})
    const floats = Float32Array.of(1, -2.5, 3e-9)
    const arrived = nextFrames(server, 1)
    client.send(makeFrame(FRAME.tensor, { bits: 32, payload: new Uint8Array(floats.buffer) }))
    const { payload } = (await arrived)[0]
    expect(payload.byteOffset).toBe(0)
    expect(new Float32Array(payload.buffer)).toEqual(floats)
  })

  it('keeps frames for a listener that comes late', async () => {
    const { client, server } = await open({})
    server.send(idsFrame([1]), idsFrame([2]))
    await client.ping()
    const frames = await nextFrames(client, 2)
    expect(frames.map((frame) => readIds(frame)[0])).toEqual([1, 2])
  })

  it('measures round trips and the offset of the clocks', async () => {
    const serverClock = { ...systemClock, nowSeconds: () => systemClock.nowSeconds() + 1000 }
    const { client, server } = await open({ serverClock })
    for (const warmBytes of [0, 65536]) {
      const { rttSeconds, clockOffsetSeconds } = await client.ping(warmBytes)
      expect(rttSeconds).toBeGreaterThan(0)
      expect(Math.abs(clockOffsetSeconds - 1000)).toBeLessThanOrEqual(rttSeconds / 2 + 1e-9)
    }
    const [a, b] = await Promise.all([server.ping(), server.ping()])
    expect(a.clockOffsetSeconds).toBeLessThan(-999)
    expect(b.clockOffsetSeconds).toBeLessThan(-999)
    await expect(client.ping(65537)).rejects.toThrow('0..65536')
  })

  it('closes after all that was sent has arrived', async () => {
    const { client, server } = await open({})
    const [end, reply] = [ending(client), ending(server)]
    const arrived = nextFrames(client, 2)
    server.send(makeFrame(FRAME.tensor, { payload: new Uint8Array(5_000_000) }), idsFrame([7]))
    await Promise.all([server.close(), server.close()])
    expect(await arrived).toHaveLength(2)
    expect(await end).toEqual({ kind: 'ended', message: 'closed by the peer' })
    expect(await reply).toEqual({ kind: 'closed', message: 'closed by this side' })
    expect(() => client.send(idsFrame([1]))).toThrow('closed by the peer')
    expect(() => server.send(idsFrame([1]))).toThrow('closed by this side')
    await expect(client.ping()).rejects.toMatchObject({ code: 'E_CONNECTION_CLOSED' })
  })

  it('may be closed from both sides at once', async () => {
    const { client, server } = await open({})
    await Promise.all([client.close(), server.close()])
    expect((await ending(client)).kind).toBe('closed')
    expect((await ending(server)).kind).toBe('closed')
  })

  it('tells a client why it is refused', async () => {
    const refuse = { code: 'E_MODEL', message: 'expected: model A\n  found: model B\u001b[31m' }
    await expect(open({ greet: () => ({ refuse }) })).rejects.toMatchObject({
      code: 'E_CONNECTION_REFUSED',
      peerCode: 'E_MODEL',
      message: 'the peer refuses the connection (E_MODEL): expected: model A\n  found: model B?[31m',
    })
  })

  it('keeps a defect of its own to itself', async () => {
    const greet = (): HelloReply => {
      throw new TypeError('secret path')
    }
    const refused = open({ greet })
    await expect(refused).rejects.toMatchObject({ peerCode: 'E_INTERNAL' })
    await expect(refused).rejects.not.toThrow('secret')
  })

  it('refuses to send what it may not, and goes on', async () => {
    const { client, server } = await open({})
    const illegal = { code: 'E_WIRE_STATE' }
    expect(() => server.send(makeFrame(FRAME.open))).toThrow(expect.objectContaining(illegal))
    expect(() => client.send(jsonFrame(FRAME.report, 1))).toThrow(expect.objectContaining(illegal))
    expect(() => client.send(makeFrame(FRAME.bye))).toThrow('found: bye')
    expect(() => client.send(jsonFrame(FRAME.plan, 'x'.repeat(65536)))).toThrow('at most 65536 bytes')
    const arrived = nextFrames(server, 1)
    client.send(makeFrame(FRAME.close))
    expect(await arrived).toHaveLength(1)
  })

  it('ends with the error of a listener, which the peer may read', async () => {
    const { client, server } = await open({})
    server.onFrame((frame) => readIds(frame))
    const [here, there] = [ending(server), ending(client)]
    client.send({ ...idsFrame([1, 2]), count: 3 })
    expect(await here).toMatchObject({ kind: 'failed', error: { code: 'E_WIRE_PAYLOAD' } })
    expect(await there).toMatchObject({ kind: 'failed', error: { peerCode: 'E_WIRE_PAYLOAD' } })
  })
})
