import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { WeightSource } from '../../../src/model/graphs/source.ts'
import { CLOUD, EDGE, type Side } from '../../../src/plan/plan.ts'
import type { ResolvedPlan } from '../../../src/run/executor/messages.ts'
import { GREEDY } from '../../../src/run/executor/types.ts'
import { gpt2Like, randomSource } from '../../model/support.ts'
import { cutAt } from './randomPlan.ts'
import { openSplit, type SplitPair } from './support.ts'

/** The layer whose FFN has one weight that is an infinity, as a damaged file or an overflow to fp16 leaves it. */
const DAMAGED = 1

function damagedSource(): WeightSource {
  const source = randomSource(gpt2Like, 5)
  const { second, ...ffn } = source.ffn(DAMAGED)
  const matrix = second.slice()
  matrix[0] = Infinity
  return { ...source, ffn: (layer) => (layer === DAMAGED ? { ...ffn, second: matrix } : source.ffn(layer)) }
}

describe('values that are not finite', () => {
  let split: SplitPair
  beforeAll(async () => {
    split = await openSplit(damagedSource(), { cloud: { maxBatch: 8 }, chopSeed: 1 })
  })
  afterAll(() => split.close())

  const generate = (placed: ResolvedPlan) =>
    split.edge.generate({ prompt: [3, 1, 4], maxNewTokens: 4, sampling: GREEDY, stopIds: [], ...placed })
  const cut = (layers: number, embed: Side, head: Side) => generate(cutAt(gpt2Like, layers, embed, head))

  test('end the request and name the layers, instead of becoming text', async () => {
    await expect(cut(gpt2Like.layers, EDGE, EDGE)).rejects.toMatchObject({
      code: 'E_NOT_FINITE',
      message: expect.stringMatching(
        /^embed, layers 0-\d+, head\n.*'logits' of the run from token 0 on[^]*NaN or an infinity/,
      ),
    })
  })

  test('are found on the side that made them, before a message carries them away', async () => {
    await expect(cut(DAMAGED + 1, EDGE, CLOUD)).rejects.toMatchObject({
      code: 'E_NOT_FINITE',
      message: expect.stringMatching(/^embed, layers 0-1\n.*'x'[^]*its input is finite/),
    })
    await expect(cut(DAMAGED, EDGE, EDGE)).rejects.toMatchObject({
      code: 'E_PEER_FAILED',
      message: expect.stringContaining('E_NOT_FINITE'),
    })
    await expect.poll(() => split.cloud.active).toBe(0)
    expect(split.edge.inFlight).toBe(0)
  })
})
