import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { randomStream } from '../../../src/core/random.ts'
import { CloudLink, DEFAULT_BACKOFF, DIAL_SECONDS } from '../../../src/run/executor/cloudLink.ts'
import { fixedLink } from '../../../src/run/executor/link.ts'
import type { RecoveryEvent } from '../../../src/run/executor/recoveryTypes.ts'
import { ConnectionError } from '../../../src/run/wire/errors.ts'
import { memoryPair, type MemoryPair } from '../wire/memory.ts'
import type { Connection } from '../../../src/run/wire/types.ts'
import { HandTime } from '../wire/support.ts'

type Answer = 'up' | 'fail' | 'refuse' | 'hang'

/** A link by hand: time, and what each dial finds. */
function linkByHand(answers: Answer[], jitter = 0.5) {
  const time = new HandTime()
  const events: RecoveryEvent[] = []
  const pairs: MemoryPair[] = []
  let dialling = 0
  let most = 0
  const dial = async (signal: AbortSignal): Promise<Connection> => {
    dialling++
    most = Math.max(most, dialling)
    try {
      const answer = answers.shift() ?? 'up'
      if (answer === 'fail') throw new ConnectionError('E_CONNECTION_UNREACHABLE', 'nobody there')
      if (answer === 'refuse')
        throw new ConnectionError('E_CONNECTION_REFUSED', 'another model', { peerCode: 'E_MODEL' })
      if (answer === 'hang')
        await new Promise((_, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason as Error)),
        )
      const pair = await memoryPair({ clock: time, timers: time, limits: { heartbeatSeconds: null } })
      pairs.push(pair)
      return pair.client
    } finally {
      dialling--
    }
  }
  const backoff = { ...DEFAULT_BACKOFF, jitter }
  const link = new CloudLink({ dial, clock: time, timers: time, random: randomStream(1, 'link'), backoff })
  link.onEvent((event) => events.push(event))
  return { link, time, events, pairs, most: () => most }
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 5))
const delays = (events: readonly RecoveryEvent[]): number[] =>
  events.flatMap((event) => (event.kind === 'link-retry' ? [event.delaySeconds] : []))

describe('a link to the cloud', () => {
  test('waits ever longer between attempts, up to the cap, and says so', async () => {
    const { link, time, events } = linkByHand(Array<Answer>(9).fill('fail'), 0)
    link.start()
    for (let i = 0; i < 9; i++) {
      await settled()
      time.pass(delays(events).at(-1)!)
    }
    const connection = await link.opened()
    const expected = [0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5, 5]
    for (const [i, delay] of delays(events).entries()) expect(delay).toBeCloseTo(expected[i], 9)
    expect(events.at(-1)).toMatchObject({ kind: 'link-up', attempts: 10 })
    expect(link.connection).toBe(connection)
    await link.close()
  })

  test('the jitter takes at most its share off, and each wait has its own', async () => {
    await fc.assert(
      fc.asyncProperty(fc.double({ min: 0, max: 1, noNaN: true }), async (jitter) => {
        const { link, time, events } = linkByHand(Array<Answer>(4).fill('fail'), jitter)
        link.start()
        for (let i = 0; i < 4; i++) {
          await settled()
          time.pass(5)
        }
        for (const [i, delay] of delays(events).entries()) {
          const nominal = 0.1 * 2 ** (i + 1)
          expect(delay).toBeLessThanOrEqual(nominal)
          expect(delay).toBeGreaterThanOrEqual(nominal * (1 - jitter) - 1e-12)
        }
        await link.close()
      }),
      { numRuns: 10 },
    )
  })

  test('comes back after a loss, first after about the base', async () => {
    const { link, time, events, pairs } = linkByHand([])
    link.start()
    const first = await link.opened()
    time.pass(30)
    pairs[0].cut()
    await settled()
    expect([link.state, link.connection, link.downSinceSeconds]).toEqual(['down', null, 30])
    expect(delays(events)[0]).toBeLessThanOrEqual(0.1)
    const seen: Connection[] = []
    link.onConnection((connection) => seen.push(connection))
    time.pass(0.1)
    await settled()
    expect(link.state).toBe('up')
    expect(seen).toEqual([link.connection])
    expect(link.connection).not.toBe(first)
    expect(events.map(({ kind }) => kind)).toEqual(['link-up', 'link-down', 'link-retry', 'link-up'])
    const up = events.at(-1)!
    expect(up.kind === 'link-up' && up.awaySeconds).toBeCloseTo(0.1, 9)
    await link.close()
  })

  test('a cloud that takes us and drops us is not dialled ever faster', async () => {
    const { link, time, events, pairs } = linkByHand([], 0)
    link.start()
    for (let i = 0; i < 8; i++) {
      await settled()
      pairs.at(-1)!.cut()
      await settled()
      time.pass(delays(events).at(-1)!)
    }
    expect(delays(events).at(-1)).toBe(5)
    await link.close()
  })

  test('an attempt that hangs is given up after its time; never are two under way', async () => {
    const { link, time, most } = linkByHand(['hang', 'hang'])
    link.start()
    await settled()
    for (let i = 0; i < 4; i++) {
      time.pass(DIAL_SECONDS)
      await settled()
    }
    expect(link.state).toBe('up')
    expect(most()).toBe(1)
    await link.close()
  })

  test('a cloud that will not have us: who waits for the first connection hears why, and it is tried on', async () => {
    const { link, time, events } = linkByHand(['refuse'])
    link.start()
    await expect(link.opened()).rejects.toThrow('another model')
    await expect(link.opened()).rejects.toThrow('another model')
    expect(events[0]).toMatchObject({ kind: 'link-refused' })
    expect(delays(events)[0]).toBeGreaterThanOrEqual(2.5)
    time.pass(5)
    await settled()
    expect(link.state).toBe('up')
    await link.close()
  })

  test('a host that may not be dialled is refused as well', async () => {
    const time = new HandTime()
    const refused = new InputError({ where: 'host', expected: 'loopback', found: 'example' })
    const dial = () => Promise.reject(refused)
    const link = new CloudLink({ dial, clock: time, timers: time, random: randomStream(1, 'link') })
    link.start()
    await expect(link.opened()).rejects.toBe(refused)
    await link.close()
  })

  test('the wait for the first connection ends with its signal', async () => {
    const { link } = linkByHand(['hang'])
    link.start()
    const abort = new AbortController()
    const opened = link.opened(abort.signal)
    abort.abort(new Error('enough'))
    await expect(opened).rejects.toThrow('enough')
    await link.close()
  })

  test.each(['up', 'fail', 'hang'] as const)(
    'closed while a dial finds "%s", it leaves no timer',
    async (answer) => {
      const { link, time, pairs } = linkByHand([answer])
      link.start()
      const opened = link.opened().catch((error: unknown) => error)
      if (answer === 'fail') await settled()
      await link.close()
      await settled()
      if (answer === 'up' && pairs.length > 0) await pairs[0].server.close()
      await settled()
      expect([link.state, link.connection]).toEqual(['closed', null])
      expect(await opened).toBeInstanceOf(ConnectionError)
      expect(time.pending).toBe(0)
      time.pass(100)
      await settled()
      expect(link.connection).toBeNull()
    },
  )

  test('a fixed one is gone for good', async () => {
    const pair = await memoryPair({ clock: new HandTime() })
    const link = fixedLink(pair.client)
    expect(link.connection).toBe(pair.client)
    pair.cut()
    await settled()
    expect(link.connection).toBeNull()
  })
})
