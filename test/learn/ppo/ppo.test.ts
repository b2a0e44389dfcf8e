import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { VectorCartPole } from '../../envs/cartpole.ts'
import { VectorBandit, VectorLayers, VectorSemiMarkov } from '../../envs/tiny.ts'
import type { VectorEnv } from '../../../src/policy/action/vectorEnv.ts'
import { IntegrityError } from '../../../src/core/errors.ts'
import { randomStream } from '../../../src/core/random.ts'
import { openEngine } from '../../../src/core/engine/open.ts'
import type { Engine } from '../../../src/core/engine/types.ts'
import type { PpoSettings } from '../../../src/learn/ppo/config.ts'
import { createTrainer } from '../../../src/learn/ppo/ppo.ts'
import type { Metrics, PolicySnapshot, Trainer, TrainerOptions } from '../../../src/learn/ppo/ppo.ts'
import { KernelPolicy } from '../../../src/policy/actor/kernelAct.ts'

let engine: Engine
beforeAll(async () => void (engine = await openEngine('native')))
afterAll(() => engine.close())

type Tiny = VectorEnv & { best(observation: ArrayLike<number>): number[] }
interface Problem {
  readonly name: string
  readonly make: (count: number) => Tiny
  readonly settings: PpoSettings
}

const nets = { encoder: [32], criticHidden: [32], rowHidden: 32 }
const problems: Problem[] = [
  {
    name: 'contextual bandit',
    make: (count) => new VectorBandit(count),
    settings: {
      ...nets,
      totalUpdates: 40,
      stepsPerUpdate: 32,
      minibatch: 64,
      learningRate: { from: 3e-3, to: 3e-4 },
      entropy: { from: 0.05, to: 0 },
    },
  },
  {
    name: 'layers with rows, masks and prefix features',
    make: (count) => new VectorLayers(count),
    settings: {
      ...nets,
      totalUpdates: 80,
      stepsPerUpdate: 64,
      minibatch: 128,
      learningRate: { from: 3e-3, to: 1e-4 },
      // The second context has a good action one budget away from the best: it takes exploring.
      entropy: { budget: { from: 0.4, to: 0 }, layer: { from: 0.2, to: 0 } },
    },
  },
  {
    name: 'two-state semi-Markov process',
    make: (count) => new VectorSemiMarkov(count, 0.05),
    settings: {
      ...nets,
      totalUpdates: 40,
      stepsPerUpdate: 64,
      minibatch: 128,
      discountRate: 0.05,
      learningRate: { from: 3e-3, to: 3e-4 },
      entropy: { from: 0.02, to: 0 },
    },
  },
]

/** Trains and compares the greedy policy with the best one in every observation of the problem. */
async function mistakes(
  { make, settings }: Problem,
  seed: number,
  options: TrainerOptions = {},
): Promise<string[]> {
  const trainer = await createTrainer({ seed, ...settings }, make(8), engine, options)
  for (let i = 0; i < settings.totalUpdates; i++) await trainer.update()
  await trainer.close()
  const env = make(1)
  const policy = new KernelPolicy(trainer.policy, env.action)
  const stream = randomStream(seed, 'test/mistakes')
  const choices = new Int32Array(env.action.headOf.length)
  const found = new Map<string, string>()
  env.reset(seed)
  for (let i = 0; i < 200; i++) {
    const best = env.best(env.observations).join(' ')
    policy.act(env, 0, null, choices)
    found.set(
      [...env.observations].join(' '),
      choices.join(' ') === best ? '' : `${choices.join(' ')} for ${best}`,
    )
    // Explore: what is judged is the policy in every state, not only in those it prefers.
    for (let row = 0; row < choices.length; row++) {
      const allowed = env.rowInput(0, row, new Float32Array(16), new Uint8Array(8))
      env.choose(0, row, stream.integer(allowed))
    }
    env.step(0)
  }
  return [...found.values()].filter((text) => text !== '')
}

describe('exactly the best policy on 5 of 5 seeds', () => {
  test.each(
    problems.flatMap((problem) => [1, 2, 3, 4, 5].map((seed) => [problem.name, seed, problem] as const)),
  )('%s, seed %i', { timeout: 60_000 }, async (_name, seed, problem) =>
    expect(await mistakes(problem, seed)).toEqual([]),
  )
})

describe('the check can fail', () => {
  test.each(problems.map((problem) => [problem.name, problem] as const))(
    '%s with a flipped advantage',
    { timeout: 60_000 },
    async (_name, problem) => {
      const flip = (advantages: Float64Array): void =>
        advantages.forEach((value, i) => (advantages[i] = -value))
      expect(await mistakes(problem, 1, { onAdvantages: flip })).not.toEqual([])
    },
  )

  test('a learner that ignores tau finds another policy', async () => {
    class Timeless extends VectorSemiMarkov {
      protected override advance(env: number): void {
        super.advance(env)
        this.tauSeconds[env] = 1
      }
    }
    const problem = { ...problems[2], make: (count: number) => new Timeless(count, 0.05) }
    expect(await mistakes(problem, 1)).not.toEqual([])
    expect(VectorSemiMarkov.solve(0.05, true).policy).not.toEqual(VectorSemiMarkov.solve(0.05).policy)
  })
})

describe('exactness', () => {
  const settings: PpoSettings = {
    seed: 5,
    totalUpdates: 10,
    stepsPerUpdate: 20,
    minibatch: 20,
    encoder: [8],
    criticHidden: [8],
    rowHidden: 8,
    learningRate: { from: 1e-3, to: 0 },
  }
  const makers: [string, () => VectorEnv][] = [
    ['layers', () => new VectorLayers(4)],
    ['semi-Markov', () => new VectorSemiMarkov(4, 0.1)],
    ['CartPole', () => new VectorCartPole(4)],
  ]
  const run = async (trainer: Trainer, updates: number): Promise<Metrics[]> => {
    const metrics: Metrics[] = []
    for (let i = 0; i < updates; i++) metrics.push(await trainer.update())
    return metrics
  }

  test.each(makers)(
    '%s: two trainings are byte-identical, and so is one stopped and resumed',
    async (_name, make) => {
      const whole = await createTrainer(settings, make(), engine)
      const metrics = await run(whole, 10)
      const again = await createTrainer(settings, make(), engine)
      expect(await run(again, 10)).toEqual(metrics)
      expect(again.checkpoint()).toEqual(whole.checkpoint())

      const first = await createTrainer(settings, make(), engine)
      await run(first, 5)
      const second = await createTrainer(settings, make(), engine)
      await run(second, 2)
      second.restore(first.checkpoint())
      expect(second.checkpoint()).toEqual(first.checkpoint())
      expect(await run(second, 5)).toEqual(metrics.slice(5))
      expect(second.checkpoint()).toEqual(whole.checkpoint())
      for (const trainer of [whole, again, first, second]) await trainer.close()
    },
  )

  test('another seed gives another training', async () => {
    const one = await createTrainer(settings, new VectorLayers(4), engine)
    const other = await createTrainer({ ...settings, seed: 6 }, new VectorLayers(4), engine)
    expect(await run(one, 1)).not.toEqual(await run(other, 1))
  })

  test('a checkpoint is refused if damaged, or of other settings or another environment', async () => {
    const trainer = await createTrainer(settings, new VectorLayers(4), engine)
    await run(trainer, 1)
    const bytes = trainer.checkpoint()
    const damaged = bytes.slice()
    damaged[Math.floor(bytes.length / 2)] ^= 1
    expect(() => trainer.restore(damaged)).toThrow(IntegrityError)
    const other = await createTrainer({ ...settings, clipRange: 0.1 }, new VectorLayers(4), engine)
    expect(() => other.restore(bytes)).toThrow(/checkpoint: config/)
    const elsewhere = await createTrainer(settings, new VectorCartPole(4), engine)
    expect(() => elsewhere.restore(bytes)).toThrow(/checkpoint: environment/)
    expect(trainer.checkpoint()).toEqual(bytes)
  })

  test('the first gradient step sees the policy that acted: ratios of 1', async () => {
    const trainer = await createTrainer({ ...settings, learningRate: 0 }, new VectorLayers(4), engine)
    const [metrics] = await run(trainer, 1)
    expect(Math.abs(Number(metrics.approxKl))).toBeLessThan(1e-6)
    expect(metrics.clipFraction).toBe(0)
  })

  test('the KL limit ends an update early', async () => {
    const bold = { ...settings, learningRate: 0.02, epochs: 20 }
    const free = await createTrainer(bold, new VectorLayers(4), engine)
    const limited = await createTrainer({ ...bold, targetKl: 0.01 }, new VectorLayers(4), engine)
    expect((await run(free, 1))[0].epochs).toBe(20)
    expect((await run(limited, 1))[0].epochs).toBeLessThan(20)
  })

  test('entropy for a head that does not exist is refused', async () => {
    const misspelt = createTrainer({ ...settings, entropy: { layr: 0.1 } }, new VectorLayers(4), engine)
    await expect(misspelt).rejects.toThrow(/entropy[^]*budget, layer[^]*layr/)
  })

  test('a minibatch that does not divide the rollout is refused', async () => {
    await expect(createTrainer({ ...settings, minibatch: 33 }, new VectorLayers(4), engine)).rejects.toThrow(
      /minibatch/,
    )
  })
})

/** Mean return of 20 greedy episodes. */
function cartPoleReturn(snapshot: PolicySnapshot): number {
  const env = new VectorCartPole(20)
  const policy = new KernelPolicy(snapshot, env.action)
  env.reset(99)
  let total = 0
  for (let n = 0; n < 20; n++) {
    do {
      policy.act(env, n, null)
      env.step(n)
      total += env.performance[n]
    } while (env.terminated[n] === 0 && env.truncated[n] === 0)
  }
  return total / 20
}

test('CartPole is solved at the usual settings', { timeout: 60_000 }, async () => {
  const settings = {
    seed: 1,
    totalUpdates: 120,
    discountRate: -Math.log(0.99),
    dualCritics: false,
    learningRate: { from: 1e-3, to: 0 },
  }
  const trainer = await createTrainer(settings, new VectorCartPole(8), engine)
  expect(cartPoleReturn(trainer.policy)).toBeLessThan(100)
  for (let i = 0; i < 120; i++) await trainer.update()
  expect(cartPoleReturn(trainer.policy)).toBeGreaterThanOrEqual(475)
})
