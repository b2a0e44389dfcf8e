import { describe, expect, it } from 'vitest'
import { randomStream } from '../../src/core/random.ts'
import { fitsEdge } from '../../src/plan/price/memory.ts'
import { pairUnits } from '../../src/plan/price/pair.ts'
import { uniformPlan, EDGE, CLOUD, type Plan } from '../../src/plan/plan.ts'
import type { DecisionProblem } from '../../src/plan/price/problem.ts'
import { EdgeMemory, pinnedNeed } from '../../src/sim/memory.ts'
import { randomProblem } from '../plan/randomProblem.ts'

const LAYERS = 4

/** Only the pinned ends are on the edge: what some plan must always be. */
function least({ pair, edgeLayersFirst }: DecisionProblem): Plan {
  const plan = uniformPlan(LAYERS, pairUnits(pair), EDGE)
  plan.unitsOnCloud.fill(pairUnits(pair), edgeLayersFirst)
  plan.ffn.fill(1, edgeLayersFirst)
  return plan
}

/** The first layers on the edge, at least the pinned ones; after them the cloud. */
function cut({ pair }: DecisionProblem, layers: number): Plan {
  const plan = uniformPlan(LAYERS, pairUnits(pair), EDGE)
  plan.unitsOnCloud.fill(pairUnits(pair), layers)
  plan.ffn.fill(1, layers)
  if (layers === 0) return { ...plan, embed: CLOUD, head: CLOUD }
  return plan
}

describe('EdgeMemory', () => {
  it('always leaves room for the pinned ends, whatever was dispatched, re-planned and finished before', () => {
    let tight = 0
    for (let seed = 0; seed < 40; seed++) {
      const random = randomStream(seed, 'test/sim/memory')
      const shape = { layers: LAYERS, units: 2 }
      const problem = { ...randomProblem(random, shape, 'mean'), edgeLayersFirst: 1 + random.integer(2) }
      const { contextTokens } = problem.pair.model
      const maxInFlight = 1 + random.integer(4)
      const { weightBytes, kvBytes } = pinnedNeed(problem)
      const limit = (weightBytes + maxInFlight * kvBytes) * (1 + 2 * random.uniform() ** 3)
      const memory = new EdgeMemory(problem, limit, maxInFlight, random.uniform() < 0.5)
      const flights: { request: number; tokens: number }[] = []
      for (let request = 0; request < 60; request++) {
        if (flights.length === maxInFlight) {
          const [done] = flights.splice(random.integer(flights.length), 1)
          memory.release(done.request)
        }
        const again = flights.length > 0 && random.uniform() < 0.3
        const flight = again
          ? flights[random.integer(flights.length)]
          : { request, tokens: 1 + random.integer(contextTokens) }
        if (!again) flights.push(flight)
        const memoryBytes = memory.freeBytes(flight.tokens, again ? flight.request : -1)
        const options = { memoryBytes, reservedTokens: flight.tokens }
        expect(fitsEdge(problem.pair, least(problem), options), `seed ${seed}, request ${request}`).toBe(true)
        let layers = problem.edgeLayersFirst + random.integer(LAYERS + 1 - problem.edgeLayersFirst)
        while (!fitsEdge(problem.pair, cut(problem, layers), options)) {
          layers--
          tight++
        }
        memory.take(flight.request, cut(problem, layers), flight.tokens)
      }
    }
    expect(tight).toBeGreaterThan(100)
  })
})
