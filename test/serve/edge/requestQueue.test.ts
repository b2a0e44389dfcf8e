import { describe, expect, test } from 'vitest'
import { RequestQueue } from '../../../src/serve/edge/requestQueue.ts'
import { BackendError } from '../../../src/serve/http/types.ts'
import { HandTime } from '../../run/wire/support.ts'

function admission(maxInFlight: number, maxQueued: number) {
  const time = new HandTime()
  const stops = new Map<string, () => void>()
  const begun: { item: string; done: () => void }[] = []
  const queue = new RequestQueue<string>(
    { maxInFlight, maxQueued, time: { clock: time, timers: time } },
    (item) => {
      stops.get(item)?.()
      return new Promise((resolve) => begun.push({ item, done: resolve }))
    },
  )
  const left: string[] = []
  const enter = (item: string, signal = new AbortController().signal, seconds = 60) => {
    queue.check()
    // As a RequestState does: one timer, whose end aborts the signal with the reason.
    const deadline = new AbortController()
    const stop = time.after(seconds, () => deadline.abort(new BackendError('E_DEADLINE', 'too late')))
    stops.set(item, stop)
    const either = AbortSignal.any([signal, deadline.signal])
    queue.enter(item, either, (error) => {
      stop()
      left.push(`${item} ${error.code}`)
    })
  }
  return { queue, begun, left, enter, time }
}

const settle = () => new Promise((resolve) => setImmediate(resolve))

describe('the queue before the executor', () => {
  test('takes so many at once, first come first served, and refuses what the queue does not hold', async () => {
    const { queue, begun, enter } = admission(2, 1)
    for (const item of ['a', 'b', 'c']) enter(item)
    expect(begun.map(({ item }) => item)).toEqual(['a', 'b'])
    expect(() => enter('d')).toThrow(expect.objectContaining({ code: 'E_BUSY' }))
    begun[1].done()
    await settle()
    expect(begun.map(({ item }) => item)).toEqual(['a', 'b', 'c'])
    expect([queue.inFlight, queue.waiting]).toEqual([2, 0])
    enter('d')
    expect(queue.waiting).toBe(1)
  })

  test('one that waits leaves by its signal, or at its deadline', async () => {
    const { queue, left, enter, time } = admission(1, 5)
    const abort = new AbortController()
    enter('a')
    enter('b', abort.signal)
    enter('c', undefined, 10)
    abort.abort()
    time.pass(9)
    expect(left).toEqual(['b E_CANCELLED'])
    time.pass(2)
    expect(left).toEqual(['b E_CANCELLED', 'c E_DEADLINE'])
    expect(queue.waiting).toBe(0)
    // One that is carried out is not the queue's to end.
    time.pass(1000)
    expect(left).toHaveLength(2)
  })

  test('a drain takes nothing new and waits for the rest, a while', async () => {
    const { queue, begun, enter, time } = admission(1, 5)
    enter('a')
    enter('b')
    const whole = queue.drain(30)
    expect(() => enter('c')).toThrow(expect.objectContaining({ code: 'E_DRAINING' }))
    begun[0].done()
    await settle()
    begun[1].done()
    expect(await whole).toBe(true)

    const late = admission(1, 5)
    late.enter('a')
    const cut = late.queue.drain(30)
    late.time.pass(31)
    expect(await cut).toBe(false)
    expect(time.pending).toBe(0)
  })
})
