import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import { tensorBytes } from '../../../src/plan/price/boundary.ts'
import type { ResolvedPlan } from '../../../src/run/executor/messages.ts'
import { GREEDY, type GenerationRequest } from '../../../src/run/executor/types.ts'
import type { WeightSource } from '../../../src/model/graphs/source.ts'
import { attentionUnits } from '../../../src/model/spec.ts'
import { CLOUD, EDGE, exitPlan } from '../../../src/plan/plan.ts'
import { FRAME_HEADER_BYTES } from '../../../src/run/wire/types.ts'
import { randomSource, gpt2Like, groupedLike } from '../../model/support.ts'
import { cutAt, randomPlan } from './randomPlan.ts'
import { openSplit, type SplitPair } from './support.ts'

const PROMPT = [3, 1, 4, 1, 5]
const NEW_TOKENS = 20

function request(placed: ResolvedPlan, more: Partial<GenerationRequest> = {}): GenerationRequest {
  return { prompt: PROMPT, maxNewTokens: NEW_TOKENS, sampling: GREEDY, stopIds: [], ...placed, ...more }
}

describe.each([gpt2Like, groupedLike])('$id split over a connection', (model) => {
  const source: WeightSource = randomSource(model, 5)
  let split: SplitPair
  let expected: number[]

  beforeAll(async () => {
    split = await openSplit(source, { cloud: { maxBatch: 8 }, chopSeed: 1 })
    expected = await generate(cutAt(model, model.layers, EDGE, EDGE))
  })
  afterAll(() => split.close())

  async function generate(placed: ResolvedPlan, more: Partial<GenerationRequest> = {}): Promise<number[]> {
    const { tokens } = await split.edge.generate(request(placed, more))
    return tokens.map(({ id }) => id)
  }

  test('every contiguous cut, both ends on either side, gives the tokens of the whole model', async () => {
    for (let cut = 0; cut <= model.layers; cut++) {
      for (const embed of [EDGE, CLOUD] as const)
        for (const head of [EDGE, CLOUD] as const) {
          expect(await generate(cutAt(model, cut, embed, head))).toEqual(expected)
        }
    }
  })

  test('random head masks and FFN modes do, several requests at once', async () => {
    const random = randomStream(2, 'plans')
    const plans = Array.from({ length: 24 }, () => randomPlan(random, model))
    const all = await Promise.all(plans.map((placed) => generate(placed)))
    for (const tokens of all) expect(tokens).toEqual(expected)
    expect(split.edge.inFlight).toBe(0)
    await expect.poll(() => split.cloud.active).toBe(0)
  })

  test('messages of a layer have its width, those to the head that of the plan', async () => {
    const { plan, cloudUnits } = cutAt(model, 1, EDGE, EDGE, 16)
    const layerBits = Uint8Array.from(plan.ffn, (_, layer) => (layer === 1 ? 8 : 4))
    const { events } = await split.edge.generate(request({ plan: { ...plan, layerBits }, cloudUnits }), {
      explain: true,
    })
    const bytes = (kind: string, position: number) =>
      events.flatMap((event) =>
        event.side === 'edge' && event.kind === kind && event.position === position ? [event.bytes] : [],
      )
    expect(bytes('send', 5)).toEqual([FRAME_HEADER_BYTES + tensorBytes(1, model.width, 8)])
    expect(bytes('receive', 5)).toEqual([FRAME_HEADER_BYTES + tensorBytes(1, model.width, 16)])
  })

  test('sampling draws the same tokens on either side, batched or not', async () => {
    const sampling = { temperature: 1.3, topK: 12, topP: 0.95, seed: 11 }
    const whole = await generate(cutAt(model, model.layers, EDGE, EDGE), { sampling })
    expect(whole).not.toEqual(expected)
    const cloud = cutAt(model, 0, CLOUD, CLOUD)
    const several = await Promise.all(Array.from({ length: 4 }, () => generate(cloud, { sampling })))
    for (const tokens of several) expect(tokens).toEqual(whole)
  })

  test('quantised boundaries give tokens, the same each time', async () => {
    for (const bits of [16, 8, 4] as const) {
      const placed = cutAt(model, 1, EDGE, EDGE, bits)
      expect(await generate(placed)).toEqual(await generate(placed))
    }
    expect(await generate(cutAt(model, 1, EDGE, EDGE, 16))).toEqual(expected)
  })

  test('a stop id ends the request and is its last token', async () => {
    const stop = expected[7]
    const first = expected.indexOf(stop)
    for (const placed of [
      cutAt(model, 1, EDGE, EDGE),
      cutAt(model, 0, CLOUD, CLOUD),
      cutAt(model, 1, EDGE, CLOUD),
    ])
      expect(await generate(placed, { stopIds: [stop] })).toEqual(expected.slice(0, first + 1))
  })

  test('early exits: alone, and asking the cloud', async () => {
    const exit = (mode: 'standalone' | 'collaborative', threshold: number): ResolvedPlan => {
      const plan = exitPlan(model.layers, attentionUnits(model), { layer: 1, threshold, mode }, 32)
      const all = Array.from({ length: attentionUnits(model) }, (_, unit) => unit)
      return { plan, cloudUnits: Array.from(plan.unitsOnCloud, (count) => all.slice(0, count)) }
    }
    const alone = await generate(exit('standalone', 0.5))
    expect(alone).toHaveLength(NEW_TOKENS)
    // Nothing is confident enough: every token is the whole model's. Everything is: every token is the exit's.
    expect(await generate(exit('collaborative', 1))).toEqual(expected)
    expect(await generate(exit('collaborative', 1e-9))).toEqual(alone)
    expect(await generate(exit('collaborative', 0.05))).toHaveLength(NEW_TOKENS)
  })

  test('under a memory budget for one segment, sessions come and go', async () => {
    const tight = await openSplit(source, { edge: { budgetBytes: 1 }, cloud: { budgetBytes: 1 } })
    const random = randomStream(6, 'tight')
    const placed = Array.from({ length: 4 }, () => randomPlan(random, model))
    const all = await Promise.all(placed.map((plan) => tight.edge.generate(request(plan))))
    for (const { tokens } of all) expect(tokens.map(({ id }) => id)).toEqual(expected)
    await tight.close()
  })
})
