import { describe, expect, it } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import { PlanDecoder } from '../../../src/policy/action/planDecoder.ts'
import { edgeMemory } from '../../../src/plan/price/memory.ts'
import type { LatencyForm } from '../../../src/plan/price/objective.ts'
import { pairUnits } from '../../../src/plan/price/pair.ts'
import { CLOUD, EDGE, uniformPlan } from '../../../src/plan/plan.ts'
import { cloudOnly, edgeOnly } from '../../../src/plan/planners/fixed.ts'
import { driftPlusPenalty, joinShortestDelay, perStateDp, priced } from '../../../src/plan/planners/priced.ts'
import type { DecisionProblem } from '../../../src/plan/price/problem.ts'
import type { Policy, Situation } from '../../../src/plan/price/situation.ts'
import { CostAccrual } from '../../../src/sim/accrual.ts'
import { createFast } from '../../../src/sim/fast.ts'
import { createReference } from '../../../src/sim/reference.ts'
import { Episode } from '../../../src/sim/episode.ts'
import type { SimulationFactory, EpisodeInputs } from '../../../src/sim/types.ts'
import { createLink } from '../../../src/trace/link.ts'
import {
  FORMS,
  outageWorld,
  randomProblem,
  randomWalk,
  sessionTerms,
  wholeEdgeBytes,
} from '../../plan/randomProblem.ts'

/** A problem whose cloud is far faster than its edge, where time is all that counts. */
function fastCloud(): DecisionProblem {
  for (let seed = 0; ; seed++) {
    const problem = randomProblem(randomStream(seed, 'fast cloud'), { layers: 4, units: 2 }, 'mean')
    const { edge, cloud } = problem.pair
    if (edge.ffnSeconds('whole', 1) < 5 * cloud.ffnSeconds('whole', 1)) continue
    const weights = { latency: 1, energy: 0, cloud: 0, bytes: 0, accuracy: 1 }
    return { ...problem, earlyExit: false, objective: { weights, latency: { form: 'mean' } } }
  }
}

/** One request of 60 tokens. The link fails at `failSeconds` for 60 s. */
function failingWorld(
  problem: DecisionProblem,
  failSeconds: number,
  outageSeconds: number | null,
): EpisodeInputs {
  const rates = (): Float64Array => Float64Array.of(1e9, 0, 1e9)
  return {
    ...outageWorld(randomStream(1, 'caught'), problem, 1),
    tenants: { timeSeconds: Float64Array.of(0), value: Float64Array.of(0) },
    link: createLink({
      timeSeconds: Float64Array.of(0, failSeconds, failSeconds + 60, 1000),
      upBitsPerSecond: rates(),
      downBitsPerSecond: rates(),
      rttSeconds: new Float64Array(3).fill(0.001),
      label: 'failing',
    }),
    arrivals: [
      {
        arrivalSeconds: 0,
        promptTokens: 20,
        outputTokens: 60,
        predictedOutputTokens: 60,
        predictedOutputSd: 10,
      },
    ],
    outageSeconds,
  }
}

/** The same: the link fails when about half of the tokens that stream from the cloud have come. */
function caughtWorld(problem: DecisionProblem, outageSeconds: number | null): EpisodeInputs {
  const session = run(problem, failingWorld(problem, 500, null), cloudOnly(problem))
  const { firstTokenSeconds, lastTokenSeconds } = session.simulation.outcomes[0]
  return failingWorld(problem, (firstTokenSeconds + lastTokenSeconds) / 2, outageSeconds)
}

function run(
  problem: DecisionProblem,
  world: EpisodeInputs,
  policy: Policy,
  seen: (session: Episode, situation: Situation) => void = () => undefined,
  create: SimulationFactory = createFast,
): Episode {
  const session = new Episode(problem, world, sessionTerms(), create)
  policy.reset?.(0)
  while (session.next()) {
    const situation = session.situation()
    seen(session, situation)
    session.dispatch(policy.decide(situation))
  }
  return session
}

describe('a request caught by an outage', () => {
  const problem = fastCloud()
  const units = pairUnits(problem.pair)

  it.each([
    ['per-state DP', perStateDp],
    ['the priced planner', (one: DecisionProblem) => priced(one, [0, 0, 0, 0])],
    ['drift-plus-penalty', (one: DecisionProblem) => driftPlusPenalty(one, 1)],
    ['join-shortest-delay', joinShortestDelay],
  ])('is finished on the edge by %s, long before the link is back', (_, planner) => {
    const waiting = run(problem, caughtWorld(problem, null), planner(problem))
    const situations: Situation[] = []
    const replanned = run(problem, caughtWorld(problem, 3), planner(problem), (_, s) => situations.push(s))
    expect(situations.map((situation) => situation.replanning)).toEqual([false, true])
    expect(waiting.plans[0]?.head).toBe(CLOUD)
    expect(replanned.plans[0]).toEqual(uniformPlan(4, units, EDGE))
    expect(replanned.replans).toBe(1)
    const [late, soon] = [waiting, replanned].map((session) => session.result(0))
    expect(late.e2eSeconds).toBeGreaterThan(60)
    expect(soon.e2eSeconds).toBeLessThan(10)
    expect(soon.ttftSeconds).toBe(late.ttftSeconds)
    // All tokens were delivered: the edge made those that were lacking.
    expect(replanned.simulation.totals.finished).toBe(1)
    const [dispatch, replan] = situations
    expect(replan.deliveredTokens).toBeGreaterThan(0)
    expect(replan.deliveredTokens).toBeLessThan(60)
    expect(replan.promptTokens).toBe(20 + replan.deliveredTokens)
    expect(replan.predictedOutputTokens).toBe(60 - replan.deliveredTokens)
    expect(replan.waitedSeconds).toBe(replan.nowSeconds)
    expect([replan.waitingRequests, replan.inFlight]).toEqual([1, 0])
    expect([replan.edgeBacklogSeconds, replan.cloudBacklogSeconds]).toEqual([0, 0])
    expect(replan.reservedTokens).toBe(dispatch.reservedTokens)
    expect(replan.freeMemoryBytes).toBe(dispatch.freeMemoryBytes)
  })

  it('goes on when the plan stays as it is', () => {
    for (const planner of [cloudOnly, edgeOnly]) {
      const [with3, without] = [3, null].map((outageSeconds) =>
        run(problem, caughtWorld(problem, outageSeconds), planner(problem)),
      )
      expect(with3.replans).toBe(0)
      expect(with3.result(0)).toEqual(without.result(0))
    }
    // An equal plan that is another object is the plan it has.
    const equal: Policy = { name: 'equal', decide: () => uniformPlan(4, units, CLOUD) }
    expect(run(problem, caughtWorld(problem, 3), equal).replans).toBe(0)
  })

  it('does not disturb the plan that per-state DP holds on to', () => {
    const policy = perStateDp(problem, 0.5)
    let first: Situation | null = null
    run(problem, caughtWorld(problem, 3), policy, (_, situation) => (first ??= situation))
    expect(policy.decide(first!)).toEqual(uniformPlan(4, units, CLOUD))
  })

  it('leaves the work that is left to be seen by the next decision', () => {
    const world = caughtWorld(problem, 3)
    const failSeconds = world.link.nextChangeSeconds(0)
    const next = { ...world.arrivals[0], arrivalSeconds: failSeconds + 3.0001 }
    const two = { ...world, arrivals: [world.arrivals[0], next], maxInFlight: 2 }
    const situations: Situation[] = []
    run(problem, two, perStateDp(problem), (_, situation) => situations.push(situation))
    const [, replan, dispatch] = situations
    expect([replan.replanning, dispatch.replanning]).toEqual([true, false])
    expect(replan.edgeBacklogSeconds).toBe(0)
    // Decoding the tokens that were lacking takes at least their FFN seconds, and the whole prompt's work is one pass.
    const lacking = 59 - replan.deliveredTokens
    const ffn = lacking * 4 * problem.pair.edge.ffnSeconds('whole', 1)
    expect(dispatch.edgeBacklogSeconds).toBeGreaterThan(ffn)
    expect(dispatch.cloudBacklogSeconds).toBe(0)
  })
})

interface Watched {
  readonly session: Episode
  readonly accrual: CostAccrual
}

/** Random plans, in the cloud as a rule; outages change them. */
function restless(
  seed: number,
  form: LatencyForm['form'],
  limit: (problem: DecisionProblem) => number,
  watch: (session: Episode, world: EpisodeInputs, inFlight: ReadonlySet<number>) => void = () => undefined,
): Watched & { problem: DecisionProblem; world: EpisodeInputs } {
  const random = randomStream(seed, `restless ${form}`)
  const problem = randomProblem(random, { layers: 1 + random.integer(4), units: 1 + random.integer(3) }, form)
  const world = outageWorld(random, problem, 2 + random.integer(8))
  const terms = sessionTerms({ memoryBytes: limit(problem), preloaded: random.uniform() < 0.5 })
  const session = new Episode(problem, world, terms, seed % 2 === 0 ? createFast : createReference)
  const accrual = new CostAccrual(problem.objective, problem.pair.power)
  const decoder = new PlanDecoder(problem)
  const cloud = cloudOnly(problem)
  const inFlight = new Set<number>()
  session.onFinish = (request) => {
    inFlight.delete(request)
    accrual.finished(session.simulation.outcomes[request], world.arrivals[request].arrivalSeconds)
  }
  while (session.next()) {
    const situation = session.situation()
    const outcome = session.simulation.outcomes[session.request]
    const before = outcome.accuracyLoss
    const walk = situation.replanning || random.uniform() < 0.4
    session.dispatch(walk ? randomWalk(random, decoder, situation) : cloud.decide(situation))
    if (situation.replanning) accrual.replanned(before, outcome.accuracyLoss)
    else accrual.dispatched(outcome.accuracyLoss)
    inFlight.add(session.request)
    watch(session, world, inFlight)
  }
  return { session, accrual, problem, world }
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

describe('a session with re-plans loses nothing', () => {
  it.each(FORMS)('the cost accrued is the sum of its requests, %s latency', (form) => {
    let replans = 0
    for (let seed = 0; seed < 40; seed++) {
      const { session, accrual, problem, world } = restless(seed, form, () => 1e12)
      replans += session.replans
      const { totals, now } = session.simulation
      const results = world.arrivals.map((_, request) => session.result(request))
      const idle = problem.objective.weights.energy * problem.pair.power.idleWatts * now
      const cost = sum(results.map((result) => result.cost)) + idle
      expect(accrual.cost(totals, now) / cost, `seed ${seed}`).toBeCloseTo(1, 9)
      expect(totals.finished).toBe(world.arrivals.length)
    }
    expect(replans).toBeGreaterThan(20)
  })

  it('edge memory is never exceeded, and what runs is resident', () => {
    let replans = 0
    for (let seed = 0; seed < 60; seed++) {
      const limit = (problem: DecisionProblem) =>
        wholeEdgeBytes(problem.pair, 100) * (0.02 + (seed % 16) / 10)
      const { session } = restless(seed, 'mean', limit, ({ residency, plans }, world, inFlight) => {
        const running = [...inFlight].map((request) => ({ request, plan: plans[request]! }))
        const { pair } = problemOf(seed)
        const kv = running.map(({ request, plan }) => {
          const tokens = Math.min(pair.model.contextTokens, world.arrivals[request].promptTokens + 40)
          return edgeMemory(pair, plan).kvBytesPerToken * tokens
        })
        expect(residency.residentBytes() + sum(kv), `seed ${seed}`).toBeLessThanOrEqual(
          limit(problemOf(seed)) * (1 + 1e-12),
        )
        const needed = residency.neededBytes(running.map(({ plan }) => plan))
        expect(residency.residentBytes()).toBeGreaterThanOrEqual(needed - 1e-3)
      })
      replans += session.replans
    }
    expect(replans).toBeGreaterThan(20)
  })
})

/** The problem that restless() draws for a seed with mean latency. */
function problemOf(seed: number): DecisionProblem {
  const random = randomStream(seed, 'restless mean')
  return randomProblem(random, { layers: 1 + random.integer(4), units: 1 + random.integer(3) }, 'mean')
}
