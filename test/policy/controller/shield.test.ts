import { describe, expect, test } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import { edgeOnly, cloudOnly } from '../../../src/plan/planners/fixed.ts'
import { planCost, planValue } from '../../../src/plan/oracle/value.ts'
import { randomPlans, driftPlusPenalty } from '../../../src/plan/planners/priced.ts'
import { cutPlan, type Plan } from '../../../src/plan/plan.ts'
import { oracleInput, type DecisionProblem } from '../../../src/plan/price/problem.ts'
import { pairUnits } from '../../../src/plan/price/pair.ts'
import type { Policy, Situation } from '../../../src/plan/price/situation.ts'
import { randomSituation } from '../../../src/policy/parity/samples.ts'
import { Shield, type ShieldOptions } from '../../../src/policy/controller/shield.ts'
import { createFast } from '../../../src/sim/fast.ts'
import { Episode } from '../../../src/sim/episode.ts'
import type { EpisodeInputs } from '../../../src/sim/types.ts'
import { createLink } from '../../../src/trace/link.ts'
import { problemOf, SLOTS, TERMS } from '../bundleSupport.ts'
import { sessionTerms } from '../../plan/randomProblem.ts'

const problem = problemOf('gpt2', { earlyExit: false })
const PROMPT = 40
const OUTPUT = 24
const MAX_IN_FLIGHT = 2
const BURST = 6
const OUTAGE_SECONDS = 15
const MAX_WAITING = 6

/** Plans that an adversary may think of: cuts, each with its head at either side, and heads split everywhere. */
function candidates({ pair }: DecisionProblem): Plan[] {
  const { layers } = pair.model
  const units = pairUnits(pair)
  const cuts = [0, layers / 2, layers].flatMap((cut) =>
    ([0, 1] as const).map((head) => cutPlan(layers, units, cut, 16, cut === 0 ? 1 : 0, head)),
  )
  const split = { ...cuts[0], embed: 0, head: 0, unitsOnCloud: new Uint8Array(layers).fill(1) } as const
  return [...cuts, { ...split, ffn: new Uint8Array(layers) }]
}

/** A policy behind a shield. */
function shielded(problem: DecisionProblem, policy: Policy, options: ShieldOptions = {}): Policy {
  const shield = new Shield(problem, options)
  return {
    name: `${policy.name}, shielded`,
    reset: (seed) => policy.reset?.(seed),
    decide: (situation) =>
      shield.passed(situation) === null ? policy.decide(situation) : shield.decide(situation),
  }
}

function worstByValue(): Policy {
  const plans = candidates(problem)
  return {
    name: 'worst by value',
    decide: (situation) => {
      const input = oracleInput(problem, situation)
      const values = plans.map((plan) => planValue(input, plan))
      return plans[values.indexOf(Math.max(...values.filter((value) => value < Infinity)))]
    },
  }
}

function alternating(): Policy {
  const [first, second] = [edgeOnly(problem), worstByValue()]
  let turn = 0
  return { name: 'alternating', decide: (situation) => (turn++ % 2 === 0 ? first : second).decide(situation) }
}

interface Case {
  readonly ratePerSecond: number
  readonly tenants: number
  readonly outages: boolean
}

/** Bursts of BURST requests, so far apart that sigma + rho t bounds them; an outage of OUTAGE_SECONDS every 120 s. */
function worldOf({ ratePerSecond, tenants, outages }: Case, requests: number): EpisodeInputs {
  const rate = (value: number) => Float64Array.of(value, outages ? 0 : value)
  const link = createLink({
    timeSeconds: Float64Array.of(0, 120 - OUTAGE_SECONDS, 120),
    upBitsPerSecond: rate(20e6),
    downBitsPerSecond: rate(20e6),
    rttSeconds: Float64Array.of(0.02, 0.02),
    label: 'breaks off',
  })
  const arrivals = Array.from({ length: requests }, (_, i) => ({
    arrivalSeconds: (Math.floor(i / BURST) * BURST) / ratePerSecond,
    promptTokens: PROMPT,
    outputTokens: OUTPUT,
    predictedOutputTokens: OUTPUT,
    predictedOutputSd: 0,
  }))
  return {
    link,
    arrivals,
    maxInFlight: MAX_IN_FLIGHT,
    cloudSlots: SLOTS,
    tenants: { timeSeconds: Float64Array.of(0), value: Float64Array.of(tenants) },
    batchFactors: Array.from({ length: SLOTS }, (_, i) => problem.pair.cloud.batchFactor(i + 1)),
    network: problem.pair.network,
    readingTokensPerSecond: 10,
    outageSeconds: 3,
  }
}

interface Run {
  readonly mostWaiting: number
  /** Seconds alone of the slowest plan that the policy chose below the bound. */
  readonly worstSeconds: number
  readonly exact: number
}

function run(policy: Policy, given: Case, requests: number): Run {
  const terms = sessionTerms({ ...TERMS, maxNewTokens: 64, memoryBytes: 8e9 })
  const session = new Episode(problem, worldOf(given, requests), terms, createFast)
  let worstSeconds = 0
  let exact = 0
  policy.reset?.(1)
  while (session.next()) {
    const situation = session.situation()
    const plan = policy.decide(situation)
    if (situation.waitingRequests > MAX_WAITING) exact++
    else {
      const { e2eSeconds } = planCost(oracleInput(problem, { ...situation, sinceHeartbeatSeconds: 0 }), plan)
      if (e2eSeconds < Infinity) worstSeconds = Math.max(worstSeconds, e2eSeconds)
    }
    session.dispatch(plan)
  }
  return { mostWaiting: session.mostWaiting, worstSeconds, exact }
}

const adversaries: Record<string, () => Policy> = {
  'edge only': () => edgeOnly(problem),
  'cloud only': () => cloudOnly(problem),
  'worst by value': worstByValue,
  alternating,
  random: () => randomPlans(problem),
}

const QUICK_CLOUD: Case = { ratePerSecond: 3, tenants: 0, outages: true }
const BUSY_CLOUD: Case = { ratePerSecond: 2, tenants: 400, outages: true }
const REQUESTS = 480

/**
 * The bound, a burst, and what arrives while all that was in flight when the bound was passed runs to its end, an
 * outage in between: no more, for from then on only exact actions are in flight and they serve more than arrives.
 */
function mostExpected({ worstSeconds }: Run, { ratePerSecond }: Case): number {
  return MAX_WAITING + BURST + ratePerSecond * (MAX_IN_FLIGHT * worstSeconds + OUTAGE_SECONDS)
}

describe('behind a shield the queue keeps its bound but for what was committed', () => {
  test.each([
    ['edge only', 'a quick cloud', QUICK_CLOUD],
    ['worst by value', 'a quick cloud', QUICK_CLOUD],
    ['alternating', 'a quick cloud', QUICK_CLOUD],
    ['cloud only', 'a busy cloud', BUSY_CLOUD],
    ['random', 'a busy cloud', BUSY_CLOUD],
    ['worst by value', 'a busy cloud', BUSY_CLOUD],
  ])('%s, %s', (name, _, given) => {
    const make = adversaries[name]
    const policy = shielded(problem, make(), { maxWaiting: MAX_WAITING, maxBacklogSeconds: 1e9, v: 1 })
    const held = run(policy, given, REQUESTS)
    expect(held.exact).toBeGreaterThan(0)
    expect(held.mostWaiting).toBeGreaterThan(MAX_WAITING)
    expect(held.mostWaiting).toBeLessThanOrEqual(mostExpected(held, given))
    const bare = run(make(), given, REQUESTS)
    expect(bare.mostWaiting).toBeGreaterThan(mostExpected(bare, given))
  })

  test('where nothing passes a bound, the policy is as it was', () => {
    const calm: Case = { ratePerSecond: 0.05, tenants: 0, outages: false }
    const bounds = { maxWaiting: BURST, maxBacklogSeconds: 1e9 }
    expect(run(shielded(problem, worstByValue(), bounds), calm, 60)).toEqual(run(worstByValue(), calm, 60))
  })
})

describe('a shield', () => {
  const stream = randomStream(5, 'shield')
  const calm: Situation = {
    ...randomSituation(problem, TERMS, stream),
    replanning: false,
    sinceHeartbeatSeconds: 0,
    waitingRequests: 1,
    uplinkQueuedBytes: 0,
    edgeBacklogSeconds: 0,
    cloudBacklogSeconds: 0,
    edgeSecondsPerRequest: 2,
    up: { shortBitsPerSecond: 8e6, longBitsPerSecond: 8e6, relativeSpread: 0 },
    virtual: { energy: 0, accuracy: 0, money: 0 },
  }

  test.each([
    ['waiting', { waitingRequests: 4 }, { waitingRequests: 5 }],
    ['edge', { edgeBacklogSeconds: 10 }, { edgeBacklogSeconds: 8, waitingRequests: 3 }],
    ['cloud', { cloudBacklogSeconds: 10 }, { cloudBacklogSeconds: 10.1 }],
    // 1 MB/s.
    ['uplink', { uplinkQueuedBytes: 10e6 }, { uplinkQueuedBytes: 10.1e6 }],
    [
      'energy',
      { virtual: { energy: 7, accuracy: 0, money: 0 } },
      { virtual: { energy: 7.1, accuracy: 0, money: 0 } },
    ],
    ['accuracy', {}, { virtual: { energy: 0, accuracy: 7.1, money: 7 } }],
    ['money', {}, { virtual: { energy: 0, accuracy: 0, money: 8 } }],
  ] as const)('sees the %s queue pass its bound', (which, at, past) => {
    const shield = new Shield(problem, { maxWaiting: 4, maxBacklogSeconds: 10, maxVirtualBudgets: 7, v: 1 })
    expect(shield.passed({ ...calm, ...at })).toBeNull()
    expect(shield.passed({ ...calm, ...past })).toBe(which)
  })

  test('takes the exact action then, and asks the policy else', () => {
    const asked: Situation[] = []
    const plan = edgeOnly(problem).decide(calm)
    const policy: Policy = {
      name: 'asked',
      decide: (situation) => {
        asked.push(situation)
        return plan
      },
    }
    const both = shielded(problem, policy, { maxWaiting: 4, v: 0.25 })
    const busy = { ...calm, waitingRequests: 5 }
    expect(both.decide(busy)).toEqual(driftPlusPenalty(problem, 0.25).decide(busy))
    expect(asked).toEqual([])
    expect(both.decide(calm)).toBe(plan)
    expect(asked).toEqual([calm])
  })
})
