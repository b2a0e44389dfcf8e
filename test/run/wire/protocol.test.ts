import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeFrames, makeFrame } from '../../../src/run/wire/frame.ts'
import { FRAME } from '../../../src/run/wire/types.ts'
import { idsFrame, jsonFrame, readJson } from '../../../src/run/wire/payloads.ts'
import type { Frame, FrameType } from '../../../src/run/wire/types.ts'
import { checkLegal } from '../../../src/run/wire/phases.ts'
import type { Phase } from '../../../src/run/wire/phases.ts'
import { bench, openBench } from './paper.ts'
import { anyFrame, concat } from './support.ts'

const types = Object.values(FRAME)

describe('the state machine', () => {
  it('greets', () => {
    const client = bench('client')
    expect(client.paper.frames.map((frame) => [frame.type, readJson(frame)])).toEqual([
      [FRAME.hello, { me: 1 }],
    ])
    client.peer(jsonFrame(FRAME.welcome, { they: 1 }))
    expect(client.connection.peer).toEqual({ they: 1 })
    const server = bench('server')
    expect(server.paper.writes).toEqual([])
    server.peer(jsonFrame(FRAME.hello, [2]))
    expect(server.connection.peer).toEqual([2])
    expect(server.paper.frames.map((frame) => [frame.type, readJson(frame)])).toEqual([
      [FRAME.welcome, { we: 1 }],
    ])
    // The greeting's time is over; the heartbeats go on until the end.
    expect([client.time.pending, server.time.pending]).toEqual([1, 1])
    for (const { connection } of [client, server]) connection.fail(new Error('enough'))
    for (const { connection } of [client, server]) connection.transportGone()
    expect([client.time.pending, server.time.pending]).toEqual([0, 0])
  })

  /** The table of docs/wire.md, said a second time. */
  const legal: Record<'client' | 'server', Record<Phase, FrameType[]>> = {
    client: {
      greeting: [FRAME.hello, FRAME.refuse],
      open: types.filter((type) => ![1, 2, 11, 14].includes(type)),
      closing: [],
      closed: [],
    },
    server: {
      greeting: [FRAME.welcome, FRAME.refuse],
      open: types.filter((type) => ![1, 2, 6, 7].includes(type)),
      closing: [],
      closed: [],
    },
  }

  it('knows which frame is legal from whom and when', () => {
    for (const sender of ['client', 'server'] as const) {
      for (const phase of ['greeting', 'open', 'closing', 'closed'] as const) {
        for (const type of types) {
          const run = (): void => checkLegal(sender, phase, type)
          if (legal[sender][phase].includes(type)) run()
          else expect(run).toThrow(`frame from the ${sender} while ${phase}`)
        }
      }
    }
  })

  it.each(types.filter((type) => type !== FRAME.hello && type !== FRAME.refuse))(
    'ends at frame type %d before hello, before its payload is there',
    (type) => {
      const { connection, paper, ends } = bench('server')
      const frame = makeFrame(type, { payload: new Uint8Array(1000) })
      connection.receive(concat(encodeFrames([frame], 0)).subarray(0, 32))
      expect(ends).toMatchObject([{ kind: 'failed', error: { code: 'E_WIRE_STATE' } }])
      expect(ends[0].message).toContain('expected: hello, refuse')
      expect(paper.frames.map((refusal) => [refusal.type, readJson(refusal)])).toMatchObject([
        [FRAME.refuse, { code: 'E_WIRE_STATE' }],
      ])
      expect(paper.ends).toBe(1)
    },
  )

  it.each(['client', 'server'] as const)('a %s names both versions, and tells the peer', (role) => {
    const { connection, paper, ends } = bench(role)
    paper.writes.length = 0
    const bytes = concat(encodeFrames([jsonFrame(role === 'client' ? FRAME.welcome : FRAME.hello, {})], 0))
    bytes[4] = 9
    connection.receive(bytes)
    expect(ends).toMatchObject([{ error: { code: 'E_WIRE_VERSION' } }])
    expect(ends[0].message).toContain('expected: version 2\n  found: version 9')
    expect(Buffer.concat(paper.writes.flat()).toString('latin1')).toContain('found: version 9')
  })

  it('gives a request one write, however many frames', () => {
    const { connection, paper } = openBench('client')
    const tensor = makeFrame(FRAME.tensor, { payload: new Uint8Array(50_000) })
    connection.send(jsonFrame(FRAME.open, {}), idsFrame([1, 2]), tensor, tensor)
    expect(paper.writes).toHaveLength(1)
  })

  it('answers a ping with its clock, and reads a pong', async () => {
    const { connection, paper, time, peer } = openBench('client')
    const frames: Frame[] = []
    connection.onFrame((frame) => frames.push(frame))
    peer(makeFrame(FRAME.ping, { request: 3, payload: Uint8Array.of(1, 2) }))
    const pong = new DataView(paper.writes[0][0].buffer)
    expect([pong.getUint8(5), pong.getUint32(8, true), pong.getUint8(32), pong.getUint8(33)]).toEqual([
      5, 3, 1, 2,
    ])
    expect(pong.getFloat64(34, true)).toBe(100)
    const ping = connection.ping()
    time.pass(0.25)
    const payload = new Uint8Array(Float64Array.of(5000).buffer)
    peer(makeFrame(FRAME.pong, { request: 1, payload }))
    expect(await ping).toEqual({ rttSeconds: 0.25, clockOffsetSeconds: 5000 - 100.125 })
    expect(frames).toEqual([])
  })

  it.each([
    ['of no ping', { request: 9 }, 'E_WIRE_STATE'],
    ['without a clock', { request: 1, payload: new Uint8Array(7) }, 'E_WIRE_PAYLOAD'],
    ['with a clock that is none', { request: 1, payload: new Uint8Array(8).fill(255) }, 'E_WIRE_PAYLOAD'],
  ])('ends at a pong %s, and so does the ping', async (_, fields, code) => {
    const { connection, ends, peer } = openBench('client')
    const ping = connection.ping()
    peer(makeFrame(FRAME.pong, fields))
    expect(ends).toMatchObject([{ error: { code } }])
    await expect(ping).rejects.toThrow()
  })

  it('lets a greeting take its time and not more', () => {
    const { time, paper, ends } = bench('server', { greetingSeconds: 3 })
    time.pass(2.9)
    expect(ends).toEqual([])
    time.pass(0.2)
    expect(ends).toMatchObject([{ error: { code: 'E_CONNECTION_TIMEOUT' } }])
    expect(ends[0].message).toBe('no greeting within 3 s')
    expect(paper.frames[0].type).toBe(FRAME.refuse)
  })

  it('gives a peer up that does not read', () => {
    const { connection, paper, ends } = openBench('server', { maxQueuedBytes: 1000 })
    paper.stuck = true
    connection.send(makeFrame(FRAME.tensor, { payload: new Uint8Array(900) }))
    expect(connection.queuedBytes).toBe(932)
    expect(() => connection.send(idsFrame([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))).toThrow('1004 bytes wait for it')
    expect(ends).toMatchObject([{ kind: 'failed', error: { code: 'E_CONNECTION_SLOW' } }])
    expect(paper.destroys).toBe(1)
  })

  it('bounds what it keeps for a listener that never comes', () => {
    const { ends, peer } = openBench('server', { maxQueuedBytes: 1000 })
    for (let i = 0; i < 7; i++) peer(makeFrame(FRAME.tensor, { payload: new Uint8Array(120) }))
    expect(ends).toMatchObject([{ error: { code: 'E_CONNECTION_SLOW' } }])
  })

  it('waits for a closing peer while that takes something, then cuts it', () => {
    const { connection, paper, time, ends } = openBench('server', { closingSeconds: 2 })
    paper.stuck = true
    connection.send(makeFrame(FRAME.tensor, { payload: new Uint8Array(3000) }))
    void connection.close()
    for (let i = 0; i < 5; i++) {
      paper.queuedBytes -= 100
      time.pass(2)
    }
    expect([paper.ends, paper.destroys, ends.length]).toEqual([1, 0, 0])
    time.pass(2)
    expect(paper.destroys).toBe(1)
    connection.transportGone()
    expect(ends).toMatchObject([{ kind: 'failed', error: { code: 'E_CONNECTION_LOST' } }])
    expect(time.pending).toBe(0)
  })

  it('delivers nothing after close, bye or an error', () => {
    for (const end of ['close', 'bye', 'error'] as const) {
      const { connection, peer } = openBench('server')
      const seen: number[] = []
      connection.onFrame((frame) => {
        seen.push(frame.position)
        if (frame.position === 2 && end === 'close') void connection.close()
        if (frame.position === 2 && end === 'error') throw new Error('no')
      })
      peer(
        makeFrame(FRAME.close, { position: 1 }),
        makeFrame(FRAME.close, { position: 2 }),
        makeFrame(FRAME.bye),
      )
      peer(makeFrame(FRAME.close, { position: 3 }))
      expect(seen).toEqual([1, 2])
    }
  })

  it('says whether the connection broke inside a frame', () => {
    const inside = openBench('client')
    inside.connection.receive(concat(encodeFrames([idsFrame([1])], 1)).subarray(0, 20))
    inside.connection.ended()
    expect(inside.ends).toMatchObject([{ message: 'the connection broke inside a frame' }])
    const between = openBench('client')
    between.connection.transportGone(new Error('reset'))
    expect(between.ends).toMatchObject([{ message: 'the connection broke without a bye: reset' }])
  })

  it('meets any frames and any garbage of a peer without an error that escapes, and ends at most once', () => {
    const role = fc.constantFrom('client' as const, 'server' as const)
    const input = fc.array(fc.oneof(anyFrame(50), fc.uint8Array({ maxLength: 60 })), { maxLength: 6 })
    fc.assert(
      fc.property(role, fc.boolean(), input, (side, isOpen, inputs) => {
        const { connection, peer, ends } = isOpen ? openBench(side) : bench(side)
        for (const item of inputs) {
          if (item instanceof Uint8Array) connection.receive(item)
          else peer(item)
        }
        connection.ended()
        connection.transportGone()
        expect(ends).toHaveLength(1)
      }),
      { numRuns: 1000 },
    )
  })
})
