import { describe, expect, it } from 'vitest'
import { randomStream } from '../../src/core/random.ts'
import { optimalPlan } from '../../src/plan/oracle/oracle.ts'
import { pairUnits } from '../../src/plan/price/pair.ts'
import { CLOUD, EDGE, uniformPlan } from '../../src/plan/plan.ts'
import { edgeMemory } from '../../src/plan/price/memory.ts'
import { cloudOnly, cloudPlan, layerCut, layerCuts, staticCut } from '../../src/plan/planners/fixed.ts'
import { ceCollm, thresholdRouting } from '../../src/plan/planners/published.ts'
import {
  driftPlusPenalty,
  edgeWork,
  joinShortestDelay,
  perStateDp,
  priced,
  randomPlans,
} from '../../src/plan/planners/priced.ts'
import { oracleInput, type DecisionProblem } from '../../src/plan/price/problem.ts'
import type { Situation } from '../../src/plan/price/situation.ts'
import { planCost, planValue } from '../../src/plan/oracle/value.ts'
import { fitsEdge } from '../../src/plan/price/memory.ts'
import { createFast } from '../../src/sim/fast.ts'
import { Episode } from '../../src/sim/episode.ts'
import { FORMS, randomProblem, randomWorld, sessionTerms, wholeEdgeBytes } from './randomProblem.ts'

/** The first situation of a random world: nothing in flight, one request waiting. */
function quietSituation(seed: number): { problem: DecisionProblem; situation: Situation } {
  const random = randomStream(seed, 'planners')
  const problem = randomProblem(random, { layers: 3, units: 2 }, FORMS[seed % 3])
  const session = new Episode(problem, randomWorld(random, problem), sessionTerms(), createFast)
  session.next()
  return { problem, situation: { ...session.situation(), sinceHeartbeatSeconds: 0 } }
}

describe('planners at empty queues', () => {
  it.each(['per-state DP', 'priced', 'drift-plus-penalty'])('%s is the oracle', (name) => {
    for (let seed = 0; seed < 20; seed++) {
      const { problem, situation } = quietSituation(seed)
      const policy =
        name === 'per-state DP'
          ? perStateDp(problem)
          : name === 'priced'
            ? priced(problem, [0, 3, 0, 3])
            : driftPlusPenalty(problem, 0.1)
      expect(edgeWork(situation)).toBe(0)
      expect(policy.decide(situation)).toEqual(optimalPlan(oracleInput(problem, situation))?.plan)
    }
  })
})

describe('planners with queues', () => {
  it('price contended seconds: with a dear enough side the plan leaves it', () => {
    const { problem, situation } = quietSituation(2)
    const busyEdge = { ...situation, edgeBacklogSeconds: 10, waitingRequests: 3, edgeSecondsPerRequest: 4 }
    expect(edgeWork(busyEdge)).toBe(18)
    const edgeSeconds = (of: Situation, plan: ReturnType<ReturnType<typeof priced>['decide']>): number =>
      planCost(oracleInput(problem, of), plan).edgeSeconds
    const withPrice = priced(problem, [0, 1e6, 0, 0]).decide(busyEdge)
    expect(edgeSeconds(busyEdge, withPrice)).toBe(0)
    expect(edgeSeconds(busyEdge, driftPlusPenalty(problem, 1e-6).decide(busyEdge))).toBe(0)
    const busyCloud = { ...situation, cloudBacklogSeconds: 5 }
    const cloudSeconds = (plan: typeof withPrice): number =>
      planCost(oracleInput(problem, busyCloud), plan).cloudSeconds
    expect(cloudSeconds(priced(problem, [0, 0, 0, 1e6]).decide(busyCloud))).toBe(0)
    expect(cloudSeconds(driftPlusPenalty(problem, 1e-6).decide(busyCloud))).toBe(0)
  })

  it('charge each overrun budget its virtual queue, in budgets, as they charge a second of backlog', () => {
    let changed = 0
    for (let seed = 0; seed < 10; seed++) {
      const quiet = quietSituation(seed)
      const budgets = { energyJoules: 0.02, accuracyLoss: 0.04, cloudSeconds: 0.005 }
      const problem = { ...quiet.problem, budgets }
      const virtual = { energy: 3, accuracy: 5, money: 2 }
      const over = { ...quiet.situation, cloudBacklogSeconds: 4, virtual }
      const overrun = { edgeJoule: 3 / 0.02, accuracyNat: 5 / 0.04 }
      const drift = {
        edgeSecond: 0,
        cloudSecond: (4 + 2 / 0.005) / 7,
        upByte: 0,
        edgeJoule: overrun.edgeJoule / 7,
        accuracyNat: overrun.accuracyNat / 7,
      }
      const plan = driftPlusPenalty(problem, 7).decide(over)
      expect(plan).toEqual(optimalPlan(oracleInput(problem, over, drift))?.plan)
      const prices = { edgeSecond: 0.1, cloudSecond: 0.3 + 0.4 * 4 + 2 / 0.005, upByte: 0, ...overrun }
      expect(priced(problem, [0.1, 0.2, 0.3, 0.4]).decide(over)).toEqual(
        optimalPlan(oracleInput(problem, over, prices))?.plan,
      )
      const none = driftPlusPenalty(quiet.problem, 7).decide(over)
      if (JSON.stringify(none) !== JSON.stringify(plan)) changed++
    }
    expect(changed).toBeGreaterThan(0)
  })

  it('minimise exactly the priced value', () => {
    for (let seed = 0; seed < 10; seed++) {
      const { problem, situation } = quietSituation(seed)
      const busy = { ...situation, edgeBacklogSeconds: 2, cloudBacklogSeconds: 3, uplinkQueuedBytes: 5e5 }
      const p = [0.1, 0.2, 0.3, 0.4] as const
      const prices = {
        edgeSecond: 0.1 + 0.2 * 2,
        cloudSecond: 0.3 + 0.4 * 3,
        upByte: 0,
        edgeJoule: 0,
        accuracyNat: 0,
      }
      expect(priced(problem, p).decide(busy)).toEqual(optimalPlan(oracleInput(problem, busy, prices))?.plan)
      const perByte = 8 / busy.up.shortBitsPerSecond
      const drift = {
        edgeSecond: 2 / 7,
        cloudSecond: 3 / 7,
        upByte: (perByte * perByte * 5e5) / 7,
        edgeJoule: 0,
        accuracyNat: 0,
      }
      expect(driftPlusPenalty(problem, 7).decide(busy)).toEqual(
        optimalPlan(oracleInput(problem, busy, drift))?.plan,
      )
    }
  })
})

describe('per-state DP', () => {
  it('keeps its plan until another is better by more than the hysteresis', () => {
    let kept = 0
    let changed = 0
    for (let seed = 0; seed < 200; seed++) {
      const { problem, situation } = quietSituation(seed)
      const policy = perStateDp(problem, 0.1)
      policy.reset?.(0)
      const first = policy.decide(situation)
      const factor = 10 ** (randomStream(seed, 'rate').uniform() * 3 - 1.5)
      const up = { ...situation.up, shortBitsPerSecond: situation.up.shortBitsPerSecond * factor }
      const later = { ...situation, up, rttSeconds: situation.rttSeconds / factor }
      const input = oracleInput(problem, later)
      const best = optimalPlan(input)!
      const stays = planValue(input, first) <= 1.1 * best.value
      expect(policy.decide(later)).toEqual(stays ? first : best.plan)
      if (stays && planValue(input, first) > best.value * (1 + 1e-9)) kept++
      if (!stays) changed++
      policy.reset?.(1)
      expect(planValue(input, policy.decide(later))).toBeCloseTo(best.value, 12)
    }
    expect(kept).toBeGreaterThan(0)
    expect(changed).toBeGreaterThan(0)
  })

  it('leaves a plan that needs the network when there is none, and one that does not fit any more', () => {
    const { problem, situation } = quietSituation(0)
    const dear = {
      ...problem,
      objective: { ...problem.objective, weights: { ...problem.objective.weights, cloud: 0, latency: 1e3 } },
    }
    const slowEdge = { ...situation, edgeSlowdown: 1e6 }
    const policy = perStateDp(dear)
    expect(policy.decide(slowEdge).unitsOnCloud.some((k) => k > 0)).toBe(true)
    const cut = policy.decide({ ...slowEdge, sinceHeartbeatSeconds: 60 })
    expect(cut.exit?.mode === 'standalone' || cut.ffn.every((mode) => mode === 0)).toBe(true)
    const full = { ...situation, freeMemoryBytes: 0 }
    const plan = policy.decide(full)
    expect(fitsEdge(problem.pair, plan, { memoryBytes: 0, reservedTokens: full.reservedTokens })).toBe(true)
  })
})

describe('join-shortest-expected-delay', () => {
  it('compares backlog plus service of both sides, by hand', () => {
    for (let seed = 0; seed < 10; seed++) {
      const { problem, situation } = quietSituation(seed)
      const units = pairUnits(problem.pair)
      const plans = [uniformPlan(3, units, EDGE), uniformPlan(3, units, CLOUD, 32)]
      const [edge, cloud] = plans.map((plan) => planCost(oracleInput(problem, situation), plan).e2eSeconds)
      const policy = joinShortestDelay(problem)
      const gap = Math.abs(edge - cloud)
      const slower = edge > cloud ? 'edgeBacklogSeconds' : 'cloudBacklogSeconds'
      const faster = edge > cloud ? 'cloudBacklogSeconds' : 'edgeBacklogSeconds'
      const [best, other] = edge > cloud ? [plans[1], plans[0]] : plans
      expect(policy.decide({ ...situation, [slower]: 0 })).toEqual(best)
      expect(policy.decide({ ...situation, [faster]: 0.99 * gap })).toEqual(best)
      expect(policy.decide({ ...situation, [faster]: 1.01 * gap })).toEqual(other)
      expect(policy.decide({ ...situation, sinceHeartbeatSeconds: 9, edgeBacklogSeconds: 1e9 })).toEqual(
        plans[0],
      )
      expect(policy.decide({ ...situation, freeMemoryBytes: 0, cloudBacklogSeconds: 1e9 })).toEqual(plans[1])
    }
  })
})

describe('pinned ends', () => {
  it('are honoured by every planner, whatever the link and the memory', () => {
    for (let seed = 0; seed < 12; seed++) {
      const quiet = quietSituation(seed)
      const problem = { ...quiet.problem, edgeLayersFirst: 1, edgeLayersLast: 1 }
      const { reservedTokens } = quiet.situation
      const pinned = cloudOnly(problem).decide(quiet.situation)
      expect([...pinned.ffn]).toEqual([0, 1, 0])
      const { weightBytes, kvBytesPerToken } = edgeMemory(problem.pair, pinned)
      const least = weightBytes + kvBytesPerToken * reservedTokens
      const policies = [
        cloudOnly(problem),
        joinShortestDelay(problem),
        perStateDp(problem),
        randomPlans(problem),
        priced(problem, [1, 1, 1, 1]),
        driftPlusPenalty(problem, 1),
        ...layerCuts(problem).map(({ cut, boundaryBits }) => staticCut(problem, cut, boundaryBits)),
      ]
      // Two cuts between the ends: one with every width, one with nothing in the cloud.
      expect(layerCuts(problem)).toHaveLength(4 + 1)
      for (const freeMemoryBytes of [Infinity, least]) {
        for (const sinceHeartbeatSeconds of [0, 100]) {
          for (const policy of policies) {
            const plan = policy.decide({ ...quiet.situation, freeMemoryBytes, sinceHeartbeatSeconds })
            const ends = [
              plan.embed,
              plan.head,
              plan.ffn[0],
              plan.ffn[2],
              plan.unitsOnCloud[0],
              plan.unitsOnCloud[2],
            ]
            expect(ends, policy.name).toEqual([EDGE, EDGE, 0, 0, 0, 0])
            expect(
              fitsEdge(problem.pair, plan, { memoryBytes: freeMemoryBytes, reservedTokens }),
              policy.name,
            ).toBe(true)
          }
        }
      }
    }
  })
})

describe('fixed and random plans', () => {
  it('cut at every layer once, with every width where tensors cross', () => {
    const { problem } = quietSituation(1)
    const cuts = layerCuts(problem)
    expect(cuts).toHaveLength(1 + 2 * 4 + 1)
    for (const { cut, boundaryBits } of cuts) {
      const plan = layerCut(problem, cut, boundaryBits)
      expect([...plan.ffn]).toEqual([0, 1, 2].map((layer) => (layer < cut ? 0 : 1)))
      expect([plan.embed, plan.head]).toEqual([cut > 0 ? EDGE : CLOUD, cut < 3 ? CLOUD : EDGE])
      expect(
        staticCut(problem, cut, boundaryBits).decide({
          freeMemoryBytes: Infinity,
          reservedTokens: 1,
        } as Situation),
      ).toEqual(plan)
    }
  })

  it('random plans fit, repeat by their seed, and come in many kinds', () => {
    const { problem, situation } = quietSituation(2)
    const memoryBytes = wholeEdgeBytes(problem.pair, situation.reservedTokens) * 0.7
    const draw = (seed: number): string[] => {
      const policy = randomPlans(problem)
      policy.reset?.(seed)
      return Array.from({ length: 60 }, () => {
        const plan = policy.decide({ ...situation, freeMemoryBytes: memoryBytes })
        expect(fitsEdge(problem.pair, plan, { memoryBytes, reservedTokens: situation.reservedTokens })).toBe(
          true,
        )
        return JSON.stringify(plan)
      })
    }
    expect(draw(1)).toEqual(draw(1))
    expect(draw(2)).not.toEqual(draw(1))
    expect(new Set(draw(3)).size).toBeGreaterThan(10)
  })
})

describe('published ways', () => {
  it('CE-CoLLM leaves at its last exit at 0.8, alone in an outage, and not where exits are not allowed', () => {
    const { problem, situation } = quietSituation(3)
    const allowed = { ...problem, earlyExit: true, boundaryBits: [32, 16] as const }
    const layer = Math.max(...problem.pair.accuracy.exits.map((exit) => exit.layer))
    const collaborative = ceCollm(allowed, 'collaborative')?.decide(situation)
    expect(collaborative?.exit).toEqual({ layer, threshold: 0.8, mode: 'collaborative' })
    expect(collaborative?.boundaryBits).toBe(16)
    const outage = { ...situation, sinceHeartbeatSeconds: 10 }
    expect(ceCollm(allowed, 'collaborative')?.decide(outage).exit?.mode).toBe('standalone')
    expect(ceCollm(allowed, 'standalone')?.decide(situation).exit?.mode).toBe('standalone')
    const tight = { ...situation, freeMemoryBytes: 0 }
    expect(ceCollm(allowed, 'standalone')?.decide(tight)).toEqual(cloudPlan(allowed))
    expect(ceCollm({ ...allowed, earlyExit: false }, 'collaborative')).toBeNull()
    expect(ceCollm({ ...allowed, edgeLayersLast: 1 }, 'collaborative')).toBeNull()
  })

  it('threshold routing goes to the cloud once more edge work waits than it says', () => {
    const { problem, situation } = quietSituation(4)
    const side = (edgeBacklogSeconds: number, extra: Partial<Situation> = {}): number =>
      thresholdRouting(problem, 2).decide({ ...situation, edgeBacklogSeconds, ...extra }).head
    expect([side(0), side(2), side(2.1)]).toEqual([EDGE, EDGE, CLOUD])
    expect(side(9, { sinceHeartbeatSeconds: 10 })).toBe(EDGE)
    expect(side(0, { freeMemoryBytes: 0 })).toBe(CLOUD)
  })
})
