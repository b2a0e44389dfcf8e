import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { VectorChain } from './chain.ts'
import { CHAIN, CLOUD, ChainModel, EDGE, EXIT } from './chainModel.ts'
import type { ChainParameters } from './chainModel.ts'
import { SingleEnv } from '../../envs/api.ts'
import { checkEnv, checkVectorEnv } from '../../envs/check.ts'
import { InputError } from '../../src/core/errors.ts'
import { averageCostOf } from './exact.ts'

test('it passes the checkers', () => {
  expect(checkVectorEnv(() => new VectorChain(3))).toEqual([])
  expect(checkEnv(() => new SingleEnv(new VectorChain(1, CHAIN, { horizonDecisions: 40 })))).toEqual([])
})

test('every state has a number, and every number a state', () => {
  const model = new ChainModel(CHAIN)
  expect(model.size).toBe(13 * 3 * 5 * 4)
  for (let index = 0; index < model.size; index++) expect(model.index(model.state(index))).toBe(index)
  expect(model.decisions).toHaveLength(12 * 5 * 4)
})

test('the cloud is allowed as long as it has room', () => {
  const env = new VectorChain(1)
  const mask = new Uint8Array(3)
  env.reset(1)
  const at = (cloud: number) => ({ waiting: 2, service: 0, cloud, burst: 0, tenants: 1 }) as const
  env.place(0, at(CHAIN.cloudRoom - 1))
  expect([env.rowInput(0, 0, new Float32Array(0), mask), ...mask]).toEqual([3, 1, 1, 1])
  env.place(0, at(CHAIN.cloudRoom))
  expect([env.rowInput(0, 0, new Float32Array(0), mask), ...mask]).toEqual([2, 1, 1, 0])
  expect(() => env.place(0, { ...at(0), waiting: 0 })).toThrow(RangeError)
})

test('a request sent to the cloud leaves the next decision to be taken at the same instant', () => {
  const env = new VectorChain(1)
  env.reset(1)
  env.place(0, { waiting: 3, service: 0, cloud: 0, burst: 1, tenants: 0 })
  env.choose(0, 0, CLOUD)
  env.step(0)
  expect(env.where(0)).toEqual({ waiting: 2, service: 0, cloud: 1, burst: 1, tenants: 0 })
  expect([env.performance[0], env.stability[0], env.tauSeconds[0]]).toEqual([-CHAIN.cloudCost, 0, 0])
})

/** Mean cost per second of a policy, simulated in batches, with the standard error of the batch means. */
function simulate(parameters: ChainParameters, policy: Int32Array, decisions: number, seed: number) {
  const batches = 40
  const env = new VectorChain(1, parameters, { horizonDecisions: Infinity })
  env.reset(seed)
  const means: { cost: number; seconds: number }[] = []
  for (let batch = 0; batch < batches; batch++) {
    let cost = 0
    let seconds = 0
    for (let i = 0; i < decisions / batches; i++) {
      env.choose(0, 0, policy[env.model.index(env.where(0))])
      env.step(0)
      cost -= env.performance[0] + env.stability[0]
      seconds += env.tauSeconds[0]
    }
    means.push({ cost, seconds })
  }
  const total = (part: 'cost' | 'seconds'): number => means.reduce((sum, batch) => sum + batch[part], 0)
  const mean = total('cost') / total('seconds')
  // Of a ratio: the spread of cost - mean x seconds over the batches (the regenerative method's estimator).
  const squares = means.reduce((sum, { cost, seconds }) => sum + (cost - mean * seconds) ** 2, 0)
  const error = Math.sqrt(squares / (batches - 1) / batches) / (total('seconds') / batches)
  return { mean, error }
}

describe('a simulation of the environment costs what the chain says', () => {
  const model = new ChainModel(CHAIN)
  const policies: [string, Int32Array][] = [
    ['edge only', model.table(() => EDGE)],
    ['early exit only', model.table(() => EXIT)],
    ['myopic', model.myopic()],
    ['prices', model.priced([0.2, 0.4, 0.1, 0.3])],
    ['the cloud while it has room', model.table(({ cloud }) => (cloud < CHAIN.cloudRoom ? CLOUD : EDGE))],
  ]
  test.each(policies)('%s', (_name, policy) => {
    const { mean, error } = simulate(CHAIN, policy, 200_000, 11)
    const exact = averageCostOf(model, policy).costPerSecond
    expect(error / exact).toBeLessThan(0.03)
    expect(Math.abs(mean - exact)).toBeLessThan(4 * error)
  })

  test('and the comparison would notice a rate that is 10 % off', () => {
    const policy = model.myopic()
    const { mean, error } = simulate({ ...CHAIN, edge: CHAIN.edge * 0.9 }, policy, 200_000, 11)
    expect(Math.abs(mean - averageCostOf(model, policy).costPerSecond)).toBeGreaterThan(4 * error)
  })
})

test('the rates out of a state are those of its clocks', () => {
  const model = new ChainModel(CHAIN)
  const state = fc.integer({ min: 0, max: model.size - 1 })
  fc.assert(
    fc.property(state, (index) => {
      const { waiting, service, cloud, burst, tenants } = model.state(index)
      const { arrivals, bursts, tenants: change, edge, exit } = CHAIN
      const total = model.events(index).reduce((sum, event) => sum + event.perSecond, 0)
      const clocks = [arrivals[burst], bursts[burst], change[tenants], [0, edge, exit][service]]
      const expected = clocks.reduce((sum, x) => sum + x, cloud > 0 ? CHAIN.cloud[tenants] : 0)
      expect(total).toBeCloseTo(expected, 12)
      expect(model.choices(index) === null).toBe(waiting === 0 || service !== 0)
    }),
  )
})

test.each([
  ['waitingRoom', { waitingRoom: 0 }],
  ['arrivals', { arrivals: [0.4, 0] as const }],
  ['exitCost', { exitCost: -1 }],
  ['edge', { edge: Number.NaN }],
])('a bad %s is refused by name', (name, change) => {
  const make = (): ChainModel => new ChainModel({ ...CHAIN, ...change })
  expect(make).toThrow(InputError)
  expect(make).toThrow(new RegExp(`chain parameters: ${name}`))
})
