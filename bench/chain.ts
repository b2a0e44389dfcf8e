import { VectorChain } from '../test/envs/chain.ts'
import { ChainModel, CHAIN, EDGE, EXIT } from '../test/envs/chainModel.ts'
import type { FiniteChain } from '../test/envs/chainModel.ts'
import { openEngine } from '../src/core/engine/open.ts'
import type { Engine } from '../src/core/engine/types.ts'
import { averageCostOf, optimalAverageCost } from '../test/envs/exact.ts'
import type { PpoSettings } from '../src/learn/ppo/config.ts'
import { createTrainer } from '../src/learn/ppo/ppo.ts'
import type { TrainerOptions } from '../src/learn/ppo/ppo.ts'
import { KernelPolicy } from '../src/policy/actor/kernelAct.ts'

interface BenchResult {
  readonly name: string
  readonly value: number
  readonly unit: string
}

const ENVS = 16
const SEEDS = [1, 2, 3, 4, 5, 6]
/** Updates of a training in the ablation: enough to differ, too few for all to end at the optimum. */
const ABLATION_UPDATES = 25
/** The rate, per second, of both critics' discount in the plain training: 33 s, long against a burst's 5 s. */
const RATE = 0.03

/** Settings of a training on the chain: 410 thousand decisions, a few seconds. */
export const CHAIN_SETTINGS: PpoSettings = {
  totalUpdates: 100,
  stepsPerUpdate: 256,
  minibatch: 512,
  encoder: [32, 32],
  criticHidden: [32, 32],
  learningRate: { from: 2e-3, to: 1e-4 },
  entropy: { from: 0.02, to: 0 },
  discountRate: RATE,
  lambda: 0.9,
}

/** Two critics against one. What came of it, and what it means, is in docs/learning-checks.md. */
const ABLATIONS: Readonly<Record<string, Partial<PpoSettings>>> = {
  'two critics, equal discounts': {},
  'one critic': { dualCritics: false },
  'two critics, stability far-sighted': { discountRate: { performance: 0.3, stability: RATE } },
  'two critics, performance far-sighted': { discountRate: { performance: RATE, stability: 0.3 } },
  'one critic, near-sighted': { dualCritics: false, discountRate: 0.3 },
}

/** Trains on the chain and returns what the greedy policy does in each of its states. */
export async function trainOnChain(
  engine: Engine,
  settings: Partial<PpoSettings>,
  options: TrainerOptions = {},
): Promise<Int32Array> {
  const config = { ...CHAIN_SETTINGS, ...settings }
  const trainer = await createTrainer(config, new VectorChain(ENVS), engine, options)
  for (let i = 0; i < config.totalUpdates; i++) await trainer.update()
  await trainer.close()
  const env = new VectorChain(1)
  env.reset(0)
  const policy = new KernelPolicy(trainer.policy, env.action)
  const choice = new Int32Array(1)
  return env.tableOf(() => {
    policy.act(env, 0, null, choice)
    return choice[0]
  })
}

/** By how much a policy's exact average cost exceeds the least there is, in percent of it. */
export function gapPercent(chain: FiniteChain, policy: Int32Array, optimum: number): number {
  return 100 * (averageCostOf(chain, policy, { tolerance: 1e-7 }).costPerSecond / optimum - 1)
}

type Prices = [number, number, number, number]
const LADDER = [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4]

/** The four prices with the least average cost: one price after the other on a ladder, until none helps. */
export function tunedPrices(model: ChainModel): { prices: Prices; policy: Int32Array } {
  let prices: Prices = [0, 0, 0, 0]
  let policy = model.priced(prices)
  let { costPerSecond: least, values: from } = averageCostOf(model, policy, { tolerance: 1e-6 })
  for (let improved = true; improved;) {
    improved = false
    for (const i of [1, 0, 2, 3]) {
      for (const price of LADDER) {
        const tried = prices.map((old, k) => (k === i ? price : old)) as Prices
        const table = model.priced(tried)
        const { costPerSecond, values } = averageCostOf(model, table, { tolerance: 1e-6, from })
        from = values
        if (costPerSecond >= least * (1 - 1e-5)) continue
        ;[least, prices, policy, improved] = [costPerSecond, tried, table, true]
      }
    }
  }
  return { prices, policy }
}

/** The small exact chain: its optimum, and how far from it rules and trained policies are. Exact, not simulated. */
export async function run(): Promise<BenchResult[]> {
  const model = new ChainModel(CHAIN)
  const optimum = optimalAverageCost(model).costPerSecond
  const rules: Record<string, Int32Array> = {
    'edge only': model.table(() => EDGE),
    'early exit only': model.table(() => EXIT),
    'per-state choice (myopic)': model.myopic(),
    'four tuned prices': tunedPrices(model).policy,
  }
  const results = [{ name: 'chain: optimum', value: optimum, unit: 'cost/s' }]
  for (const [name, policy] of Object.entries(rules)) {
    results.push({ name: `chain: ${name}, over it`, value: gapPercent(model, policy, optimum), unit: '%' })
  }
  const engine = await openEngine('native')
  for (const [name, change] of Object.entries(ABLATIONS)) {
    const gaps: number[] = []
    for (const seed of SEEDS) {
      const settings = { ...change, seed, totalUpdates: ABLATION_UPDATES }
      gaps.push(gapPercent(model, await trainOnChain(engine, settings), optimum))
    }
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length
    results.push({ name: `chain: PPO, ${name}, mean of ${SEEDS.length} seeds`, value: mean, unit: '%' })
    results.push({ name: `chain: PPO, ${name}, worst seed`, value: Math.max(...gaps), unit: '%' })
  }
  await engine.close()
  return results
}
