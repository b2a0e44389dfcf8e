import { describe, expect, it } from 'vitest'
import { NO_BUDGETS, type ConstraintBudgets } from '../../../src/plan/price/budgets.ts'
import { optimalPlan } from '../../../src/plan/oracle/oracle.ts'
import { driftPlusPenalty, priced } from '../../../src/plan/planners/priced.ts'
import type { Policy } from '../../../src/plan/price/situation.ts'
import { mean, runEpisode } from '../../../src/learn/evaluate/episode.ts'
import { budgetUse, overrunShare } from '../../../src/learn/evaluate/budgetUse.ts'
import { evaluate } from '../../../src/learn/evaluate/evaluate.ts'
import { describeEvaluation } from '../../../src/cli/commands/evalTable.ts'
import { evalJsonSchema } from '../../../src/cli/json/eval.ts'
import { PLAIN } from '../../../src/report/table.ts'
import { tuneBaselines } from '../../../src/learn/evaluate/baselines.ts'
import { loadScenario, resolveScenario, type Scenario } from '../../../src/sim/scenario/scenario.ts'

const CONFIGS = 'configs'
const plain = await loadScenario(`${CONFIGS}/quickstart.scenario.yaml`)
const SEEDS = [0, 1, 2, 3]

function withBudgets(budgets: ConstraintBudgets): Promise<Scenario> {
  const { config } = plain
  return resolveScenario({ ...config, objective: { ...config.objective, budgets } }, CONFIGS)
}

function measured(
  scenario: Scenario,
  policy: Policy,
): { cost: number; joules: number; cloudSeconds: number } {
  const episodes = SEEDS.map((seed) => runEpisode(scenario, policy, 'validation', seed))
  const requests = episodes.flatMap((episode) => episode.requests)
  return {
    cost: mean(episodes.map((episode) => episode.cost)),
    joules: mean(requests.map((request) => request.edgeJoules)),
    cloudSeconds: mean(requests.map((request) => request.cloudSeconds)),
  }
}

/** More than any policy can hold at once on this scenario; the proof is in a test below. */
const TIGHT: ConstraintBudgets = { energyJoules: 5, accuracyLoss: null, cloudSeconds: 0.05 }
/** What drift-plus-penalty overruns without being told, and can hold. */
const HELD: ConstraintBudgets = { energyJoules: 12, accuracyLoss: null, cloudSeconds: 0.08 }

describe('drift-plus-penalty on quickstart with modelled devices', { timeout: 120_000 }, () => {
  it('holds, but for 2 %, the time average of budgets that can be held', async () => {
    const scenario = await withBudgets(HELD)
    const free = measured(plain, driftPlusPenalty(plain.problem, 1))
    expect(free.joules).toBeGreaterThan(1.2 * 12)
    expect(free.cloudSeconds).toBeGreaterThan(1.3 * 0.08)
    const held = measured(scenario, driftPlusPenalty(scenario.problem, 1))
    // An episode is 60 requests from empty queues: the overrun before they weigh is in its mean.
    expect(held.joules).toBeLessThanOrEqual(1.02 * 12)
    expect(held.cloudSeconds).toBeLessThanOrEqual(1.02 * 0.08)
    expect(held.cost).toBeLessThan(1.5 * free.cost)
    const tuned = measured(scenario, priced(scenario.problem, [0, 0.5, 0, 0.2]))
    expect(tuned.joules).toBeLessThanOrEqual(12)
    expect(tuned.cloudSeconds).toBeLessThanOrEqual(1.2 * 0.08)
  })

  it('comes much nearer to budgets that nothing can hold', async () => {
    const scenario = await withBudgets(TIGHT)
    const policy = (of: Scenario): Policy => driftPlusPenalty(of.problem, 1)
    const [free, told] = [measured(plain, policy(plain)), measured(scenario, policy(scenario))]
    expect(free.joules / 5).toBeGreaterThan(2.8)
    expect(free.cloudSeconds / 0.05).toBeGreaterThan(2.1)
    expect(told.joules / 5).toBeLessThan(1.8)
    expect(told.cloudSeconds / 0.05).toBeLessThan(1.5)
  })

  it('of which the oracle proves that nothing can: the least use weighted by any prices is above the budgets', async () => {
    const scenario = await withBudgets(TIGHT)
    const { problem } = scenario
    // 0.6 energy + 0.4 cloud time, each in budgets, is at most 1 for a policy that holds both.
    const prices = { edgeSecond: 0, upByte: 0, accuracyNat: 0, edgeJoule: 0.6 / 5, cloudSecond: 0.4 / 0.05 }
    const arrivals = SEEDS.flatMap((seed) => scenario.world('validation', seed).arrivals)
    const least = arrivals.map(({ promptTokens, outputTokens }) => {
      const answer = optimalPlan({
        ...problem,
        // No link matters where time has no weight.
        state: {
          link: { upBitsPerSecond: 1e9, downBitsPerSecond: 1e9, rttSeconds: 0.01 },
          promptTokens,
          outputTokens,
          edgeSlowdown: 1,
          cloudSlowdown: 1,
        },
        objective: {
          weights: { latency: 0, energy: 0, cloud: 0, bytes: 0, accuracy: 0 },
          latency: { form: 'mean' },
        },
        options: { ...problem, mixedLayers: true, memoryBytes: Infinity, reservedTokens: 1 },
        prices,
      })
      return answer!.value
    })
    expect(mean(least)).toBeGreaterThan(1.15)
    const told = measured(scenario, driftPlusPenalty(problem, 1))
    expect((0.6 * told.joules) / 5 + (0.4 * told.cloudSeconds) / 0.05).toBeGreaterThan(mean(least))
  })
})

describe('a report', { timeout: 120_000 }, () => {
  it('has the mean use of each budget beside it, null where there is none', async () => {
    const scenario = await withBudgets(HELD)
    const policy = driftPlusPenalty(scenario.problem, 1)
    const input = { policies: [policy], split: 'validation', seeds: SEEDS } as const
    const { policies } = await evaluate({ ...input, scenario })
    const { joules, cloudSeconds } = measured(scenario, policy)
    expect(policies[policy.name].budgets).toEqual({
      energyJoules: { used: joules, budget: 12 },
      accuracyLoss: null,
      cloudSeconds: { used: cloudSeconds, budget: 0.08 },
    })
    expect((await evaluate({ ...input, scenario: plain })).policies[policy.name].budgets).toBeNull()
    const json = {
      ...(await evaluate({ ...input, scenario })),
      scenario: 'q',
      scenarioHash: 'h',
      links: 'validation',
      load: 1,
      tuned: null,
      absent: {},
      objective: scenario.problem.objective,
    }
    const text = describeEvaluation(evalJsonSchema.parse(json), [], PLAIN)
    expect(text).toMatch(/budget 12/)
    expect(text).toMatch(/of budget/)
  })
})

describe('tuning', { timeout: 120_000 }, () => {
  it('takes a V that holds the budgets before one that costs less', async () => {
    const scenario = await withBudgets({ ...NO_BUDGETS, energyJoules: 12 })
    const { v } = await tuneBaselines(scenario, { episodes: 2, candidates: 1 })
    const overrun = (value: number): number => {
      const requests = [0, 1].flatMap(
        (i) =>
          runEpisode(scenario, driftPlusPenalty(scenario.problem, value), 'train', 900_000_000 + i).requests,
      )
      return overrunShare(budgetUse(scenario.problem.budgets, requests))
    }
    expect(overrun(v)).toBe(0)
    // Heavier costs let the queues run further before they weigh.
    expect(overrun(100)).toBeGreaterThan(0.1)
  })
})
