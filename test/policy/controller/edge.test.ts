import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { randomStream } from '../../../src/core/random.ts'
import type { Plan } from '../../../src/plan/plan.ts'
import type { DecisionProblem } from '../../../src/plan/price/problem.ts'
import { fitsEdge } from '../../../src/plan/price/memory.ts'
import type { Situation } from '../../../src/plan/price/situation.ts'
import { openParityEngines } from '../../../src/policy/bundle/verify.ts'
import { exportBundle } from '../../../src/policy/bundle/export.ts'
import { LearnedPolicy } from '../../../src/policy/actor/learned.ts'
import { randomSituation } from '../../../src/policy/parity/samples.ts'
import { decideTimed, openBundle, situationFrom } from '../../../src/policy/controller/edge.ts'
import { Episode } from '../../../src/sim/episode.ts'
import { createFast } from '../../../src/sim/fast.ts'
import { createLink, constantSeries } from '../../../src/trace/link.ts'
import { numbersOf, problemOf, scratch, sourceOf, SLOTS, TERMS } from '../bundleSupport.ts'

const folder = scratch()
const cases: Record<string, { problem: DecisionProblem; numbers: ReturnType<typeof numbersOf> }> = {}
for (const [name, problem] of Object.entries({
  free: problemOf('tiny'),
  pinned: problemOf('tiny', { edgeLayersFirst: 1, edgeLayersLast: 1, earlyExit: false }),
  larger: problemOf('gpt2'),
})) {
  // Loud enough that decisions differ from one situation to the next.
  cases[name] = { problem, numbers: numbersOf(problem, 4, 0.3) }
}

beforeAll(async () => {
  const { engines } = await openParityEngines()
  for (const [name, { problem, numbers }] of Object.entries(cases)) {
    const sizes = { random: 50, walks: 10, ties: 10 }
    await exportBundle(sourceOf(problem, numbers), folder.path(name), engines, { sizes })
  }
  for (const engine of engines) await engine.close()
})
afterAll(() => folder.remove())

function situations(problem: DecisionProblem, count: number): Situation[] {
  const stream = randomStream(11, 'situations')
  return Array.from({ length: count }, () => randomSituation(problem, TERMS, stream))
}

describe('a bundle decides', () => {
  test.each(Object.keys(cases))(
    'alike by kernel, by native session, by WASM, and as the run did: %s',
    async (name) => {
      const { problem, numbers } = cases[name]
      const run = new LearnedPolicy(problem, numbers)
      const kernel = await openBundle(folder.path(name))
      const native = await openBundle(folder.path(name), { engine: 'session', session: 'native' })
      const wasm = await openBundle(folder.path(name), { engine: 'session', session: 'wasm' })
      expect([kernel.runs, native.runs.split(' ')[0], wasm.runs.split(' ')[0]]).toEqual([
        'kernel',
        'onnxruntime-node',
        'onnxruntime-web',
      ])
      const distinct = new Set<string>()
      for (const situation of situations(problem, 60)) {
        const expected = run.decide(situation)
        expect(kernel.decide(situation)).toEqual(expected)
        expect(await native.decide(situation)).toEqual(expected)
        expect(await wasm.decide(situation)).toEqual(expected)
        const { freeMemoryBytes: memoryBytes, reservedTokens } = situation
        expect(fitsEdge(problem.pair, expected, { memoryBytes, reservedTokens })).toBe(true)
        distinct.add(JSON.stringify(expected))
      }
      // A policy that always decides alike would make all of this true.
      expect(distinct.size).toBeGreaterThan(1)
      for (const bundle of [kernel, native, wasm]) await bundle.close()
    },
  )

  test('several at once, each its own', async () => {
    const { problem } = cases.free
    const kernel = await openBundle(folder.path('free'))
    const session = await openBundle(folder.path('free'), { engine: 'session' })
    const asked = situations(problem, 12)
    const answers = await Promise.all(asked.map((situation) => session.decide(situation)))
    expect(answers).toEqual(asked.map((situation) => kernel.decide(situation)))
    await session.close()
  })

  test('refuses where nothing fits, and goes on', async () => {
    const [situation] = situations(cases.pinned.problem, 1)
    const kernel = await openBundle(folder.path('pinned'))
    const session = await openBundle(folder.path('pinned'), { engine: 'session' })
    const full = { ...situation, freeMemoryBytes: 10 }
    expect(() => kernel.decide(full)).toThrow(/free edge memory[\s\S]*found: 10 bytes/)
    await expect(session.decide(full)).rejects.toThrow(/free edge memory/)
    expect(await session.decide(situation)).toEqual(kernel.decide(situation))
    await session.close()
  })
})

describe('a situation from conditions', () => {
  const conditions = { upMbps: 12, downMbps: 40, rttMs: 25, promptTokens: 60, outputTokens: 30 }
  const { problem } = cases.free

  test("reserves for the request's own longest answer, in the memory of this device", () => {
    expect(situationFrom(problem, TERMS, conditions).reservedTokens).toBe(60 + TERMS.maxNewTokens)
    const own = { ...conditions, maxNewTokens: 300, memoryBytes: 2 * TERMS.memoryBytes }
    expect(situationFrom(problem, TERMS, own)).toMatchObject({
      reservedTokens: 360,
      memoryBytes: 2 * TERMS.memoryBytes,
      freeMemoryBytes: 2 * TERMS.memoryBytes,
    })
    const short = { ...conditions, maxNewTokens: 29 }
    expect(() => situationFrom(problem, TERMS, short)).toThrow(/outputTokens[^]*1\.\.29/)
  })

  test("is what the simulator's session says of the same moment", () => {
    const session = new Episode(
      problem,
      {
        link: createLink(constantSeries(12e6, 40e6, 0.025)),
        tenants: { timeSeconds: Float64Array.of(0), value: Float64Array.of(0) },
        arrivals: [
          {
            arrivalSeconds: 0,
            promptTokens: 60,
            outputTokens: 30,
            predictedOutputTokens: 30,
            predictedOutputSd: 0,
          },
        ],
        maxInFlight: 2,
        cloudSlots: SLOTS,
        batchFactors: Array.from({ length: SLOTS }, (_, i) => problem.pair.cloud.batchFactor(i + 1)),
        network: problem.pair.network,
        readingTokensPerSecond: 10,
        outageSeconds: null,
      },
      {
        ...TERMS,
        heartbeatSeconds: 1,
        reportPeriodSeconds: 10,
        reportDelaySeconds: 10,
        decisionSeconds: 0,
        preloaded: true,
      },
      createFast,
    )
    expect(session.next()).toBe(true)
    expect(situationFrom(problem, TERMS, conditions)).toEqual(session.situation())
  })

  test('carries what else is said', () => {
    const situation = situationFrom(problem, TERMS, {
      ...conditions,
      tenants: 40,
      tenantsAgeSeconds: 12,
      sinceHeartbeatSeconds: 5,
      waitingRequests: 3,
      inFlight: 2,
      edgeBacklogSeconds: 7,
      cloudBacklogSeconds: 1,
      freeMemoryBytes: 1e9,
      outputSd: 4,
    })
    expect(situation).toMatchObject({
      tenantsHeard: 40,
      tenantsAgeSeconds: 12,
      sinceHeartbeatSeconds: 5,
      waitingRequests: 3,
      inFlight: 2,
      edgeBacklogSeconds: 7,
      cloudBacklogSeconds: 1,
      freeMemoryBytes: 1e9,
      predictedOutputSd: 4,
    })
  })

  test.each([
    ['upMbps', -1],
    ['downMbps', Number.NaN],
    ['rttMs', Infinity],
    ['promptTokens', 1.5],
    ['promptTokens', 512],
    ['outputTokens', 0],
    ['outputTokens', 129],
    ['waitingRequests', 0],
    ['tenants', '3'],
  ])('refuses %s = %s by name', (name, value) => {
    const ask = () => situationFrom(problem, TERMS, { ...conditions, [name]: value })
    expect(ask).toThrow(InputError)
    expect(ask).toThrow(new RegExp(`^${name}\n`))
  })
})

describe('timing a decision', () => {
  const plan = { embed: 0 } as unknown as Plan
  /** A clock on which the i-th decision takes `seconds(i)`. */
  function clocked(seconds: (i: number) => number, promised: boolean) {
    let now = 0
    let asked = 0
    return {
      clock: { nowSeconds: () => now },
      bundle: {
        decide: () => {
          now += seconds(asked++)
          return promised ? Promise.resolve(plan) : plan
        },
      },
      count: () => asked,
    }
  }

  test.each([false, true])('gives median and p99 by nearest rank (promised: %s)', async (promised) => {
    // Warm-up is slow and must not count; then 1..100 s in a scrambled order.
    const { clock, bundle, count } = clocked((i) => (i < 5 ? 1000 : 1 + ((i * 37) % 100)), promised)
    const timed = await decideTimed(bundle, {} as Situation, clock, { repeats: 100, warmUp: 5 })
    expect(timed).toEqual({ plan, medianSeconds: 50, p99Seconds: 99, repeats: 100 })
    expect(count()).toBe(105)
  })

  test('refuses no repeats', async () => {
    const { clock, bundle } = clocked(() => 1, false)
    await expect(decideTimed(bundle, {} as Situation, clock, { repeats: 0 })).rejects.toThrow(InputError)
  })
})
