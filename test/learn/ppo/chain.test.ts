import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CHAIN_SETTINGS, gapPercent, trainOnChain, tunedPrices } from '../../../bench/chain.ts'
import { VectorChain } from '../../envs/chain.ts'
import { CHAIN, ChainModel, EDGE } from '../../envs/chainModel.ts'
import { openEngine } from '../../../src/core/engine/open.ts'
import type { Engine } from '../../../src/core/engine/types.ts'
import type { PpoSettings } from '../../../src/learn/ppo/config.ts'
import { optimalAverageCost } from '../../envs/exact.ts'
import { generalisedAdvantages } from '../../../src/learn/ppo/gae.ts'
import { createTrainer } from '../../../src/learn/ppo/ppo.ts'

const model = new ChainModel(CHAIN)
const optimum = optimalAverageCost(model).costPerSecond
const gap = (policy: Int32Array): number => gapPercent(model, policy, optimum)

let engine: Engine
beforeAll(async () => void (engine = await openEngine('native')))
afterAll(() => engine.close())

test('there is something to win: the per-state choice is 5-22 % off, tuned prices 0.3-3.3 %', () => {
  const [myopic, priced] = [gap(model.myopic()), gap(tunedPrices(model).policy)]
  expect(gap(model.table(() => EDGE))).toBeGreaterThan(myopic)
  expect(myopic).toBeGreaterThan(5)
  expect(myopic).toBeLessThan(22)
  expect(priced).toBeGreaterThan(0.3)
  expect(priced).toBeLessThan(3.3)
})

describe('a trained policy comes within 2 % of the true long-run optimum', () => {
  test.each([1, 2, 3])('seed %i', { timeout: 120_000 }, async (seed) => {
    const excess = gap(await trainOnChain(engine, { seed }))
    expect(excess).toBeGreaterThanOrEqual(-1e-6)
    expect(excess).toBeLessThan(2)
  })

  test('which it does not with a flipped advantage', { timeout: 120_000 }, async () => {
    const onAdvantages = (advantages: Float64Array): void =>
      advantages.forEach((value, i) => (advantages[i] = -value))
    const updates = Math.ceil(CHAIN_SETTINGS.totalUpdates / 4)
    expect(gap(await trainOnChain(engine, { totalUpdates: updates }, { onAdvantages }))).toBeGreaterThan(22)
  })
})

describe('two critics with one discount are one critic', () => {
  const real = fc.double({ min: -5, max: 5, noNaN: true })
  const rate = fc.double({ min: 0, max: 1, noNaN: true })

  /** Advantages of `performance` + weight x `stability`, from two critics and from one whose values are so mixed. */
  const both = fc
    .record({
      steps: fc.integer({ min: 1, max: 10 }),
      envs: fc.integer({ min: 1, max: 3 }),
      weight: fc.double({ min: 0, max: 3, noNaN: true }),
    })
    .chain(({ steps, envs, weight }) => {
      const numbers = (length: number, of = real) =>
        fc.array(of, { minLength: length, maxLength: length }).map((list) => Float64Array.from(list))
      const flags = numbers(steps * envs, fc.constantFrom(0, 0, 0, 1)).map((list) => Uint8Array.from(list))
      const critic = fc.record({
        rewards: numbers(steps * envs),
        values: numbers((steps + 1) * envs),
        finalValues: numbers(steps * envs),
      })
      const shared = fc.record({
        tauSeconds: numbers(steps * envs, fc.double({ min: 0, max: 3, noNaN: true })),
        terminated: flags,
        truncated: flags,
      })
      return fc.record({
        sizes: fc.constant({ steps, envs, weight }),
        shared,
        performance: critic,
        stability: critic,
      })
    })

  const advantages = (input: Parameters<typeof generalisedAdvantages>[0]): Float64Array => {
    const out = new Float64Array(input.rewards.length)
    generalisedAdvantages(input, out)
    return out
  }

  test('advantages of the sum are the sum of the advantages', () => {
    fc.assert(
      fc.property(both, rate, rate, ({ sizes, shared, performance, stability }, discountRate, lambda) => {
        const { steps, envs, weight } = sizes
        const rates = { steps, envs, ...shared, discountRate, lambda }
        const mix = (a: Float64Array, b: Float64Array): Float64Array => a.map((x, i) => x + weight * b[i])
        const apart = mix(advantages({ ...rates, ...performance }), advantages({ ...rates, ...stability }))
        const one = advantages({
          ...rates,
          rewards: mix(performance.rewards, stability.rewards),
          values: mix(performance.values, stability.values),
          finalValues: mix(performance.finalValues, stability.finalValues),
        })
        apart.forEach((value, i) => expect(value).toBeCloseTo(one[i], 8))
      }),
    )
  })

  /** The mixed advantages of a training's first update, in which all critics still say 0. */
  async function firstAdvantages(change: Partial<PpoSettings>): Promise<Float64Array> {
    let seen = new Float64Array(0)
    const onAdvantages = (mixed: Float64Array): void => void (seen = mixed.slice())
    const env = new VectorChain(4)
    const settings = { ...CHAIN_SETTINGS, stepsPerUpdate: 64, minibatch: 64, ...change }
    const trainer = await createTrainer(settings, env, engine, { onAdvantages })
    await trainer.update()
    await trainer.close()
    return seen
  }

  const distance = (a: Float64Array, b: Float64Array): number =>
    Math.max(...a.map((value, i) => Math.abs(value - b[i])))

  test('and so it is in the trainer, whose critics differ as soon as their discounts do', async () => {
    const two = await firstAdvantages({ stabilityWeight: 0.7 })
    const one = await firstAdvantages({ stabilityWeight: 0.7, dualCritics: false })
    expect(two.length).toBe(256)
    expect(distance(two, one)).toBeLessThan(1e-9)
    const farSighted = await firstAdvantages({
      stabilityWeight: 0.7,
      discountRate: { performance: 0.3, stability: 0.03 },
    })
    expect(distance(farSighted, one)).toBeGreaterThan(0.1)
  })
})
