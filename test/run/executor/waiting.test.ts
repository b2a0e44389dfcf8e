import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ResolvedPlan } from '../../../src/run/executor/messages.ts'
import { Deadline } from '../../../src/core/deadline.ts'
import { ExecutionError } from '../../../src/run/executor/errors.ts'
import type { StallLimits } from '../../../src/run/executor/stallWatch.ts'
import { GREEDY, type GenerationRequest } from '../../../src/run/executor/types.ts'
import { CLOUD, EDGE } from '../../../src/plan/plan.ts'
import { FRAME } from '../../../src/run/wire/types.ts'
import { gpt2Like, randomSource } from '../../model/support.ts'
import { HandTime } from '../wire/support.ts'
import { openLinked, type Linked } from './linked.ts'
import { cutAt } from './randomPlan.ts'

const model = gpt2Like
const source = randomSource(model, 5)
const cut = cutAt(model, 1, EDGE, EDGE)
const alone = cutAt(model, model.layers, EDGE, EDGE)
const BACKOFF = { baseSeconds: 1, factor: 2, capSeconds: 4, jitter: 0 }

function requestOf(placed: ResolvedPlan): GenerationRequest {
  return { prompt: [1, 2, 3], maxNewTokens: 12, sampling: GREEDY, stopIds: [], ...placed }
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 30))

describe('requests without a cloud, by hand-made time', () => {
  let time: HandTime
  let linked: Linked
  beforeEach(async () => {
    time = new HandTime()
    linked = await openLinked(source, { clock: time, timers: time, backoff: BACKOFF, maxInFlight: 1 })
  })
  afterEach(() => linked.close())

  /** Starts a request and cuts the link after its third token, for good. */
  async function interrupted(waitSeconds: number | null, stalls: Partial<StallLimits> = {}) {
    const handle = linked.edge.start(requestOf(cut), {
      recovery: { waitSeconds },
      stalls,
      onToken: () => {
        if (handle.tokens.length !== 3) return
        linked.reachable = false
        linked.cut()
      },
    })
    await expect.poll(() => linked.link.state === 'down' && handle.waitingSinceSeconds !== null).toBe(true)
    await settled()
    return handle
  }

  test('wait as long as they may, and keep what they had', async () => {
    const handle = await interrupted(20)
    time.pass(19)
    await settled()
    expect(handle.waitingSinceSeconds).not.toBeNull()
    expect(handle.retransmitBytes).toBeGreaterThan(0)
    time.pass(1)
    await expect(handle.result).rejects.toMatchObject({ code: 'E_NO_CLOUD' })
    expect(handle.tokens).toHaveLength(3)
    expect(linked.edge.retransmitBytes).toBe(0)
    expect(linked.edge.inFlight).toBe(0)
  })

  test('have all their tokens, and no report, where the cloud is lost before it told', async () => {
    const handle = linked.edge.start(requestOf(cut), {
      recovery: { waitSeconds: 5 },
      explain: true,
      onToken: ({ last }) => {
        if (!last) return
        linked.reachable = false
        linked.cut()
      },
    })
    await expect.poll(() => linked.link.state === 'down' && handle.waitingSinceSeconds !== null).toBe(true)
    time.pass(6)
    const { tokens, events } = await handle.result
    expect(tokens).toHaveLength(12)
    expect(events.every(({ side }) => side === 'edge')).toBe(true)
    expect([linked.edge.inFlight, linked.edge.retransmitBytes]).toEqual([0, 0])
  })

  test('wait for ever where they may, and go on when it is back', async () => {
    const handle = await interrupted(null)
    time.pass(1000)
    await settled()
    linked.reachable = true
    time.pass(4)
    expect((await handle.result).tokens).toHaveLength(12)
    expect(linked.events.filter(({ kind }) => kind === 'request-resumed')).toMatchObject([
      { rebuild: 'replay', tokens: 3, request: handle.number },
    ])
  })

  test('go on alone at once where the plan changes, without a token twice', async () => {
    const expected = (await linked.edge.generate(requestOf(alone))).tokens.map(({ id }) => id)
    const handle = await interrupted(null)
    handle.switchPlan(alone, 'boundary')
    const { tokens, planSwitches: schedule } = await handle.result
    expect(tokens.map(({ id }) => id)).toEqual(expected)
    expect(schedule).toMatchObject([{ rebuild: 'start' }, { rebuild: 'boundary', fromToken: 3 }])
    expect(linked.events.find(({ kind }) => kind === 'request-switched')).toMatchObject({ fromToken: 3 })
    expect(handle.needsCloud).toBe(false)
    handle.switchPlan(cut)
    expect(handle.resolvedPlan).toBe(alone)
  })

  test('a request that begins while there is none waits for it, too', async () => {
    linked.reachable = false
    linked.cut()
    await expect.poll(() => linked.link.state).toBe('down')
    const handle = linked.edge.start(requestOf(cutAt(model, 0, CLOUD, CLOUD)))
    await settled()
    expect(handle.tokens).toHaveLength(0)
    linked.reachable = true
    time.pass(4)
    expect((await handle.result).tokens).toHaveLength(12)
  })

  test('one without a first token for so long has stalled', async () => {
    linked.reachable = false
    linked.cut()
    await expect.poll(() => linked.link.state).toBe('down')
    const handle = linked.edge.start(requestOf(cut), { stalls: { firstTokenSeconds: 7 } })
    await settled()
    time.pass(6.9)
    await settled()
    expect(handle.waitingSinceSeconds).not.toBeNull()
    time.pass(0.1)
    await expect(handle.result).rejects.toMatchObject({ code: 'E_STALLED' })
    await expect(handle.result).rejects.toThrow('no first token within 7 s')
    await expect(handle.result).rejects.toThrow('7.000 s have passed, 0 tokens were delivered')
  })

  test('one without a next token for so long, too', async () => {
    const handle = await interrupted(null, { tokenSeconds: 7 })
    time.pass(7)
    await expect(handle.result).rejects.toMatchObject({ code: 'E_STALLED' })
    await expect(handle.result).rejects.toThrow('no next token within 7 s')
    await expect(handle.result).rejects.toThrow('3 tokens were delivered')
  })

  /** What an owner of a request does: its deadline aborts the signal with the reason. */
  function giveUpAfter(seconds: number): AbortSignal {
    const controller = new AbortController()
    const late = new ExecutionError('E_PEER_FAILED', `not done within ${seconds} s`)
    new Deadline(seconds, time.nowSeconds(), { clock: time, timers: time }, () => controller.abort(late))
    return controller.signal
  }

  test("a deadline of the request's owner ends it while it waits for the cloud, by its own words", async () => {
    linked.reachable = false
    linked.cut()
    await expect.poll(() => linked.link.state).toBe('down')
    const handle = linked.edge.start(requestOf(cut), { signal: giveUpAfter(7) })
    await settled()
    time.pass(6.9)
    await settled()
    expect(handle.waitingSinceSeconds).not.toBeNull()
    time.pass(0.1)
    await expect(handle.result).rejects.toThrow('not done within 7 s')
  })

  test('and in the queue', async () => {
    const first = await interrupted(null)
    const handle = linked.edge.start(requestOf(alone), { signal: giveUpAfter(7) })
    time.pass(7)
    await expect(handle.result).rejects.toThrow('not done within 7 s')
    expect(linked.edge.waiting).toBe(0)
    first.switchPlan(alone)
    await first.result
  })

  test('a cloud that is busy is asked again, later and later, with the request as it was', async () => {
    let busy = 3
    const full = linked.budget.limitBytes - linked.budget.usedBytes
    linked.budget.take(full)
    const handle = linked.edge.start(requestOf(cut))
    const refusals = () => linked.events.filter(({ kind }) => kind === 'request-refused')
    for (const wait of [1, 2, 4]) {
      busy--
      await expect.poll(() => refusals().length).toBe(3 - busy)
      if (busy === 0) linked.budget.give(full)
      time.pass(wait)
      await settled()
    }
    expect((await handle.result).tokens).toHaveLength(12)
    expect(refusals()).toMatchObject([{ code: 'E_BUSY' }, { code: 'E_BUSY' }, { code: 'E_BUSY' }])
  })

  test('one that stays busy past the wait is a clear error', async () => {
    linked.budget.take(linked.budget.limitBytes)
    const handle = linked.edge.start(requestOf(cut), { recovery: { waitSeconds: 5 } })
    let isOver = false
    handle.result.catch(() => (isOver = true))
    // On a busy machine the refusals come later than 30 ms: time passes until the request is given up.
    for (let i = 0; i < 200 && !isOver; i++) {
      await settled()
      time.pass(1)
    }
    await expect(handle.result).rejects.toMatchObject({ code: 'E_NO_CLOUD' })
    await expect(handle.result).rejects.toThrow('E_BUSY')
    linked.budget.give(linked.budget.limitBytes)
  })

  test('the cloud frees a request whose edge is silent, and the edge may take it up again', async () => {
    linked.twist = (frame) => (frame.type === FRAME.tensor ? { ...frame, request: 999 } : frame)
    const handle = linked.edge.start(requestOf(cut))
    await expect.poll(() => linked.budget.sequences).toBe(1)
    await settled()
    linked.twist = null
    time.pass(120)
    await expect
      .poll(() => linked.events.find(({ kind }) => kind === 'request-refused'))
      .toMatchObject({ code: 'E_IDLE' })
    time.pass(1)
    expect((await handle.result).tokens).toHaveLength(12)
    await expect.poll(() => [linked.budget.sequences, linked.budget.usedBytes]).toEqual([0, 0])
  })
})
