import { describe, expect, it } from 'vitest'
import { Level, MovingAverage } from '../../../src/policy/observation/averages.ts'
import { LONG_AGO_SECONDS, Observer, type QueueState } from '../../../src/policy/observation/observer.ts'
import { WorkLedger, expectedWork } from '../../../src/policy/observation/work.ts'
import { compileProgram } from '../../../src/plan/price/compile.ts'
import { evaluateProgram } from '../../../src/plan/price/evaluate.ts'
import { DEFAULT_OBJECTIVE } from '../../../src/plan/price/objective.ts'
import type { Program } from '../../../src/plan/price/program.ts'
import type { Situation } from '../../../src/plan/price/situation.ts'
import { createFast } from '../../../src/sim/fast.ts'
import { Episode } from '../../../src/sim/episode.ts'
import { constantSeries, createLink } from '../../../src/trace/link.ts'
import { EDGE, uniformPlan } from '../../../src/plan/plan.ts'
import { randomStream } from '../../../src/core/random.ts'
import { anyPlan } from '../../plan/anyPlan.ts'
import { randomPair } from '../../plan/randomPair.ts'
import { randomProblem, randomWorld, sessionTerms } from '../../plan/randomProblem.ts'

const PROBE = { upBitsPerSecond: 8e6, downBitsPerSecond: 16e6, rttSeconds: 0.1 }
const NO_BUDGETS = { energyJoules: null, accuracyLoss: null, cloudSeconds: null }

const circumstances: QueueState = {
  replanning: false,
  deliveredTokens: 0,
  promptTokens: 10,
  predictedOutputTokens: 20,
  predictedOutputSd: 5,
  waitedSeconds: 0,
  waitingRequests: 1,
  inFlight: 0,
  uplinkQueuedBytes: 0,
  freeMemoryBytes: 1,
  memoryBytes: 1,
  residentBytes: 0,
  reservedTokens: 30,
}

function at(observer: Observer, nowSeconds: number): Situation {
  return observer.situation(nowSeconds, circumstances, () => ({ edgeSeconds: 0, cloudSeconds: 0 }))
}

const took = { seconds: 4, outputTokens: 8, edgeJoules: 3, cloudSeconds: 0.5, accuracyLoss: 0.2 }

describe('averages, by hand', () => {
  it('take the first value whole unless they start from a probe', () => {
    const fresh = new MovingAverage(0.25, 7)
    fresh.add(4)
    fresh.add(8)
    expect(fresh.value).toBe(5)
    const probed = new MovingAverage(0.25, 8, true)
    probed.add(4)
    expect(probed.value).toBe(7)
  })

  it('keep a short and a long horizon and the spread about the long one', () => {
    const level = new Level(10)
    level.add(20)
    // short 10 + 0.5 x 10; long 10 + 0.1 x 10; deviation 0.1 x |20 - 10|
    expect(level.rate()).toEqual({ shortBitsPerSecond: 15, longBitsPerSecond: 11, relativeSpread: 1 / 11 })
    level.add(11)
    expect(level.shortValue).toBe(13)
    expect(level.spread).toBeCloseTo(0.9, 12)
  })
})

describe('the observer, by hand', () => {
  it('knows only the probe before anything happened', () => {
    const known = at(new Observer(PROBE, NO_BUDGETS), 5)
    expect(known.up).toEqual({ shortBitsPerSecond: 8e6, longBitsPerSecond: 8e6, relativeSpread: 0 })
    expect(known.down.shortBitsPerSecond).toBe(16e6)
    expect([known.rttSeconds, known.rttSpreadSeconds, known.arrivalsPerSecond]).toEqual([0.1, 0, 0])
    expect([known.edgeSlowdown, known.cloudSlowdown]).toEqual([1, 1])
    expect([known.tenantsHeard, known.tenantsAgeSeconds]).toEqual([0, LONG_AGO_SECONDS])
    expect([known.sinceHeartbeatSeconds, known.sinceTransferSeconds]).toEqual([5, 5])
    expect(known.recentEdgeSecondsPerToken).toBeNaN()
  })

  it('measures rates by transfers large enough, each direction apart', () => {
    const observer = new Observer(PROBE, NO_BUDGETS)
    observer.transfer('up', 1000, 1, 9)
    expect(at(observer, 10).up.shortBitsPerSecond).toBe(8e6)
    expect(at(observer, 10).sinceTransferSeconds).toBe(10)
    // 1 MB in 2 s: 4 Mbit/s.
    observer.transfer('up', 1e6, 2, 4)
    const { up, down, sinceTransferSeconds } = at(observer, 10)
    expect([up.shortBitsPerSecond, up.longBitsPerSecond]).toEqual([6e6, 7.6e6])
    expect(down.shortBitsPerSecond).toBe(16e6)
    expect(sinceTransferSeconds).toBe(6)
  })

  it('tells an outage by heartbeats that stay away', () => {
    const observer = new Observer(PROBE, NO_BUDGETS)
    observer.heartbeat(2, 0.3)
    const known = at(observer, 9)
    expect(known.sinceHeartbeatSeconds).toBe(7)
    expect(known.rttSeconds).toBeCloseTo(0.2, 12)
    expect(known.rttSpreadSeconds).toBeCloseTo(0.02, 12)
  })

  it('averages gaps between arrivals', () => {
    const observer = new Observer(PROBE, NO_BUDGETS)
    observer.arrival(1)
    expect(at(observer, 1).arrivalsPerSecond).toBe(0)
    observer.arrival(5)
    observer.arrival(5)
    // gaps 4, then 0: 4 + 0.1 x (0 - 4)
    expect(at(observer, 5).arrivalsPerSecond).toBeCloseTo(1 / 3.6, 12)
  })

  it('compares measured with profiled speed, and says how long ago', () => {
    const observer = new Observer(PROBE, NO_BUDGETS)
    observer.compute(0, 1, 2, 3)
    observer.compute(1, 2, 10, 4)
    observer.compute(1, 0, 0, 9)
    const known = at(observer, 10)
    expect(known.edgeSlowdown).toBeCloseTo(1.2, 12)
    expect(known.cloudSlowdown).toBeCloseTo(1.8, 12)
    expect(known.cloudSlowdownAgeSeconds).toBe(6)
  })

  it('keeps virtual queues in units of one budget, and none without a budget', () => {
    const observer = new Observer(PROBE, { energyJoules: 2, accuracyLoss: null, cloudSeconds: 1 })
    observer.finished(0, true, took)
    expect(observer.virtualQueues()).toEqual({ energy: 0.5, accuracy: 0, money: 0 })
    observer.finished(1, true, took)
    observer.finished(2, false, { ...took, edgeJoules: 0.5, cloudSeconds: 3 })
    expect(observer.virtualQueues()).toEqual({ energy: 0.25, accuracy: 0, money: 2 })
    const known = at(observer, 1)
    expect([known.recentCloudSecondsPerToken, known.recentEdgeSecondsPerToken]).toEqual([0.5, 0.5])
  })
})

const program: Program = {
  prefill: {
    stages: [
      { resource: 0, after: [], seconds: 2, curve: null, bytes: 0, express: false },
      { resource: 1, after: [0], seconds: 0, curve: null, bytes: 99, express: false },
    ],
    loop: 0,
    deliver: 0,
  },
  cycles: [
    {
      stages: [
        { resource: 0, after: [], seconds: 1, curve: Float64Array.of(0, 10), bytes: 0, express: false },
      ],
      loop: 0,
      deliver: 0,
    },
    {
      stages: [{ resource: 2, after: [], seconds: 3, curve: null, bytes: 0, express: false }],
      loop: 0,
      deliver: 0,
    },
  ],
  askShare: 0.25,
  edgeKnots: Float64Array.of(0, 100),
  cloudKnots: Float64Array.of(0, 100),
  accuracyLoss: 0,
  edgeWeightBytes: 0,
  edgeKvBytesPerToken: 0,
}

describe('work in flight', () => {
  it('is what the program is expected to bring at the predicted length', () => {
    // 3 tokens: a prefill and 2 cycles at contexts 11 and 12, a quarter of them asked.
    const work = expectedWork(program, 10, 3)
    expect(work.edgeSeconds).toBeCloseTo(2 + 0.75 * (2 * 1 + 1.1 + 1.2), 12)
    expect(work.cloudSeconds).toBeCloseTo(0.25 * 2 * 3, 12)
    expect(expectedWork(program, 10, 1)).toEqual({ edgeSeconds: 2, cloudSeconds: 0 })
  })

  it('is the busy seconds that evaluating the program gives, for any plan that asks nothing', () => {
    for (let seed = 0; seed < 60; seed++) {
      const random = randomStream(seed, 'work')
      const pair = randomPair(random, { layers: 2 + random.integer(3), units: 1 + random.integer(3) })
      const plan = anyPlan(random, pair)
      if (plan.exit?.mode === 'collaborative') continue
      const [promptTokens, outputTokens] = [1 + random.integer(200), 1 + random.integer(60)]
      const link = { upBitsPerSecond: 1e7, downBitsPerSecond: 1e7, rttSeconds: 0.01 }
      const question = { pair, link, promptTokens, outputTokens }
      const compiled = compileProgram(pair, plan, { promptTokens, loadBytes: 0, decisionSeconds: 0 })
      const reader = { objective: DEFAULT_OBJECTIVE, readingTokensPerSecond: 10 }
      const { edgeSeconds, cloudSeconds } = evaluateProgram(compiled, { ...question, ...reader })
      const work = expectedWork(compiled, promptTokens, outputTokens)
      expect(work.edgeSeconds).toBeCloseTo(edgeSeconds, 9)
      expect(work.cloudSeconds).toBeCloseTo(cloudSeconds, 9)
    }
  })

  it('goes down with what is done, to a tenth, until the request ends', () => {
    const ledger = new WorkLedger()
    ledger.add(1, { edgeSeconds: 10, cloudSeconds: 4 })
    ledger.add(2, { edgeSeconds: 1, cloudSeconds: 0 })
    const done = (request: number) => ({ edgeSeconds: request === 1 ? 3 : 5, cloudSeconds: 0 })
    expect(ledger.remaining(done)).toEqual({ edgeSeconds: 7.1, cloudSeconds: 4 })
    ledger.remove(1)
    expect(ledger.remaining(done)).toEqual({ edgeSeconds: 0.1, cloudSeconds: 0 })
  })
})

describe('in a session', () => {
  it('tenants are heard of late: the newest report whose delay has passed, and its age', () => {
    const problem = randomProblem(randomStream(1, 'late'), { layers: 2, units: 1 }, 'mean')
    const arrival = { promptTokens: 5, outputTokens: 1, predictedOutputTokens: 1, predictedOutputSd: 0 }
    const world = {
      ...randomWorld(randomStream(1, 'late'), problem, 1),
      link: createLink(constantSeries(1e7, 1e7, 0.01)),
      tenants: { timeSeconds: Float64Array.of(0, 9, 15.5), value: Float64Array.of(3, 5, 7) },
      arrivals: [6.9, 13, 23.9, 24.1].map((arrivalSeconds) => ({ ...arrival, arrivalSeconds })),
    }
    const terms = sessionTerms({ reportPeriodSeconds: 5, reportDelaySeconds: 4 })
    const session = new Episode(problem, world, terms, createFast)
    const heard: number[][] = []
    while (session.next()) {
      const { tenantsHeard, tenantsAgeSeconds } = session.situation()
      heard.push([tenantsHeard, Math.round(tenantsAgeSeconds * 1e6) / 1e6])
      session.dispatch(uniformPlan(2, 1, EDGE))
    }
    // Reports of 0, 5, 10, .. s are heard at 4, 9, 14, .. s.
    expect(heard).toEqual([
      [3, 6.9],
      [3, 8],
      [5, 8.9],
      [7, 4.1],
    ])
  })

  it('does not see what the link will do next', () => {
    const problem = randomProblem(randomStream(2, 'future'), { layers: 2, units: 1 }, 'mean')
    const base = randomWorld(randomStream(2, 'future'), problem, 3)
    const arrivals = base.arrivals.map((arrival, i) => ({ ...arrival, arrivalSeconds: 1 + i }))
    const seen = (later: number): Situation[] => {
      const link = createLink({
        timeSeconds: Float64Array.of(0, 50, 100),
        upBitsPerSecond: Float64Array.of(1e8, later),
        downBitsPerSecond: Float64Array.of(1e8, later),
        rttSeconds: Float64Array.of(0.01, 1),
        label: 'two bins',
      })
      const session = new Episode(problem, { ...base, arrivals, link }, sessionTerms(), createFast)
      const situations: Situation[] = []
      while (session.next()) {
        situations.push(session.situation())
        session.dispatch(uniformPlan(2, 1, EDGE))
      }
      return situations
    }
    expect(seen(1e9)).toEqual(seen(0))
  })
})
