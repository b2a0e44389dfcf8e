import { describe, expect, it } from 'vitest'
import { randomStream, type RandomStream } from '../../../src/core/random.ts'
import { PlanDecoder } from '../../../src/policy/action/planDecoder.ts'
import { edgeMemory } from '../../../src/plan/price/memory.ts'
import { pairUnits } from '../../../src/plan/price/pair.ts'
import { CLOUD, EDGE, uniformPlan, type Plan } from '../../../src/plan/plan.ts'
import type { DecisionProblem } from '../../../src/plan/price/problem.ts'
import { CostAccrual } from '../../../src/sim/accrual.ts'
import { createFast } from '../../../src/sim/fast.ts'
import { createReference } from '../../../src/sim/reference.ts'
import { Episode, type EpisodeTerms } from '../../../src/sim/episode.ts'
import type { SimulationFactory, EpisodeInputs } from '../../../src/sim/types.ts'
import {
  FORMS,
  randomProblem,
  randomWalk,
  randomWorld,
  sessionTerms,
  wholeEdgeBytes,
} from '../../plan/randomProblem.ts'

type Watch = (session: Episode, inFlight: ReadonlySet<number>) => void

/** Runs random walks through the masks to the end of the world; `watch` sees every dispatch. */
function play(
  random: RandomStream,
  problem: DecisionProblem,
  world: EpisodeInputs,
  terms: EpisodeTerms,
  watch: Watch = () => undefined,
  create: SimulationFactory = createFast,
): { session: Episode; accrual: CostAccrual } {
  const session = new Episode(problem, world, terms, create)
  const accrual = new CostAccrual(problem.objective, problem.pair.power)
  const decoder = new PlanDecoder(problem)
  const inFlight = new Set<number>()
  session.onFinish = (request) => {
    inFlight.delete(request)
    accrual.finished(session.simulation.outcomes[request], world.arrivals[request].arrivalSeconds)
  }
  while (session.next()) {
    const { request } = session
    session.dispatch(randomWalk(random, decoder, session.situation()))
    accrual.dispatched(session.simulation.outcomes[request].accuracyLoss)
    inFlight.add(request)
    watch(session, inFlight)
  }
  return { session, accrual }
}

const sum = <T>(items: readonly T[], of: (item: T) => number): number =>
  items.reduce((total, item) => total + of(item), 0)

describe('a session loses nothing', () => {
  it.each(FORMS)('its requests add up to its totals and to the cost accrued, %s latency', (form) => {
    for (let seed = 0; seed < 25; seed++) {
      const random = randomStream(seed, `conservation ${form}`)
      const problem = randomProblem(
        random,
        { layers: 1 + random.integer(4), units: 1 + random.integer(3) },
        form,
      )
      const world = randomWorld(random, problem, 1 + random.integer(8))
      const create = seed % 2 === 0 ? createFast : createReference
      const { session, accrual } = play(random, problem, world, sessionTerms(), undefined, create)
      const { totals, outcomes, now } = session.simulation
      const results = world.arrivals.map((_, request) => session.result(request))
      const { power } = problem.pair
      const close = (a: number, b: number, what: string): void => {
        expect(Math.abs(a - b), `${what}, seed ${seed}: ${a} against ${b}`).toBeLessThanOrEqual(
          1e-9 * Math.max(1, Math.abs(b)),
        )
      }
      close(
        sum(results, (r) => r.upBytes),
        totals.upBytes,
        'upBytes',
      )
      close(
        sum(results, (r) => r.downBytes),
        totals.downBytes,
        'downBytes',
      )
      close(
        sum(results, (r) => r.cloudSeconds),
        totals.cloudBusySeconds,
        'cloudSeconds',
      )
      close(
        sum([...outcomes], (o) => o.edgeBusySeconds),
        totals.edgeBusySeconds,
        'edgeSeconds',
      )
      const work = (power.busyWatts - power.idleWatts) * totals.edgeBusySeconds
      const radio =
        power.radioJoulesPerByte * (totals.upBytes + totals.downBytes) +
        power.radioJoulesPerMessage * totals.messages
      close(
        sum(results, (r) => r.edgeJoules),
        work + radio,
        'edgeJoules',
      )
      const idle = problem.objective.weights.energy * power.idleWatts * now
      close(accrual.cost(totals, now), sum(results, (r) => r.cost) + idle, 'cost')
    }
  })
})

/** K/V reserved on the edge for one request. */
function reservedBytes(
  problem: DecisionProblem,
  world: EpisodeInputs,
  terms: EpisodeTerms,
  request: number,
  plan: Plan,
) {
  const tokens = Math.min(
    problem.pair.model.contextTokens,
    world.arrivals[request].promptTokens + terms.maxNewTokens,
  )
  return edgeMemory(problem.pair, plan).kvBytesPerToken * tokens
}

/** Bytes of every weight that some plan in flight needs on the edge, the pair's figures added up afresh. */
function weightsNeeded(problem: DecisionProblem, plans: readonly Plan[]): number {
  const { pair } = problem
  const units = pairUnits(pair)
  const most = plans.reduce(
    (all, plan) => {
      const depth = plan.exit?.layer ?? pair.model.layers
      for (let layer = 0; layer < depth; layer++) {
        all.units[layer] = Math.max(all.units[layer], units - plan.unitsOnCloud[layer])
        if (plan.ffn[layer] !== 1) all.first[layer] = 1
        if (plan.ffn[layer] === 0) all.second[layer] = 1
      }
      return {
        ...all,
        embed: all.embed || plan.embed === EDGE,
        head: all.head || (plan.exit === null && plan.head === EDGE),
        exits: plan.exit === null ? all.exits : all.exits.add(plan.exit.layer),
      }
    },
    {
      units: new Array<number>(pair.model.layers).fill(0),
      first: new Array<number>(pair.model.layers).fill(0),
      second: new Array<number>(pair.model.layers).fill(0),
      embed: false,
      head: false,
      exits: new Set<number>(),
    },
  )
  const bytesOf = (change: Partial<Plan>): number => {
    const none = uniformPlan(pair.model.layers, units, CLOUD)
    return edgeMemory(pair, { ...none, ...change }).weightBytes
  }
  const one = (ffn: number, unitsOnCloud: number): Partial<Plan> => {
    const plan = uniformPlan(pair.model.layers, units, CLOUD)
    plan.ffn[0] = ffn
    plan.unitsOnCloud[0] = unitsOnCloud
    return { ffn: plan.ffn, unitsOnCloud: plan.unitsOnCloud }
  }
  const first = bytesOf(one(2, units))
  const second = bytesOf(one(0, units)) - first
  const unit = bytesOf(one(1, units - 1))
  const ends = bytesOf({ embed: most.embed ? EDGE : CLOUD, head: most.head ? EDGE : CLOUD })
  const of = (counts: readonly number[]): number => sum([...counts], (count) => count)
  // Each exit has a head of its own, as large as the LM head.
  const exitHeads = most.exits.size * bytesOf({ head: EDGE })
  return ends + exitHeads + of(most.units) * unit + of(most.first) * first + of(most.second) * second
}

describe('edge memory', () => {
  it.each([true, false])('is never exceeded, and what runs is resident (preloaded: %s)', (preloaded) => {
    let evictions = 0
    for (let seed = 0; seed < 40; seed++) {
      const random = randomStream(seed, 'memory')
      const problem = randomProblem(
        random,
        { layers: 1 + random.integer(4), units: 1 + random.integer(3) },
        'mean',
      )
      const world = randomWorld(random, problem, 10)
      const memoryBytes = wholeEdgeBytes(problem.pair, 100) * (0.02 + 1.6 * random.uniform())
      const terms = sessionTerms({ memoryBytes, preloaded })
      let resident = 0
      const { session } = play(random, problem, world, terms, ({ residency, plans }, inFlight) => {
        const running = [...inFlight].map((request) => ({ request, plan: plans[request]! }))
        const kv = sum(running, ({ request, plan }) => reservedBytes(problem, world, terms, request, plan))
        expect(residency.residentBytes() + kv, `seed ${seed}`).toBeLessThanOrEqual(memoryBytes * (1 + 1e-12))
        const needed = weightsNeeded(
          problem,
          running.map(({ plan }) => plan),
        )
        expect(residency.neededBytes(running.map(({ plan }) => plan))).toBeCloseTo(needed, 3)
        expect(residency.residentBytes()).toBeGreaterThanOrEqual(needed - 1e-3)
        if (residency.residentBytes() < resident) evictions++
        resident = residency.residentBytes()
      })
      expect(session.simulation.totals.finished).toBe(world.arrivals.length)
    }
    expect(evictions).toBeGreaterThan(10)
  })

  it('always leaves a plan that honours pinned ends, however many are in flight', () => {
    for (let seed = 0; seed < 40; seed++) {
      const random = randomStream(seed, 'pinned memory')
      const drawn = randomProblem(random, { layers: 3, units: 2 }, 'mean')
      const problem = { ...drawn, edgeLayersFirst: random.integer(3), edgeLayersLast: 1 }
      const world = { ...randomWorld(random, problem, 12), maxInFlight: 1 + random.integer(4) }
      const pinned = uniformPlan(3, 2, EDGE)
      for (let layer = problem.edgeLayersFirst; layer < 2; layer++) {
        pinned.unitsOnCloud[layer] = 2
        pinned.ffn[layer] = 1
      }
      const { weightBytes, kvBytesPerToken } = edgeMemory(problem.pair, pinned)
      const least = weightBytes + world.maxInFlight * kvBytesPerToken * problem.pair.model.contextTokens
      const terms = sessionTerms({ memoryBytes: least * (1 + random.uniform()), preloaded: false })
      const { session } = play(random, problem, world, terms, ({ residency, plans }, inFlight) => {
        const kv = sum([...inFlight], (request) =>
          reservedBytes(problem, world, terms, request, plans[request]!),
        )
        expect(residency.residentBytes() + kv).toBeLessThanOrEqual(terms.memoryBytes)
      })
      for (const plan of session.plans) {
        expect(plan?.embed).toBe(EDGE)
        expect(plan?.head).toBe(EDGE)
        plan?.ffn.forEach((mode, layer) => {
          if (layer >= problem.edgeLayersFirst && layer < 2) return
          expect([mode, plan.unitsOnCloud[layer]]).toEqual([0, 0])
        })
      }
    }
  })

  it('pays for loading what is missing once', () => {
    const random = randomStream(1, 'loading')
    const problem = randomProblem(random, { layers: 3, units: 2 }, 'mean')
    const world = { ...randomWorld(random, problem, 2), maxInFlight: 1 }
    const terms = sessionTerms({ preloaded: false })
    const plan = uniformPlan(3, 2, EDGE)
    const session = new Episode(problem, world, terms, createFast)
    while (session.next()) session.dispatch(plan)
    const busy = session.simulation.outcomes.map((outcome) => outcome.edgeBusySeconds)
    const warm = new Episode(problem, world, sessionTerms(), createFast)
    while (warm.next()) warm.dispatch(plan)
    const { weightBytes } = edgeMemory(problem.pair, plan)
    // All on the edge is one segment.
    const loading = problem.pair.edgeSegmentSeconds + weightBytes / problem.pair.edgeLoadBytesPerSecond
    expect(busy[0] - warm.simulation.outcomes[0].edgeBusySeconds).toBeCloseTo(loading, 9)
    expect(busy[1]).toBeCloseTo(warm.simulation.outcomes[1].edgeBusySeconds, 9)
  })
})
