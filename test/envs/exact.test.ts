import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CHAIN, ChainModel } from './chainModel.ts'
import type { ChainParameters, FiniteChain } from './chainModel.ts'
import { InputError } from '../../src/core/errors.ts'
import { averageCostOf, optimalAverageCost } from './exact.ts'

/** A line of one server, at most `room` requests in all, where nothing is decided; a refusal costs 7. */
function line(arrival: number, service: number, room: number): FiniteChain {
  return {
    size: room + 1,
    choices: () => null,
    costPerSecond: (n) => n,
    events: (n) => [
      { perSecond: arrival, cost: n === room ? 7 : 0, next: Math.min(n + 1, room) },
      ...(n > 0 ? [{ perSecond: service, cost: 0, next: n - 1 }] : []),
    ],
  }
}

/**
 * The average cost by another road: the stationary distribution of the embedded generator, by Gaussian
 * elimination; instants are walked through to where they end, and what they cost goes to the event.
 */
function stationaryCost(chain: FiniteChain, policy: Int32Array): number {
  const landing = (state: number): { state: number; cost: number } => {
    const choices = chain.choices(state)
    if (choices === null) return { state, cost: 0 }
    const { next, cost } = choices.find(({ action }) => action === policy[state])!
    const rest = landing(next)
    return { state: rest.state, cost: cost + rest.cost }
  }
  const timed = Array.from({ length: chain.size }, (_, i) => i).filter((i) => chain.choices(i) === null)
  const place = new Map(timed.map((state, i) => [state, i]))
  const n = timed.length
  // Columns of Q^T pi = 0; the last equation is replaced by sum pi = 1.
  const rows = Array.from({ length: n }, () => new Float64Array(n + 1))
  const costs = timed.map((state, i) => {
    let cost = chain.costPerSecond(state)
    for (const event of chain.events(state)) {
      const { state: to, cost: more } = landing(event.next)
      rows[place.get(to)!][i] += event.perSecond
      rows[i][i] -= event.perSecond
      cost += event.perSecond * (event.cost + more)
    }
    return cost
  })
  rows[n - 1].fill(1)
  const pi = eliminate(rows)
  return costs.reduce((sum, cost, i) => sum + cost * pi[i], 0)
}

function eliminate(rows: Float64Array[]): number[] {
  const n = rows.length
  for (let k = 0; k < n; k++) {
    let pivot = k
    for (let i = k + 1; i < n; i++) if (Math.abs(rows[i][k]) > Math.abs(rows[pivot][k])) pivot = i
    ;[rows[k], rows[pivot]] = [rows[pivot], rows[k]]
    for (let i = 0; i < n; i++) {
      const factor = rows[i][k] / rows[k][k]
      if (i !== k && factor !== 0) for (let j = k; j <= n; j++) rows[i][j] -= factor * rows[k][j]
    }
  }
  return rows.map((row, i) => row[n] / row[i])
}

test('a line of one server (M/M/1/K) costs what its formula says', () => {
  const [arrival, service, room] = [0.7, 1, 9]
  const load = arrival / service
  const weights = Array.from({ length: room + 1 }, (_, n) => load ** n)
  const total = weights.reduce((sum, w) => sum + w, 0)
  const mean = weights.reduce((sum, w, n) => sum + n * w, 0) / total
  const expected = mean + (7 * arrival * weights[room]) / total
  expect(averageCostOf(line(arrival, service, room), new Int32Array(room + 1)).costPerSecond).toBeCloseTo(
    expected,
    8,
  )
})

const positive = fc.double({ min: 0.1, max: 2, noNaN: true })
const pair = fc.tuple(positive, positive)
const parameters: fc.Arbitrary<ChainParameters> = fc.record({
  waitingRoom: fc.integer({ min: 1, max: 4 }),
  cloudRoom: fc.integer({ min: 1, max: 2 }),
  arrivals: pair,
  bursts: pair,
  edge: positive,
  exit: positive,
  cloud: pair,
  tenants: pair,
  latencyCost: positive,
  holdingCost: positive,
  exitCost: positive,
  cloudCost: positive,
  refusalCost: fc.double({ min: 0, max: 20, noNaN: true }),
})

test('the cost of a policy is that of its stationary distribution, and the optimum is below all of them', () => {
  fc.assert(
    fc.property(parameters, fc.array(fc.nat(2), { minLength: 8, maxLength: 8 }), (given, taste) => {
      const model = new ChainModel(given)
      const any = model.table(({ waiting, cloud, burst, tenants }) => {
        return Math.min(
          taste[(waiting + 3 * cloud + 2 * burst + tenants) % 8],
          cloud < given.cloudRoom ? 2 : 1,
        )
      })
      const best = optimalAverageCost(model)
      for (const policy of [any, model.myopic(), best.policy]) {
        const { costPerSecond, bounds } = averageCostOf(model, policy)
        expect(costPerSecond / stationaryCost(model, policy)).toBeCloseTo(1, 7)
        expect(costPerSecond).toBeGreaterThan(best.costPerSecond * (1 - 1e-8))
        expect(bounds[0]).toBeLessThanOrEqual(bounds[1])
      }
      expect(averageCostOf(model, best.policy).costPerSecond / best.costPerSecond).toBeCloseTo(1, 7)
    }),
    { numRuns: 25 },
  )
})

test('the optimum is the best of all policies of a chain small enough to try them all', () => {
  const model = new ChainModel({ ...CHAIN, waitingRoom: 1, cloudRoom: 1 })
  const options = model.decisions.map((state) => model.choices(state)!.map(({ action }) => action))
  const policy = model.table(() => 0)
  let least = Infinity
  const tryFrom = (i: number): void => {
    if (i === options.length)
      least = Math.min(least, averageCostOf(model, policy, { tolerance: 1e-7 }).costPerSecond)
    else
      for (const action of options[i]) {
        policy[model.decisions[i]] = action
        tryFrom(i + 1)
      }
  }
  tryFrom(0)
  expect(optimalAverageCost(model).costPerSecond / least).toBeCloseTo(1, 6)
})

describe('what has no answer is refused', () => {
  const model = new ChainModel(CHAIN)
  test('an action that is not allowed', () => {
    expect(() =>
      averageCostOf(
        model,
        model.table(() => 2),
      ),
    ).toThrow(InputError)
  })

  test('choices that lead round in a circle', () => {
    const chain: FiniteChain = {
      ...line(1, 2, 2),
      choices: (state) => (state === 1 ? [{ action: 0, cost: 0, next: 1 }] : null),
    }
    expect(() => optimalAverageCost(chain)).toThrow(/circle/)
  })

  test('bounds that do not meet in the sweeps allowed', () => {
    expect(() => optimalAverageCost(model, { maxSweeps: 3 })).toThrow(/not done after 3 sweeps/)
  })
})
