import { describe, expect, it } from 'vitest'
import { randomStream, type RandomStream } from '../../src/core/random.ts'
import { PlanDecoder } from '../../src/policy/action/planDecoder.ts'
import { lowerBoundUntil, requestLowerBound } from '../../src/plan/oracle/bounds.ts'
import { NO_PRICES } from '../../src/plan/price/question.ts'
import { optimalPlan } from '../../src/plan/oracle/oracle.ts'
import { cloudOnly, edgeOnly } from '../../src/plan/planners/fixed.ts'
import {
  driftPlusPenalty,
  joinShortestDelay,
  perStateDp,
  priced,
  randomPlans,
} from '../../src/plan/planners/priced.ts'
import type { DecisionProblem } from '../../src/plan/price/problem.ts'
import type { Policy } from '../../src/plan/price/situation.ts'
import { createFast } from '../../src/sim/fast.ts'
import { Episode } from '../../src/sim/episode.ts'
import type { EpisodeInputs } from '../../src/sim/types.ts'
import { FORMS, randomProblem, randomWalk, randomWorld, sessionTerms } from './randomProblem.ts'

/** Walks the masks at random: reaches plans that no planner would take. */
function randomWalker(problem: DecisionProblem, random: RandomStream): Policy {
  const decoder = new PlanDecoder(problem)
  return { name: 'random walk', decide: (situation) => randomWalk(random, decoder, situation) }
}

/** The bound of one request that finished at `untilSeconds`. */
function boundOf(
  problem: DecisionProblem,
  world: EpisodeInputs,
  request: number,
  untilSeconds: number,
): number {
  return lowerBoundUntil(problem, world.link, world.arrivals[request], untilSeconds)
}

describe('no policy undercuts the lower bound', () => {
  it.each(FORMS)('in random worlds, %s latency', (form) => {
    let tightest = 0
    for (let seed = 0; seed < 30; seed++) {
      const random = randomStream(seed, `bounds ${form}`)
      const problem = randomProblem(
        random,
        { layers: 1 + random.integer(4), units: 1 + random.integer(3) },
        form,
      )
      const world = randomWorld(random, problem)
      const policies = [
        edgeOnly(problem),
        cloudOnly(problem),
        randomPlans(problem),
        joinShortestDelay(problem),
        perStateDp(problem),
        priced(problem, [0.1, 0.1, 0.1, 0.1]),
        driftPlusPenalty(problem, 1),
        randomWalker(problem, random),
      ]
      for (const policy of policies) {
        const session = new Episode(problem, world, sessionTerms(), createFast)
        policy.reset?.(seed)
        while (session.next()) session.dispatch(policy.decide(session.situation()))
        world.arrivals.forEach((_, request) => {
          const bound = boundOf(
            problem,
            world,
            request,
            session.simulation.outcomes[request].lastTokenSeconds,
          )
          const { cost } = session.result(request)
          expect(Number.isFinite(bound)).toBe(true)
          expect(cost, `${policy.name}, seed ${seed}, request ${request}`).toBeGreaterThanOrEqual(
            bound * (1 - 1e-9),
          )
          tightest = Math.max(tightest, bound / cost)
        })
      }
    }
    // A bound that says nothing would pass too: somewhere it comes close.
    expect(tightest).toBeGreaterThan(0.8)
  })
})

describe('the lower bound', () => {
  it.each(FORMS)('is at most the oracle at the best link, %s latency', (form) => {
    for (let seed = 0; seed < 40; seed++) {
      const random = randomStream(seed, `oracle bound ${form}`)
      const problem = randomProblem(
        random,
        { layers: 1 + random.integer(5), units: 1 + random.integer(4) },
        form,
      )
      const bestLink = {
        upBitsPerSecond: 10 ** (6 + 3 * random.uniform()),
        downBitsPerSecond: 10 ** (6 + 3 * random.uniform()),
        rttSeconds: 10 ** (-5 + 4 * random.uniform()),
      }
      const promptTokens = 1 + random.integer(200)
      const outputTokens = 1 + random.integer(60)
      const bound = requestLowerBound({ ...problem, bestLink, promptTokens, outputTokens })
      const answer = optimalPlan({
        ...problem,
        state: { link: bestLink, promptTokens, outputTokens, edgeSlowdown: 1, cloudSlowdown: 1 },
        options: { ...problem, mixedLayers: true, memoryBytes: Infinity, reservedTokens: 0 },
        prices: NO_PRICES,
      })
      expect(bound).toBeGreaterThan(0)
      expect(bound).toBeLessThanOrEqual((answer?.value ?? NaN) * (1 + 1e-9))
    }
  })

  it('falls when the link gets better and never when it gets worse', () => {
    for (let seed = 0; seed < 20; seed++) {
      const random = randomStream(seed, 'monotone bound')
      const problem = randomProblem(random, { layers: 2, units: 2 }, FORMS[seed % 3])
      const bound = (better: number): number =>
        requestLowerBound({
          ...problem,
          bestLink: {
            upBitsPerSecond: 1e6 * better,
            downBitsPerSecond: 1e6 * better,
            rttSeconds: 0.05 / better,
          },
          promptTokens: 50,
          outputTokens: 20,
        })
      expect(bound(10)).toBeLessThanOrEqual(bound(1))
      expect(bound(1000)).toBeLessThanOrEqual(bound(10))
    }
  })
})
