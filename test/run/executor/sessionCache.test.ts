import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { randomStream } from '../../../src/core/random.ts'
import type { Engine } from '../../../src/core/engine/types.ts'
import { receiveBufferBytes, CloudMemoryBudget } from '../../../src/run/executor/memoryBudget.ts'
import { CLOUD_DEFAULTS, CloudExecutor, type CloudOptions } from '../../../src/run/executor/cloud.ts'
import { readLoad, type CloudLoad } from '../../../src/run/executor/load.ts'
import { planFrame } from '../../../src/run/executor/messages.ts'
import type { Execution } from '../../../src/run/executor/open.ts'
import { SubgraphRunner } from '../../../src/run/executor/subgraphRunner.ts'
import { lowerPlan } from '../../../src/plan/lower.ts'
import { GREEDY } from '../../../src/run/executor/types.ts'
import { cloudKvBytesPerToken } from '../../../src/plan/price/memory.ts'
import { CLOUD, cutPlan, EDGE } from '../../../src/plan/plan.ts'
import { memoryPair, type MemoryPair } from '../wire/memory.ts'
import { jsonFrame, readRefusal } from '../../../src/run/wire/payloads.ts'
import { FRAME, type Connection, type Frame } from '../../../src/run/wire/types.ts'
import { gpt2Like, randomSource } from '../../model/support.ts'
import { HandTime } from '../wire/support.ts'
import { cutAt, randomPlan } from './randomPlan.ts'
import { openSide } from './support.ts'

const model = gpt2Like
const cut = cutAt(model, 1, EDGE, EDGE)
const SESSIONS = 1000

/** Counts the residents that are alive. */
function countingEngine(inner: Engine): { engine: Engine; live: () => number } {
  let live = 0
  const engine: Engine = {
    info: inner.info,
    create: (source, options) => inner.create(source, options),
    close: () => inner.close(),
    allocate: async (dims) => {
      const resident = await inner.allocate(dims)
      live++
      const dispose = resident.dispose.bind(resident)
      resident.dispose = () => (live--, dispose())
      return resident
    },
  }
  return { engine, live: () => live }
}

describe('what a cloud holds for its edges', () => {
  let side: Execution
  let runner: SubgraphRunner
  let live: () => number
  let budget: CloudMemoryBudget
  const open: MemoryPair[] = []
  beforeEach(async () => {
    side = await openSide(randomSource(model, 5))
    const counting = countingEngine(side.engine)
    live = counting.live
    const { sessions } = side
    runner = new SubgraphRunner({ engine: counting.engine, sessions, model, clock: systemClock, maxBatch: 1 })
    budget = new CloudMemoryBudget()
  })
  afterEach(async () => {
    await Promise.all(open.splice(0).map(({ client }) => client.close()))
    await side.close()
  })

  async function connected(options: Partial<CloudOptions> = {}) {
    const pair = await memoryPair({ clock: systemClock })
    open.push(pair)
    const answers: Frame[] = []
    pair.client.onFrame((frame) => answers.push(frame))
    const base = { model, runner, clock: systemClock, budget, ...CLOUD_DEFAULTS }
    const peer = new CloudExecutor(pair.server, { ...base, ...options })
    return { pair, peer, answers, client: pair.client }
  }

  const opening = { promptTokens: 3, maxNewTokens: 4, sampling: GREEDY, stopIds: [], report: false }
  const openFrame = (request: number, more = {}) =>
    jsonFrame(FRAME.open, { plan: 1, ...opening, ...more }, { request })
  const rows = (request: number, position: number, count: number): Frame => ({
    type: FRAME.tensor,
    request,
    step: 1,
    position,
    count,
    bits: 32,
    flags: 0,
    payload: new Uint8Array(4 * count * model.width),
  })
  const closing = (request: number): Frame => ({ ...rows(request, 0, 0), type: FRAME.close, bits: 0 })
  const begin = (client: Connection, request: number) =>
    client.send(planFrame(model, 1, cut), openFrame(request), rows(request, 0, 3))
  const codes = (answers: readonly Frame[]) =>
    answers.filter(({ type }) => type === FRAME.fail).map((frame) => readRefusal(frame).code)

  test(`${SESSIONS} sessions that are killed leave nothing`, async () => {
    const random = randomStream(1, 'killed')
    let most = 0
    for (let i = 0; i < SESSIONS; i++) {
      const { pair, client } = await connected()
      open.pop()
      begin(client, 1)
      // Held, for the walker waits for an earlier one.
      if (random.integer(2) === 0) client.send(rows(1, 4, 1))
      if (random.integer(4) === 0) client.send(closing(1))
      for (let turns = random.integer(8); turns > 0; turns--) await new Promise(setImmediate)
      most = Math.max(most, budget.usedBytes)
      if (random.integer(2) === 0) pair.cut()
      else await client.close()
    }
    await expect.poll(() => [budget.usedBytes, budget.sequences]).toEqual([0, 0])
    expect(most).toBeGreaterThan(0)
    expect(runner.waitingRuns).toBe(0)
    // The empty cache that first passes of all requests share.
    await expect.poll(live).toBeLessThanOrEqual(1)
  }, 60_000)

  test('one past the budget is told that the cloud is busy, and takes nothing', async () => {
    const bytes = 7 * cloudKvBytesPerToken(model, cut.plan)
    budget = new CloudMemoryBudget(2.5 * bytes)
    const [a, b] = [await connected(), await connected()]
    begin(a.client, 1)
    begin(b.client, 1)
    await expect.poll(() => budget.usedBytes).toBe(2 * bytes)
    b.client.send(openFrame(2))
    await expect.poll(() => codes(b.answers)).toEqual(['E_BUSY'])
    expect(budget.usedBytes).toBe(2 * bytes)
    await a.client.close()
    await expect.poll(() => budget.usedBytes).toBe(bytes)
    b.client.send(openFrame(3))
    await expect.poll(() => budget.sequences).toBe(2)
  })

  test('messages that are held count as well', async () => {
    const bytes = 7 * cloudKvBytesPerToken(model, cut.plan)
    budget = new CloudMemoryBudget(bytes + 300)
    const { client, answers } = await connected()
    client.send(planFrame(model, 1, cut), openFrame(1), rows(1, 3, 1))
    await expect.poll(() => budget.usedBytes).toBe(bytes + 4 * model.width)
    client.send(rows(1, 4, 1))
    await expect.poll(() => codes(answers)).toEqual(['E_BUSY'])
    await expect.poll(() => budget.usedBytes).toBe(0)
  })

  test('a request holds no more than its plan sends', () => {
    const random = randomStream(3, 'mailboxes')
    for (let i = 0; i < 50; i++) {
      const { plan, cloudUnits } = randomPlan(random, model)
      const lowered = lowerPlan(model, plan, cloudUnits)
      const none = !lowered.prefill.steps.some((step) => step.kind === 'send' && step.from === EDGE)
      const bytes = receiveBufferBytes(model, lowered, 5, 9)
      expect(bytes === 0).toBe(none)
      expect(receiveBufferBytes(model, lowered, 5, 10)).toBeGreaterThanOrEqual(bytes)
    }
    const lowered = lowerPlan(model, cut.plan, cut.cloudUnits)
    expect(receiveBufferBytes(model, lowered, 5, 9)).toBe((5 + 8) * 4 * model.width)
    const large = { ...model, contextTokens: 2 ** 20 }
    expect(receiveBufferBytes(large, lowered, 1000, 2 ** 20)).toBe(64 * 2 ** 20)
  })

  test('a request of a plan that needs no cloud is refused, and the cloud goes on', async () => {
    const units = Array.from({ length: model.layers }, () => [])
    const alone = {
      plan: cutPlan(model.layers, model.kvHeads, model.layers, 32, EDGE, EDGE),
      cloudUnits: units,
    }
    const { client, answers, peer } = await connected()
    client.send(planFrame(model, 1, alone), openFrame(1))
    await expect.poll(() => codes(answers)).toHaveLength(1)
    client.send(planFrame(model, 1, cut), openFrame(2))
    await expect.poll(() => peer.active).toBe(1)
  })

  test('numbers belong to their connection: nobody reaches the requests of another', async () => {
    const [a, b] = [await connected(), await connected()]
    a.client.send(planFrame(model, 1, cut), openFrame(7))
    await expect.poll(() => a.peer.active).toBe(1)
    b.client.send(rows(7, 0, 3), closing(7))
    b.client.send(openFrame(7))
    // The plan that the other said is not known here either.
    await expect.poll(() => codes(b.answers)).toEqual(['E_INPUT'])
    expect(a.peer.active).toBe(1)
    expect(a.answers).toEqual([])
    a.client.send(rows(7, 0, 3))
    await expect.poll(() => a.answers.some(({ type }) => type === FRAME.tensor)).toBe(true)
    expect(b.answers.every(({ type }) => type === FRAME.fail)).toBe(true)
  })

  test('a cloud that drains ends what is under way and takes nothing new', async () => {
    const { client, peer, answers } = await connected()
    begin(client, 1)
    await expect.poll(() => answers.length).toBe(1)
    let drained = false
    const over = peer.drain().then(() => (drained = true))
    client.send(openFrame(2))
    await expect.poll(() => codes(answers)).toEqual(['E_DRAINING'])
    client.send(rows(1, 3, 1))
    await expect.poll(() => answers.filter(({ type }) => type === FRAME.tensor).length).toBe(2)
    expect(drained).toBe(false)
    client.send(closing(1))
    await over
    expect(peer.active).toBe(0)
  })

  test('more requests than may be open are busy, too', async () => {
    const { client, answers } = await connected({ maxRequests: 1 })
    begin(client, 1)
    client.send(openFrame(2))
    await expect.poll(() => codes(answers)).toEqual(['E_BUSY'])
  })

  test('a closed request computes no further, whoever samples', async () => {
    const whole = cutAt(model, 0, CLOUD, CLOUD)
    const { client, peer, answers } = await connected()
    const ids = new Uint8Array(new Uint32Array([1, 2, 3]).buffer)
    // At the second token: a walk that went on would bring all of them.
    client.onFrame(() => {
      if (answers.length === 2) client.send(closing(1))
    })
    client.send(planFrame(model, 1, whole), openFrame(1, { maxNewTokens: 37 }))
    client.send({ ...rows(1, 0, 3), type: FRAME.ids, step: 0, bits: 0, payload: ids })
    await expect.poll(() => answers.length).toBeGreaterThan(1)
    await expect.poll(() => [peer.active, budget.sequences]).toEqual([0, 0])
    expect(answers.length).toBeLessThan(37)
  })

  test('the edge is told of the load when it changes, and not otherwise', async () => {
    const time = new HandTime()
    const { client, answers } = await connected({ timers: time, clock: time })
    const loads = (): CloudLoad[] => answers.filter(({ type }) => type === FRAME.load).map(readLoad)
    time.pass(1)
    await expect.poll(loads).toMatchObject([{ sequences: 0, own: 0, freeBytes: budget.limitBytes }])
    const other = await connected({ timers: time, clock: time })
    begin(client, 1)
    begin(other.client, 1)
    begin(other.client, 2)
    await expect.poll(() => budget.sequences).toBe(3)
    await expect.poll(() => runner.waitingRuns).toBe(0)
    time.pass(1)
    await expect.poll(() => loads().at(-1)).toMatchObject({ sequences: 3, own: 1 })
    const count = loads().length
    time.pass(1)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(loads()).toHaveLength(count)
    await client.close()
    await other.client.close()
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(time.pending).toBe(0)
  })
})
