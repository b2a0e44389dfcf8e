import { describe, expect, it } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import { baselines, bestStaticCut, tuneBaselines } from '../../../src/learn/evaluate/baselines.ts'
import { mean, runEpisode } from '../../../src/learn/evaluate/episode.ts'
import { evaluate } from '../../../src/learn/evaluate/evaluate.ts'
import { bootstrapInterval, distribution } from '../../../src/learn/evaluate/statistics.ts'
import { layerCuts, staticCut } from '../../../src/plan/planners/fixed.ts'
import { priced } from '../../../src/plan/planners/priced.ts'
import { loadScenario } from '../../../src/sim/scenario/scenario.ts'
import { thresholdRouting } from '../../../src/plan/planners/published.ts'
import { createReference } from '../../../src/sim/reference.ts'
import { inFolder, tinyScenario, writeConfig } from '../../sim/scenario/tiny.ts'

const scenario = await inFolder((folder) => loadScenario(writeConfig(folder, 's.yaml', tinyScenario())))
const seeds = [0, 1, 2]

const tuned = await tuneBaselines(scenario, { episodes: 2, candidates: 6 })
const policies = [...baselines(scenario, tuned), await bestStaticCut(scenario, 'validation', seeds)]
const report = await evaluate({ scenario, policies, split: 'validation', seeds })

describe('an evaluation', () => {
  it('runs every planner on the same episodes, and none below the lower bound', () => {
    expect(Object.keys(report.policies)).toEqual([
      'edge-only',
      'cloud-only',
      'random',
      'shortest-delay',
      'threshold',
      'ce-collm-standalone',
      'ce-collm',
      'per-state-dp',
      'drift-plus-penalty',
      'priced',
      'best-static-cut',
    ])
    for (const policy of policies) {
      const row = report.policies[policy.name]
      const runs = seeds.map((seed) => runEpisode(scenario, policy, 'validation', seed))
      expect(row.cost.mean).toBeCloseTo(mean(runs.map((run) => run.cost)), 12)
      const slow = runEpisode(scenario, policy, 'validation', 1, createReference)
      expect(runs[1].cost).toBeCloseTo(slow.cost, 9)
      expect(row.gapToLowerBound).toBeCloseTo(row.cost.mean / report.lowerBound - 1, 12)
      expect(row.gapToLowerBound).toBeGreaterThanOrEqual(0)
      expect(row.queue.max).toBe(Math.max(...runs.map((run) => run.queueMax)))
      const times = runs.flatMap((run) => run.requests.map((request) => request.ttftSeconds))
      expect(row.ttftSeconds?.mean).toBeCloseTo(mean(times), 12)
      expect(row.provenance).toMatchObject({
        figures: 'simulated',
        edge: expect.stringContaining('raspberry-pi-5'),
      })
    }
    expect(report.decisions).toBe(seeds.length * 6)
  })

  it('says what headroom per-state DP leaves', async () => {
    const costs = Object.values(report.policies).map((row) => row.cost.mean)
    const dp = report.policies['per-state-dp'].cost.mean
    expect(report.headroom).toBeCloseTo((dp - Math.min(...costs)) / dp, 12)
    const alone = await evaluate({ scenario, policies: [policies[0]], split: 'test', seeds: [0] })
    expect(alone.headroom).toBeNull()
  })

  it('finds the best static cut in hindsight', () => {
    const { problem } = scenario
    const costs = layerCuts(problem).map(({ cut, boundaryBits }) => {
      const policy = staticCut(problem, cut, boundaryBits)
      return mean(seeds.map((seed) => runEpisode(scenario, policy, 'validation', seed).cost))
    })
    expect(report.policies['best-static-cut'].cost.mean).toBeCloseTo(Math.min(...costs), 12)
  })

  it('tunes a threshold that no other of the sweep betters on the tuning episodes', () => {
    const cost = (seconds: number): number =>
      mean(
        [0, 1].map(
          (i) =>
            runEpisode(scenario, thresholdRouting(scenario.problem, seconds), 'train', 900_000_000 + i).cost,
        ),
      )
    for (const other of [0, 1, 4, 32]) expect(cost(tuned.thresholdSeconds)).toBeLessThanOrEqual(cost(other))
  })

  it('tunes prices that are no worse on the tuning episodes than none', async () => {
    const cost = (prices: typeof tuned.prices): number =>
      mean(
        [0, 1].map(
          (i) => runEpisode(scenario, priced(scenario.problem, prices), 'train', 900_000_000 + i).cost,
        ),
      )
    expect(cost(tuned.prices)).toBeLessThanOrEqual(cost([0, 0, 0, 0]))
    expect(await tuneBaselines(scenario, { episodes: 2, candidates: 6 })).toEqual(tuned)
  })
})

describe('statistics, by hand', () => {
  it('interpolate quantiles between order statistics', () => {
    expect(distribution([])).toBeNull()
    expect(distribution([4, 1, 3, 2, 5])).toEqual({ mean: 3, p50: 3, p95: 4.8, p99: 4.96 })
    expect(distribution([7])).toEqual({ mean: 7, p50: 7, p95: 7, p99: 7 })
  })

  it('bootstrap an interval that is near the normal one, and none from a single episode', () => {
    expect(bootstrapInterval([3])).toBeNull()
    expect(bootstrapInterval([2, 2, 2])).toEqual([2, 2])
    const random = randomStream(1, 'bootstrap test')
    const values = Array.from({ length: 200 }, () => 10 + random.normal())
    const [low, high] = bootstrapInterval(values)!
    const centre = mean(values)
    const error = Math.sqrt(mean(values.map((value) => (value - centre) ** 2)) / values.length)
    expect((centre - low) / (1.96 * error)).toBeCloseTo(1, 0)
    expect(Math.abs((high - low) / (2 * 1.96 * error) - 1)).toBeLessThan(0.1)
    expect(bootstrapInterval(values)).toEqual([low, high])
  })
})
