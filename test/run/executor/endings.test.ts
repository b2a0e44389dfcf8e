import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { EdgeExecutor } from '../../../src/run/executor/edge.ts'
import { GREEDY, type GenerationRequest } from '../../../src/run/executor/types.ts'
import { CLOUD, EDGE } from '../../../src/plan/plan.ts'
import { jsonFrame, readRefusal } from '../../../src/run/wire/payloads.ts'
import { FRAME, type Frame } from '../../../src/run/wire/types.ts'
import { gpt2Like, randomSource } from '../../model/support.ts'
import { cutAt } from './randomPlan.ts'
import { openSplit, type SplitPair } from './support.ts'

const model = gpt2Like
const source = randomSource(model, 5)
const cut = cutAt(model, 1, EDGE, EDGE)
const whole: GenerationRequest = {
  prompt: [1, 2, 3],
  maxNewTokens: 12,
  sampling: GREEDY,
  stopIds: [],
  ...cutAt(model, model.layers, EDGE, EDGE),
}

describe('requests that do not end well', () => {
  let split: SplitPair
  beforeEach(async () => {
    split = await openSplit(source, { maxInFlight: 1 })
  })
  afterEach(() => split.close())

  test('a cancelled request ends at both sides, and the next one runs', async () => {
    const abort = new AbortController()
    const seen: number[] = []
    const cancelled = split.edge.generate(
      { ...whole, ...cut },
      { signal: abort.signal, onToken: ({ id }) => (seen.push(id) === 3 ? abort.abort() : undefined) },
    )
    await expect(cancelled).rejects.toMatchObject({ code: 'E_CANCELLED' })
    await expect.poll(() => split.cloud.active).toBe(0)
    expect(split.edge.inFlight).toBe(0)
    const { tokens } = await split.edge.generate({ ...whole, ...cut })
    expect(tokens.slice(0, seen.length).map(({ id }) => id)).toEqual(seen)
  })

  test('one that waits for its turn can be cancelled too', async () => {
    const first = split.edge.generate({ ...whole, ...cut })
    const abort = new AbortController()
    const second = split.edge.generate(whole, { signal: abort.signal })
    expect(split.edge.waiting).toBe(1)
    abort.abort()
    await expect(second).rejects.toMatchObject({ code: 'E_CANCELLED' })
    expect((await first).tokens).toHaveLength(12)
    expect((await split.edge.generate(whole)).tokens).toHaveLength(12)
  })

  test('a lost connection fails what needs it, and the edge goes on alone', async () => {
    const lost = split.edge.generate({ ...whole, ...cut }, { onToken: () => split.cut() })
    await expect(lost).rejects.toMatchObject({ code: 'E_NO_CLOUD' })
    await expect(split.edge.generate({ ...whole, ...cut })).rejects.toMatchObject({ code: 'E_NO_CLOUD' })
    expect((await split.edge.generate(whole)).tokens).toHaveLength(12)
    await expect.poll(() => split.cloud.active).toBe(0)
  })

  test('without a cloud a plan that needs one is refused at once', async () => {
    const alone = new EdgeExecutor({
      model,
      runner: split.edgeSide.runner,
      clock: systemClock,
      link: null,
      maxInFlight: 1,
    })
    await expect(alone.generate({ ...whole, ...cut })).rejects.toMatchObject({ code: 'E_NO_CLOUD' })
    expect((await alone.generate(whole)).tokens).toHaveLength(12)
  })

  test('a request that is over makes room for the next at once', async () => {
    const full = await openSplit(source, { maxInFlight: 2, maxRequests: 2 })
    const several = Array.from({ length: 12 }, () => full.edge.generate({ ...whole, ...cut }))
    for (const { tokens } of await Promise.all(several)) expect(tokens).toHaveLength(12)
    await full.close()
  })

  test('impossible requests are refused before anything is sent', async () => {
    const sent = split.edgeConnection.sentBytes
    const impossible: Partial<GenerationRequest>[] = [
      { prompt: [] },
      { prompt: [model.vocabulary] },
      { maxNewTokens: 0 },
      { maxNewTokens: model.contextTokens },
      { cloudUnits: [[0], []] },
    ]
    for (const part of impossible)
      await expect(split.edge.generate({ ...whole, ...part })).rejects.toMatchObject({ code: 'E_INPUT' })
    expect(split.edgeConnection.sentBytes).toBe(sent)
  })
})

describe('a cloud and what an edge may send it', () => {
  let split: SplitPair
  let answers: Frame[]
  beforeEach(async () => {
    split = await openSplit(source)
    answers = []
    split.edgeConnection.onFrame((frame) => answers.push(frame))
  })
  afterEach(() => split.close())

  const opening = { promptTokens: 3, maxNewTokens: 4, sampling: GREEDY, stopIds: [], report: false }
  const tensor = (payload: Uint8Array, more: Partial<Frame> = {}): Frame => ({
    type: FRAME.tensor,
    request: 9,
    step: 1,
    position: 0,
    count: 3,
    bits: 32,
    flags: 0,
    payload,
    ...more,
  })

  async function refusalAfter(...frames: Frame[]): Promise<string> {
    split.edgeConnection.send(...frames)
    await expect.poll(() => answers.length).toBe(1)
    expect(split.cloud.active).toBe(0)
    return readRefusal(answers[0]).message
  }

  function planOf(layers: number): Frame {
    const side = (ffn: number) => ({ headsOnCloud: ffn === 1 ? [0, 1, 2, 3, 4, 5] : [], ffn })
    const list = Array.from({ length: layers }, (_, layer) => side(Math.min(layer, 1)))
    const plan = { embed: 'edge', layers: list, head: 'cloud', boundaryBits: 32, exit: null }
    return jsonFrame(FRAME.plan, plan, { request: 1 })
  }
  const open = (plan: number, more = {}) =>
    jsonFrame(FRAME.open, { plan, ...opening, ...more }, { request: 9 })

  test('a plan that was not said', async () => {
    expect(await refusalAfter(open(4))).toContain('plan 4')
  })
  test('a plan of another model', async () => {
    expect(await refusalAfter(planOf(5))).toContain(`expected: ${model.layers}`)
  })
  test('more tokens than the context', async () => {
    expect(await refusalAfter(planOf(2), open(1, { maxNewTokens: 1000 }))).toContain('context')
  })
  test('a tensor of the wrong size', async () => {
    expect(await refusalAfter(planOf(2), open(1), tensor(new Uint8Array(8)))).toContain('expected: 576 bytes')
  })
  test('a message of no step, again and again', async () => {
    const odd = tensor(new Uint8Array(16), { step: 7 })
    expect(await refusalAfter(planOf(2), open(1), odd, odd)).toContain('no step waits')
  })
  test('rows that do not fit the pass', async () => {
    const rows = tensor(new Uint8Array(4 * model.width), { count: 1 })
    expect(await refusalAfter(planOf(2), open(1), rows)).toContain('expected: 3 rows')
  })
  test('another width than the plan has', async () => {
    const half = tensor(new Uint8Array(2 * 3 * model.width), { bits: 16 })
    expect(await refusalAfter(planOf(2), open(1), half)).toContain('expected: 32 bits')
  })
  test('token ids where a tensor belongs', async () => {
    const ids = tensor(new Uint8Array(12), { type: FRAME.ids, bits: 0 })
    expect(await refusalAfter(planOf(2), open(1), ids)).toContain('expected: a frame of tensor')
  })
  test('other requests go on meanwhile', async () => {
    const running = split.edge.generate({ ...whole, ...cutAt(model, 0, CLOUD, CLOUD) })
    split.edgeConnection.send(open(77))
    expect((await running).tokens).toHaveLength(12)
  })
})
