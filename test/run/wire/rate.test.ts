import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { connect } from '../../../src/run/wire/client.ts'
import { FRAME } from '../../../src/run/wire/types.ts'
import { listen } from '../../../src/run/wire/server.ts'
import { makeFrame } from '../../../src/run/wire/frame.ts'
import { TokenBucket } from '../../../src/core/tokenBucket.ts'
import { ConnectRateLimiter, networkOf } from '../../../src/run/wire/rate.ts'
import { openBench } from './paper.ts'

describe('a bucket', () => {
  it('never gives more than its rate and one filling over any time', () => {
    const takes = fc.array(fc.record({ wait: fc.double({ min: 0, max: 2, noNaN: true }), count: fc.nat(20) }))
    fc.assert(
      fc.property(takes, (all) => {
        const bucket = new TokenBucket(10, 0, 15)
        let [now, given] = [0, 0]
        for (const { wait, count } of all) {
          now += wait
          if (bucket.take(count, now)) given += count
          expect(given).toBeLessThanOrEqual(15 + 10 * now + 1e-6)
        }
      }),
    )
  })

  it('fills again, and a clock that goes back takes nothing away', () => {
    const bucket = new TokenBucket(2, 5)
    expect([bucket.take(2, 5), bucket.take(1, 5), bucket.take(1, 4), bucket.take(1, 5.5)]).toEqual([
      true,
      false,
      false,
      true,
    ])
  })
})

describe('the rate of a client', () => {
  it('is limited in frames', () => {
    const server = openBench('server', { maxFramesPerSecond: 10 })
    for (let i = 0; i < 9; i++) server.peer(makeFrame(FRAME.close))
    expect(server.ends).toEqual([])
    server.time.pass(0.5)
    for (let i = 0; i < 5; i++) server.peer(makeFrame(FRAME.close))
    expect(server.ends).toEqual([])
    server.peer(makeFrame(FRAME.close))
    expect(server.ends).toMatchObject([{ kind: 'failed', error: { code: 'E_WIRE_RATE' } }])
    expect(server.paper.writes.flat().at(-1)?.[5]).toBe(FRAME.refuse)
  })

  it('is limited in bytes, but for one frame of the largest size', () => {
    const server = openBench('server', { maxBytesPerSecond: 100, maxPayloadBytes: 5000 })
    server.peer(makeFrame(FRAME.tensor, { payload: new Uint8Array(4900) }))
    expect(server.ends).toEqual([])
    server.time.pass(1)
    server.peer(makeFrame(FRAME.tensor, { payload: new Uint8Array(300) }))
    expect(server.ends).toMatchObject([{ error: { code: 'E_WIRE_RATE' } }])
  })

  it('is not that of a server', () => {
    const client = openBench('client', { maxFramesPerSecond: 1, maxBytesPerSecond: 1, maxPayloadBytes: 5000 })
    for (let i = 0; i < 50; i++) client.peer(makeFrame(FRAME.tensor, { payload: new Uint8Array(4000) }))
    expect(client.ends).toEqual([])
  })
})

describe('attempts', () => {
  it('are counted for each address by itself', () => {
    const attempts = new ConnectRateLimiter(3)
    const of = (address: string): boolean[] => [0, 0, 0, 0].map((now) => attempts.allow(address, now))
    expect(of('10.0.0.1')).toEqual([true, true, true, false])
    expect(of('10.0.0.2')).toEqual([true, true, true, false])
    expect(attempts.allow('10.0.0.1', 21)).toBe(true)
    expect(of('2001:db8::1')).toEqual([true, true, true, false])
    expect(attempts.allow('2001:db8::ffff:1', 0)).toBe(false)
    expect(attempts.allow('2001:db8:0:1::1', 0)).toBe(true)
  })

  it.each([
    ['127.0.0.1', '127.0.0.1'],
    ['::ffff:10.0.0.1', '::ffff:10.0.0.1'],
    ['::1', '0:0:0:0'],
    ['fe80::1%eth0', 'fe80:0:0:0'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:db8:1:2:3::', '2001:db8:1:2'],
    ['', ''],
  ])('of %s are those of %s', (address, network) => {
    expect(networkOf(address)).toBe(network)
  })

  it('take bounded memory', () => {
    const attempts = new ConnectRateLimiter(2)
    for (let i = 0; i < 10_000; i++) attempts.allow(`10.0.${i >> 8}.${i & 255}`, 0)
    expect(attempts.size).toBe(4096)
  })

  it('past the limit end at the door', async () => {
    const rejected: Error[] = []
    const base = { host: '127.0.0.1', clock: systemClock }
    const server = await listen({
      ...base,
      port: 0,
      limits: { maxHandshakesPerMinute: 2 },
      greet: () => ({ welcome: {} }),
      onConnection: () => {},
      onRejected: (error) => rejected.push(error),
    })
    const dial = (): Promise<unknown> => connect({ ...base, port: server.port, greeting: {} })
    await dial()
    await dial()
    await expect(dial()).rejects.toMatchObject({ code: 'E_CONNECTION_LOST' })
    expect(rejected).toMatchObject([{ code: 'E_WIRE_RATE' }])
    expect(server.connections.size).toBe(2)
    await server.close()
  })
})
