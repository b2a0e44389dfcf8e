import { describe, expect, it } from 'vitest'
import { randomStream, type RandomStream } from '../../src/core/random.ts'
import { PlanDecoder } from '../../src/policy/action/planDecoder.ts'
import { lowerBoundUntil } from '../../src/plan/oracle/bounds.ts'
import { cloudOnly } from '../../src/plan/planners/fixed.ts'
import { perStateDp, priced, randomPlans } from '../../src/plan/planners/priced.ts'
import type { DecisionProblem } from '../../src/plan/price/problem.ts'
import type { Policy } from '../../src/plan/price/situation.ts'
import { createFast } from '../../src/sim/fast.ts'
import { Episode } from '../../src/sim/episode.ts'
import type { EpisodeInputs } from '../../src/sim/types.ts'
import { FORMS, outageWorld, randomProblem, randomWalk, sessionTerms } from './randomProblem.ts'

/** Takes plans that no planner would take, first in the cloud as a rule: its re-plans start over on the edge or anywhere. */
function restless(problem: DecisionProblem, random: RandomStream): Policy {
  const decoder = new PlanDecoder(problem)
  const cloud = cloudOnly(problem)
  return {
    name: 'restless',
    decide: (situation) =>
      situation.replanning || random.uniform() < 0.4
        ? randomWalk(random, decoder, situation)
        : cloud.decide(situation),
  }
}

function boundOf(
  problem: DecisionProblem,
  world: EpisodeInputs,
  request: number,
  untilSeconds: number,
): number {
  return lowerBoundUntil(problem, world.link, world.arrivals[request], untilSeconds)
}

describe('no re-plan undercuts the lower bound', () => {
  it.each(FORMS)('in random worlds with outages, %s latency', (form) => {
    let replans = 0
    for (let seed = 0; seed < 60; seed++) {
      const random = randomStream(seed, `replan bounds ${form}`)
      const shape = { layers: 1 + random.integer(4), units: 1 + random.integer(3) }
      const problem = randomProblem(random, shape, form)
      const world = outageWorld(random, problem)
      const policies = [
        randomPlans(problem),
        perStateDp(problem),
        priced(problem, [0.1, 0.1, 0.1, 0.1]),
        restless(problem, random),
      ]
      for (const policy of policies) {
        const session = new Episode(problem, world, sessionTerms(), createFast)
        policy.reset?.(seed)
        while (session.next()) session.dispatch(policy.decide(session.situation()))
        replans += session.replans
        world.arrivals.forEach((_, request) => {
          const until = session.simulation.outcomes[request].lastTokenSeconds
          const bound = boundOf(problem, world, request, until)
          const { cost } = session.result(request)
          expect(cost, `${policy.name}, seed ${seed}, request ${request}`).toBeGreaterThanOrEqual(
            bound * (1 - 1e-9),
          )
        })
      }
    }
    expect(replans).toBeGreaterThan(100)
  })
})
