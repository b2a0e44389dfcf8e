import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { randomStream } from '../../../src/core/random.ts'
import { GREEDY } from '../../../src/run/executor/types.ts'
import type { ResolvedPlan } from '../../../src/run/executor/messages.ts'
import { CLOUD, EDGE } from '../../../src/plan/plan.ts'
import { openPretrained } from '../../../src/model/weights/open.ts'
import { startRelay, type Relay } from '../../../src/trace/replay/relay.ts'
import { composeLink } from '../../../src/trace/compose.ts'
import { importTraceFile } from '../../../src/trace/import/detect.ts'
import { createLink } from '../../../src/trace/link.ts'
import { describeShared, sharedPath } from '../../shared.ts'
import { cutAt, randomPlan } from './randomPlan.ts'
import { listenSplit, type SocketSplit } from './sockets.ts'

const checkpoint = 'weights/stories260K/stories260K.bin'
const recording = 'traces/mahimahi-us-cellular/ATT-LTE-driving.up'

/** What llama2.c itself prints; the file says with which command. */
const fixture = new URL('../../fixtures/stories260K.greedy.json', import.meta.url)
const { tokens: expected } = JSON.parse(readFileSync(fixture, 'utf8')) as { tokens: number[] }

/** EDGEWISE_SLOW=1 (npm run test:slow): all plans, and the link as fast as it was. */
const slow = process.env.EDGEWISE_SLOW === '1'
const RANDOM_PLANS = slow ? 200 : 40
const SPEED = slow ? 1 : 20
const IN_FLIGHT = 64
const PATIENCE = 1_800_000

describeShared('stories260K over a recorded LTE link', [checkpoint, recording], () => {
  const { source } = openPretrained(sharedPath(checkpoint), {})
  const { model } = source
  let relay: Relay
  let split: SocketSplit

  beforeAll(async () => {
    const trace = importTraceFile(sharedPath(recording), {
      name: 'ATT-LTE-driving.up',
      origin: 'mahimahi',
      licence: 'MIT',
    })
    const parts = {
      uplink: { kind: 'recording', trace },
      downlink: { kind: 'ratio', value: 2 },
      rtt: { kind: 'constant', value: 0.06 },
    } as const
    const link = createLink(composeLink(parts, { binSeconds: 0.1 }, randomStream(1, 'window')))
    split = await listenSplit(source, IN_FLIGHT, async (to) => {
      relay = await startRelay({
        listen: { host: '127.0.0.1', port: 0 },
        to,
        link,
        clock: systemClock,
        speed: SPEED,
      })
      return relay
    })
  })
  afterAll(async () => {
    await split.close()
    await relay.close()
  })

  /** How many of the tokens are llama2.c's, and how many were near-ties. */
  async function told(placed: ResolvedPlan): Promise<{ same: number; nearTies: number }> {
    const request = { prompt: [1], maxNewTokens: expected.length, sampling: GREEDY, stopIds: [] }
    const { tokens, nearTies } = await split.edge.generate({ ...request, ...placed })
    const wrong = tokens.findIndex(({ id }, i) => id !== expected[i])
    return { same: wrong < 0 ? tokens.length : wrong, nearTies }
  }

  async function all(plans: readonly ResolvedPlan[]): Promise<void> {
    const results = await Promise.all(plans.map(told))
    expect(results.filter(({ same }) => same < expected.length)).toEqual([])
    expect(results.reduce((sum, { nearTies }) => sum + nearTies, 0)).toBe(0)
  }

  test(
    'every contiguous cut, ends on either side, tells the story that llama2.c tells',
    async () => {
      const ends = [EDGE, CLOUD] as const
      const cuts = Array.from({ length: model.layers + 1 }, (_, cut) => cut)
      await all(
        cuts.flatMap((cut) => ends.flatMap((embed) => ends.map((head) => cutAt(model, cut, embed, head)))),
      )
    },
    PATIENCE,
  )

  test(
    `so do ${RANDOM_PLANS} random head and FFN plans, ${IN_FLIGHT} requests at once`,
    async () => {
      const random = randomStream(3, 'stories')
      await all(Array.from({ length: RANDOM_PLANS }, () => randomPlan(random, model)))
      const { up, down } = relay.stats()
      expect(Math.min(up.deliveredBytes, down.deliveredBytes)).toBeGreaterThan(1e6)
    },
    PATIENCE,
  )
})
