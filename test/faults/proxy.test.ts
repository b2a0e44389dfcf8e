import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { encodeFrames, makeFrame } from '../../src/run/wire/frame.ts'
import { systemTimers } from '../../src/core/timers.ts'
import { FRAME, type Frame } from '../../src/run/wire/types.ts'
import { anyFrame } from '../run/wire/support.ts'
import { FrameSplitter, type SeenFrame } from './frames.ts'
import { startProxy, type Action, type Proxy } from './proxy.ts'

const frames = [0, 1, 2, 3].map((position) =>
  makeFrame(FRAME.ids, { position, request: 7, payload: new Uint8Array(40).fill(position + 1) }),
)
const each = frames.map((frame, i) => Buffer.concat(encodeFrames([frame], i)))
const all = Buffer.concat(each)

describe('frames on their way', () => {
  test('come whole out of chunks of any size', () => {
    fc.assert(
      fc.property(fc.array(anyFrame(), { maxLength: 8 }), fc.array(fc.nat(80)), (list: Frame[], cuts) => {
        const bytes = Buffer.concat(encodeFrames(list, 5))
        const splitter = new FrameSplitter(3, 'down')
        const seen: SeenFrame[] = []
        const passed: Uint8Array[] = []
        let at = 0
        for (const cut of [...cuts, bytes.length]) {
          splitter.push(bytes.subarray(at, at + cut), (frame, whole) => {
            seen.push(frame)
            passed.push(whole)
          })
          at += cut
        }
        expect(Buffer.concat(passed)).toEqual(bytes)
        expect(seen.map(({ type, position, request }) => ({ type, position, request }))).toEqual(
          list.map(({ type, position, request }) => ({ type, position, request })),
        )
      }),
    )
  })
})

describe('a proxy that breaks', () => {
  let server: Server
  let proxy: Proxy
  let taken: Buffer
  let cloud: Socket | null
  let edge: Socket
  let ended: string

  beforeEach(async () => {
    taken = Buffer.alloc(0)
    ended = ''
    cloud = null
    server = createServer({ allowHalfOpen: true }, (socket) => {
      cloud = socket
      socket.on('data', (chunk: Buffer) => (taken = Buffer.concat([taken, chunk])))
      socket.on('end', () => (ended = 'end'))
      socket.on('error', () => (ended = 'reset'))
    })
    await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve))
    proxy = await startProxy(() => (server.address() as AddressInfo).port, systemTimers)
    edge = connect({ host: '127.0.0.1', port: proxy.port })
    edge.on('error', () => {})
    await once(edge, 'connect')
  })
  afterEach(async () => {
    edge.destroy()
    await proxy.close()
    cloud?.destroy()
    await new Promise((resolve) => server.close(resolve))
  })

  /** What is done to the second frame of four. */
  function second(act: Action): void {
    proxy.play([{ when: ({ way, position }) => way === 'up' && position === 1, act }])
    edge.write(all)
  }
  const arrives = (...parts: readonly Uint8Array[]) =>
    expect.poll(() => taken.toString('hex')).toBe(Buffer.concat(parts).toString('hex'))

  test('passes all where nothing is asked, both ways', async () => {
    edge.write(all)
    await arrives(all)
    const back = once(edge, 'data')
    cloud!.write(each[0])
    expect((await back)[0]).toEqual(each[0])
    edge.end()
    await expect.poll(() => ended).toBe('end')
  })

  test.each([
    ['reset', 'reset'],
    ['end', 'end'],
  ] as const)('%s in the middle of a frame', async (kind, how) => {
    second({ kind, part: 0.5 })
    await expect.poll(() => ended).toBe(how)
    expect(taken.length).toBeLessThanOrEqual(each[0].length + each[1].length / 2)
    await expect.poll(() => edge.readableEnded || edge.destroyed).toBe(true)
    cloud!.destroy()
    edge.destroy()
    await expect.poll(() => proxy.open).toBe(0)
  })

  test('half-open: nothing more, and no word of it', async () => {
    second({ kind: 'half-open', part: 0 })
    await arrives(each[0])
    cloud!.write(each[0])
    edge.destroy()
    await new Promise((resolve) => setTimeout(resolve, 60))
    expect({ ended, taken: taken.length, heard: edge.bytesRead }).toEqual({
      ended: '',
      taken: each[0].length,
      heard: 0,
    })
  })

  test('a stall delays and loses nothing', async () => {
    second({ kind: 'stall', part: 0.3, seconds: 0.1 })
    await arrives(each[0], each[1].subarray(0, Math.floor(each[1].length * 0.3)))
    await arrives(all)
  })

  test('one byte at a time, and a crawl', async () => {
    const chunks: number[] = []
    await expect.poll(() => cloud).not.toBeNull()
    cloud!.on('data', (chunk: Buffer) => chunks.push(chunk.length))
    second({ kind: 'drip', manner: 'singly', bytes: each[1].length })
    await arrives(all)
    expect(chunks.length).toBeGreaterThan(2)
    proxy.play([{ when: () => true, act: { kind: 'drip', manner: { bytesPerSecond: 2000 }, bytes: 100 } }])
    edge.write(each[0])
    await arrives(all, each[0])
  })

  test('duplicates, drops, reorders, truncates and flips', async () => {
    const flipped = Buffer.from(each[1])
    flipped[33] ^= 4
    const [a, b, c, d] = each
    const expected: [Action, Buffer[]][] = [
      [{ kind: 'duplicate' }, [a, b, b, c, d]],
      [{ kind: 'drop' }, [a, c, d]],
      [{ kind: 'reorder' }, [a, c, b, d]],
      [{ kind: 'truncate', part: 0.5 }, [a, b.subarray(0, 36), c, d]],
      [{ kind: 'flip', part: 'payload', at: 1, bit: 2 }, [a, flipped, c, d]],
    ]
    for (const [act, parts] of expected) {
      taken = Buffer.alloc(0)
      second(act)
      await arrives(...parts)
    }
  })

  test('does its steps one after another', async () => {
    const calls: number[] = []
    proxy.play(
      [3, 0].map((position) => ({
        when: (frame) => frame.position === position,
        act: { kind: 'call', run: () => calls.push(position) },
      })),
    )
    edge.write(all)
    await arrives(all)
    expect([calls, proxy.done]).toEqual([[3], 1])
    edge.write(all)
    await arrives(all, all)
    expect([calls, proxy.done]).toEqual([[3, 0], 2])
  })
})
