import { randomStream } from '../../core/random.ts'
import { cloudOnly, edgeOnly, layerCuts, staticCut } from '../../plan/planners/fixed.ts'
import {
  driftPlusPenalty,
  joinShortestDelay,
  perStateDp,
  priced,
  randomPlans,
  type PriceVector,
} from '../../plan/planners/priced.ts'
import { ceCollm, thresholdRouting } from '../../plan/planners/published.ts'
import type { Policy } from '../../plan/price/situation.ts'
import type { Scenario, Split } from '../../sim/scenario/scenario.ts'
import { budgetUse, overrunShare } from './budgetUse.ts'
import { mean, runEpisode } from './episode.ts'

/**
 * Known planners that are not implemented (docs/model.md, section 13), with the reason; every table of results lists
 * them.
 */
export const ABSENT_BASELINES: Readonly<Record<string, string>> = {
  'edgeshard-dp': 'per-state DP covers layer cuts between two devices; more devices come later',
  mpc: 'model-predictive control with a bandwidth forecast: not built yet',
  clairvoyant: 'branch and bound over whole runs: not built yet',
}

/** Limits on the work of tuning a planner. */
export interface TuningBudget {
  /** Training episodes on which each candidate is run. */
  readonly episodes: number
  /** Candidates for the four prices. */
  readonly candidates: number
  /** Awaited after each candidate, so that the caller can let signals through or throw to stop the tuning. */
  readonly onProgress?: (what: string, done: number, total: number) => void | Promise<void>
}

/** The tuned parameters of the baselines. */
export interface TunedBaselines {
  readonly prices: PriceVector
  readonly v: number
  /** Threshold routing keeps requests on the edge up to this many edge seconds. */
  readonly thresholdSeconds: number
}

const V_SWEEP = [0.3, 1, 3, 10, 30, 100]
/** Values of thresholdSeconds that are tried. */
const THRESHOLD_SWEEP = [0, 0.5, 1, 2, 4, 8, 16, 32]

/** What a candidate came to on the tuning episodes. */
interface Trial {
  readonly cost: number
  /** Largest share by which a budget's mean use exceeds it; 0 where every budget holds or there is none. */
  readonly overrunShare: number
}

/** Less overrun first, then less cost: a candidate that holds the budgets beats any that does not. */
function isBetter(a: Trial, b: Trial): boolean {
  return a.overrunShare === b.overrunShare ? a.cost < b.cost : a.overrunShare < b.overrunShare
}

/**
 * Tunes the priced planner, drift-plus-penalty's V and the threshold on training episodes: the least cost among the
 * candidates that hold the scenario's budgets, or where none does, the one that overruns them least.
 */
export async function tuneBaselines(scenario: Scenario, budget: TuningBudget): Promise<TunedBaselines> {
  const { budgets } = scenario.problem
  const trial = (policy: Policy): Trial => {
    const episodes = Array.from({ length: budget.episodes }, (_, seed) =>
      runEpisode(scenario, policy, 'train', TUNING_SEED + seed),
    )
    const use = budgetUse(
      budgets,
      episodes.flatMap(({ requests }) => requests),
    )
    return { cost: mean(episodes.map(({ cost }) => cost)), overrunShare: overrunShare(use) }
  }
  const sweep = async (
    name: string,
    values: readonly number[],
    policy: (value: number) => Policy,
  ): Promise<number> => {
    let [best, least] = [values[0], WORST]
    for (const [index, value] of values.entries()) {
      const found = trial(policy(value))
      if (isBetter(found, least)) [best, least] = [value, found]
      await budget.onProgress?.(`tuning ${name}`, index + 1, values.length)
    }
    return best
  }
  const v = await sweep('drift-plus-penalty', V_SWEEP, (value) => driftPlusPenalty(scenario.problem, value))
  const thresholdSeconds = await sweep('threshold routing', THRESHOLD_SWEEP, (value) =>
    thresholdRouting(scenario.problem, value),
  )
  return { v, thresholdSeconds, prices: await tunePrices(scenario, budget, trial) }
}

const WORST: Trial = { cost: Infinity, overrunShare: Infinity }

/** Seeds of tuning episodes, which differ from the seeds that the learner uses. */
const TUNING_SEED = 900_000_000

/**
 * Tunes four prices with a (1 + lambda) evolution strategy with log-normal steps: starts at zero prices and at plain
 * backlogs, then mutates the best. Every candidate runs the same episodes.
 */
async function tunePrices(
  scenario: Scenario,
  budget: TuningBudget,
  trial: (policy: Policy) => Trial,
): Promise<PriceVector> {
  const random = randomStream(0, 'tune-prices')
  const starts: PriceVector[] = [
    [0, 0, 0, 0],
    [0, 0.1, 0, 0.1],
    [0.2, 0.2, 0.2, 0.2],
    [0, 0.5, 0, 0.2],
  ]
  let best = starts[0]
  let least = WORST
  let step = 1
  for (let i = 0; i < budget.candidates; i++) {
    const candidate =
      i < starts.length
        ? starts[i]
        : mutate(
            best,
            step,
            () => random.normal(),
            () => random.uniform(),
          )
    const found = trial(priced(scenario.problem, candidate))
    if (isBetter(found, least)) {
      least = found
      best = candidate
    } else if (i >= starts.length) step = Math.max(0.15, step * 0.95)
    await budget.onProgress?.('tuning the priced planner', i + 1, budget.candidates)
  }
  return best
}

function mutate(prices: PriceVector, step: number, normal: () => number, uniform: () => number): PriceVector {
  const move = (price: number): number => {
    const draw = uniform()
    if (draw < 0.35) return price
    if (draw < 0.45) return 0
    return (price === 0 ? 0.05 : price) * Math.exp(step * normal())
  }
  return [move(prices[0]), move(prices[1]), move(prices[2]), move(prices[3])]
}

/**
 * All planners of the comparison that the scenario allows, except the best static cut, which is selected in hindsight.
 */
export function baselines(scenario: Scenario, tuned: TunedBaselines): Policy[] {
  const { problem } = scenario
  return [
    edgeOnly(problem),
    cloudOnly(problem),
    randomPlans(problem),
    joinShortestDelay(problem),
    thresholdRouting(problem, tuned.thresholdSeconds),
    ...[ceCollm(problem, 'standalone'), ceCollm(problem, 'collaborative')].filter(
      (policy) => policy !== null,
    ),
    perStateDp(problem),
    driftPlusPenalty(problem, tuned.v),
    priced(problem, tuned.prices),
  ]
}

/** The static cut with the lowest cost on the evaluation episodes themselves, of those that fit: selected in hindsight. */
export async function bestStaticCut(
  scenario: Scenario,
  split: Split,
  seeds: readonly number[],
  onProgress?: (done: number, total: number) => void | Promise<void>,
): Promise<Policy> {
  let best: Policy | null = null
  let least = Infinity
  const cuts = layerCuts(scenario.problem)
    .map(({ cut, boundaryBits }) => staticCut(scenario.problem, cut, boundaryBits))
    .filter(({ edgePlan }) => edgePlan === undefined || scenario.misfitOf(edgePlan) === null)
  for (const [index, policy] of cuts.entries()) {
    const found = mean(seeds.map((seed) => runEpisode(scenario, policy, split, seed).cost))
    if (best === null || found < least) {
      least = found
      best = { ...policy, name: `best-static-cut` }
    }
    await onProgress?.(index + 1, cuts.length)
  }
  if (best === null) throw new RangeError('scenario: expected at least one layer cut that fits the edge')
  return best
}
