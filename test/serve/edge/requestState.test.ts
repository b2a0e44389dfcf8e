import { describe, expect, it } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import { RequestQueue } from '../../../src/serve/edge/requestQueue.ts'
import {
  REQUEST_TRANSITIONS,
  RequestState,
  type RequestStatus,
} from '../../../src/serve/edge/requestState.ts'
import { BackendError } from '../../../src/serve/http/types.ts'
import { HandTime } from '../../run/wire/support.ts'

const DEADLINE_SECONDS = 10

function newRequest(number: number, time: HandTime, restored: readonly number[] = []) {
  const client = new AbortController()
  const state = new RequestState({
    number,
    request: {
      prompt: [1, 2],
      maxNewTokens: 4,
      sampling: { temperature: 0, topK: 0, topP: 1, seed: 0 },
      key: null,
      arrivedSeconds: time.nowSeconds(),
      deadlineSeconds: null,
      principal: 'anonymous',
    },
    listener: { onToken: () => {}, signal: client.signal },
    restored,
    deadlineSeconds: DEADLINE_SECONDS,
    time: { clock: time, timers: time },
  })
  let settled = 0
  const end: Promise<string> = state.output.then(
    ({ finish }) => {
      settled++
      return finish
    },
    (error: unknown) => {
      settled++
      return (error as BackendError).code
    },
  )
  return { state, client, end, settled: () => settled, seen: ['queued'] as RequestStatus[] }
}

const settle = () => new Promise((resolve) => setImmediate(resolve))

describe('the state of a request', () => {
  it('goes from the queue to one end, with what was generated before and now', async () => {
    const { state, end } = newRequest(1, new HandTime(), [7])
    expect([state.status, state.prompt, state.delivered]).toEqual(['queued', [1, 2, 7], 1])
    state.dispatch(3)
    state.ids.push(8)
    state.finish('length')
    expect(await state.output).toEqual({ ids: [7, 8], finish: 'length' })
    expect([state.status, await end, state.stats(5).queueSeconds]).toEqual(['finished', 'length', 3])
    expect(() => state.dispatch(6)).toThrow('request 1: finished cannot become running')
    expect(() => state.fail(new Error('late'))).toThrow('finished cannot become failed')
  })

  it('is given up by one timer, wherever it is when its deadline passes', () => {
    const time = new HandTime()
    const [waits, runs] = [newRequest(1, time), newRequest(2, time)]
    runs.state.dispatch(1)
    expect(time.pending).toBe(2)
    time.pass(DEADLINE_SECONDS)
    for (const { state } of [waits, runs]) expect(state.signal.reason).toMatchObject({ code: 'E_DEADLINE' })
    expect(time.pending).toBe(0)
  })

  it('knows no transition out of an end, and every state can be reached', () => {
    const reached = new Set<RequestStatus>(['queued'])
    for (const from of reached) for (const to of REQUEST_TRANSITIONS[from]) reached.add(to)
    expect([...reached].sort()).toEqual(Object.keys(REQUEST_TRANSITIONS).sort())
  })

  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'makes no illegal transition under random events, seed %i',
    async (seed) => {
      const random = randomStream(seed, 'requests')
      const time = new HandTime()
      const all: ReturnType<typeof newRequest>[] = []
      const running = new Map<RequestState, (error: unknown) => void>()
      const of = (state: RequestState) => all[state.number - 1]
      const note = (state: RequestState): void => void of(state).seen.push(state.status)
      // As the request runner does: it ends by itself, by an error, or by its signal.
      const begin = async (state: RequestState): Promise<void> => {
        state.dispatch(time.nowSeconds())
        note(state)
        const error = await new Promise<unknown>((resolve) => {
          running.set(state, resolve)
          state.signal.addEventListener('abort', () => resolve(state.signal.reason))
        })
        running.delete(state)
        if (error === null) state.finish('stop')
        else state.fail(error)
        note(state)
      }
      const queue = new RequestQueue<RequestState>(
        { maxInFlight: 3, maxQueued: 1000, time: { clock: time, timers: time } },
        begin,
      )
      const pick = <T>(items: readonly T[]): T | undefined => items[random.integer(Math.max(1, items.length))]
      for (let step = 0; step < 400; step++) {
        const event = random.integer(6)
        if (event <= 1) {
          const one = newRequest(all.length + 1, time)
          all.push(one)
          queue.enter(one.state, one.state.signal, (error) => {
            one.state.fail(error)
            note(one.state)
          })
        } else if (event === 2) pick([...running.values()])?.(null)
        else if (event === 3) pick([...running.values()])?.(new BackendError('E_UNAVAILABLE', 'no cloud'))
        // A client may leave at any time, also when its request has ended.
        else if (event === 4) pick(all)?.client.abort()
        else time.pass(random.uniform() * 3)
        if (random.uniform() < 0.5) await settle()
      }
      time.pass(DEADLINE_SECONDS + 1)
      await settle()
      expect([queue.waiting, queue.inFlight, time.pending]).toEqual([0, 0, 0])
      for (const { state, seen, settled } of all) {
        expect(state.isOver).toBe(true)
        expect(settled()).toBe(1)
        for (let i = 1; i < seen.length; i++) expect(REQUEST_TRANSITIONS[seen[i - 1]]).toContain(seen[i])
        expect(seen.at(-1)).toBe(state.status)
      }
      expect(new Set(all.map(({ state }) => state.status))).toEqual(
        new Set(['finished', 'failed', 'cancelled']),
      )
    },
  )
})
