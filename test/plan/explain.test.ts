import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { randomStream, type RandomStream } from '../../src/core/random.ts'
import { InputError } from '../../src/core/errors.ts'
import { explainPlan, sumOf } from '../../src/plan/oracle/explain.ts'
import { planFromJson, planToJson } from '../../src/plan/price/json.ts'
import type { LatencyForm } from '../../src/plan/price/objective.ts'
import type { DevicePair } from '../../src/plan/price/pair.ts'
import { BOUNDARY_BITS, exitPlan, type Plan, type Side } from '../../src/plan/plan.ts'
import { planCost } from '../../src/plan/oracle/value.ts'
import { randomPair } from './randomPair.ts'

const UNITS = 3
const LAYERS = 4

function randomPlan(random: RandomStream, pair: DevicePair): Plan {
  const bits = BOUNDARY_BITS[random.integer(4)]
  if (random.uniform() < 0.3) {
    const { exits } = pair.accuracy
    const { layer, threshold } = exits[random.integer(exits.length)]
    const mode = random.uniform() < 0.3 ? 'standalone' : 'collaborative'
    return exitPlan(LAYERS, UNITS, { layer, threshold, mode }, bits)
  }
  const side = (): Side => (random.uniform() < 0.5 ? 0 : 1)
  return {
    embed: side(),
    unitsOnCloud: Uint8Array.from({ length: LAYERS }, () => random.integer(UNITS + 1)),
    ffn: Uint8Array.from({ length: LAYERS }, () => random.integer(3)),
    head: side(),
    boundaryBits: bits,
    exit: null,
  }
}

function randomQuestion(seed: number) {
  const random = randomStream(seed, 'explain')
  const pair = randomPair(random, { layers: LAYERS, units: UNITS, grouped: random.uniform() < 0.5 })
  const forms: LatencyForm[] = [
    { form: 'mean' },
    { form: 'qoe', readingTokensPerSecond: 20 },
    { form: 'convex', deadlineSeconds: 0.05 },
  ]
  const input = {
    pair,
    state: {
      link: {
        upBitsPerSecond: 1e6 * 10 ** (2 * random.uniform()),
        downBitsPerSecond: 1e6 * 10 ** (2 * random.uniform()),
        rttSeconds: 0.05 * random.uniform(),
      },
      promptTokens: 1 + random.integer(100),
      outputTokens: 1 + random.integer(30),
      edgeSlowdown: 1 + random.uniform(),
      cloudSlowdown: 1 + random.uniform(),
    },
    objective: {
      weights: { latency: 1, energy: 0.3, cloud: 2, bytes: 5, accuracy: 3 },
      latency: forms[random.integer(3)],
    },
    readingTokensPerSecond: 20,
  }
  return { input, plan: randomPlan(random, pair) }
}

const seeds = fc.integer({ min: 0, max: 2 ** 31 })
const near = (found: number, expected: number): void =>
  expect(Math.abs(found - expected)).toBeLessThanOrEqual(1e-9 * Math.max(1, Math.abs(expected)))

describe('the explanation of a plan', () => {
  it('adds up to TTFT, end-to-end, joules, bytes, busy seconds and cost of any plan', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const { input, plan } = randomQuestion(seed)
        const total = planCost(input, plan)
        const { prefill, decode, cost } = explainPlan(input, plan)
        near(sumOf(prefill.seconds), total.ttftSeconds)
        near(sumOf(prefill.seconds) + sumOf(decode.seconds), total.e2eSeconds)
        near(sumOf(prefill.joules) + sumOf(decode.joules), total.edgeJoules)
        near(prefill.use.edgeBusySeconds + decode.use.edgeBusySeconds, total.edgeSeconds)
        near(prefill.use.cloudBusySeconds + decode.use.cloudBusySeconds, total.cloudSeconds)
        near(prefill.use.upBytes + decode.use.upBytes, total.upBytes)
        near(prefill.use.downBytes + decode.use.downBytes, total.downBytes)
        near(prefill.use.messages + decode.use.messages, total.messages)
        near(sumOf(cost), total.cost)
        for (const value of Object.values({ ...prefill.seconds, ...decode.seconds }))
          expect(value).toBeGreaterThanOrEqual(0)
      }),
      { numRuns: 200 },
    )
  })

  it('gives every second of an all-edge plan to the edge, and a round trip to the cloud-only one', () => {
    const { input } = randomQuestion(1)
    const plan = (side: Side): Plan => ({
      embed: side,
      unitsOnCloud: new Uint8Array(LAYERS).fill(side * UNITS),
      ffn: new Uint8Array(LAYERS).fill(side),
      head: side,
      boundaryBits: 32,
      exit: null,
    })
    const edge = explainPlan(input, plan(0))
    near(
      edge.prefill.seconds.edgeComputeSeconds + edge.decode.seconds.edgeComputeSeconds,
      planCost(input, plan(0)).e2eSeconds,
    )
    // Half an RTT up with the prompt and half one down with the first token, plus handling of two messages.
    const { rttSeconds } = input.state.link
    near(
      explainPlan(input, plan(1)).prefill.seconds.roundTripSeconds,
      rttSeconds + 2 * input.pair.network.messageSeconds,
    )
  })
})

describe('plans as JSON', () => {
  it('come back as they were', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const { input, plan } = randomQuestion(seed)
        const text = JSON.stringify(planToJson(input.pair, plan))
        expect(planFromJson(input.pair, JSON.parse(text), 'plan')).toEqual(plan)
      }),
      { numRuns: 200 },
    )
  })

  it('name the heads of whole groups, first in the ranking first', () => {
    const pair = randomPair(randomStream(1, 'json'), { layers: 2, units: 2, grouped: true })
    const ranked = {
      ...pair,
      accuracy: {
        ...pair.accuracy,
        ranking: {
          unitsByLayer: [
            [1, 0],
            [0, 1],
          ],
          provenance: pair.accuracy.ranking.provenance,
        },
      },
    }
    const plan: Plan = {
      embed: 0,
      unitsOnCloud: Uint8Array.of(1, 1),
      ffn: Uint8Array.of(0, 2),
      head: 1,
      boundaryBits: 8,
      exit: null,
    }
    expect(planToJson(ranked, plan)).toEqual({
      embed: 'edge',
      layers: [
        { headsOnCloud: [2, 3], ffn: 0 },
        { headsOnCloud: [0, 1], ffn: 2 },
      ],
      head: 'cloud',
      boundaryBits: 8,
      exit: null,
    })
  })

  it('keep widths by layer, a layer without one having that of the plan', () => {
    const layers = [
      { headsOnCloud: [0, 1, 2, 3], ffn: 1, bits: 4 },
      { headsOnCloud: [], ffn: 0 },
    ]
    const plan = planFromJson(pair, { ...good, layers, boundaryBits: 16 }, 'plan.json')
    expect(plan.layerBits).toEqual(Uint8Array.of(4, 16))
    const printed = planToJson(pair, plan)
    expect(printed.layers.map(({ bits }) => bits)).toEqual([4, 16])
    expect(planFromJson(pair, printed, 'again')).toEqual(plan)
    expect(planFromJson(pair, good, 'plan.json')).not.toHaveProperty('layerBits')
  })

  const pair = randomPair(randomStream(2, 'json'), { layers: 2, units: 2, grouped: true })
  const layer = { headsOnCloud: [], ffn: 0 }
  const good = { embed: 'edge', layers: [layer, layer], head: 'edge', boundaryBits: 32, exit: null }

  it.each([
    [{ ...good, layers: [layer] }, 'layers', '2, the layers of'],
    [
      { ...good, layers: [layer, { headsOnCloud: [0], ffn: 0 }] },
      'layers.1.headsOnCloud',
      'whole K/V groups',
    ],
    [
      { ...good, layers: [{ headsOnCloud: [1, 2], ffn: 0 }, layer] },
      'layers.0.headsOnCloud',
      'whole K/V groups',
    ],
    [{ ...good, layers: [{ headsOnCloud: [4, 5], ffn: 0 }, layer] }, 'layers.0.headsOnCloud', 'heads 0..3'],
    [
      { ...good, layers: [{ headsOnCloud: [0, 0], ffn: 0 }, layer] },
      'layers.0.headsOnCloud',
      'each head once',
    ],
    [{ ...good, layers: [{ headsOnCloud: [], ffn: 3 }, layer] }, 'layers.0.ffn', ''],
    [{ ...good, boundaryBits: 5 }, 'boundaryBits', ''],
    [{ ...good, layers: [{ ...layer, bits: 5 }, layer] }, 'layers.0.bits', ''],
    [
      {
        ...good,
        layers: [layer, { ...layer, bits: 8 }],
        exit: { layer: 1, threshold: 0.8, mode: 'standalone' },
      },
      'layers.1.bits',
      'an early exit crosses once',
    ],
    [{ ...good, exit: { layer: 1, threshold: 0.123, mode: 'standalone' } }, 'early exit', 'layer 1 at'],
    [{ ...good, exit: { layer: 1, threshold: 0.8, mode: 'standalone' } }, 'exit', 'layers 0..0 on the edge'],
  ])('refuse %j', (value, place, expected) => {
    try {
      planFromJson(pair, value, 'plan.json')
      expect.unreachable()
    } catch (error) {
      expect(error).toBeInstanceOf(InputError)
      expect((error as InputError).problem.where).toContain(place)
      expect((error as InputError).problem.expected).toContain(expected)
    }
  })

  it('of any shape end in an InputError or in a plan', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.jsonValue(),
          fc.jsonValue().map((layers) => ({ ...good, layers })),
        ),
        (value) => {
          try {
            planFromJson(pair, value, 'fuzz')
          } catch (error) {
            expect(error).toBeInstanceOf(InputError)
          }
        },
      ),
      { numRuns: 200 },
    )
  })
})
