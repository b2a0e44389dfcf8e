import { InputError } from '../../core/errors.ts'
import { accuracyKind } from '../../plan/profile/accuracy.ts'
import { profileLabel } from '../../plan/profile/precision.ts'
import { lowerBoundUntil } from '../../plan/oracle/bounds.ts'
import { hasBudgets, type BudgetUses, type ConstraintBudgets } from '../../plan/price/budgets.ts'
import { formatMisfit, type Misfit } from '../../plan/price/memory.ts'
import type { Policy } from '../../plan/price/situation.ts'
import type { EpisodeInputs } from '../../sim/types.ts'
import type { Scenario, Split } from '../../sim/scenario/scenario.ts'
import { budgetUse } from './budgetUse.ts'
import { areAlike, countFits, sortByFit } from './fit.ts'
import { mean, runWorld, type EpisodeResult } from './episode.ts'
import { bootstrapInterval, distribution, type Distribution } from './statistics.ts'

/** One policy's row of an evaluation. All values are simulated; `provenance` says which inputs were measured. */
export interface PolicyReport {
  readonly cost: { readonly mean: number; readonly ci95: readonly [number, number] | null }
  /**
   * Cost minus that of the tuned priced planner on the same episodes; null for that planner itself, or if it was not
   * run.
   */
  readonly costMinusPriced: { readonly mean: number; readonly ci95: readonly [number, number] | null } | null
  /** (cost - lower bound) / lower bound. */
  readonly gapToLowerBound: number | null
  readonly ttftSeconds: Distribution | null
  /** Null if every output is a single token. */
  readonly tpotSeconds: Distribution | null
  readonly e2eSeconds: Distribution | null
  /** Joules per request, including the idle device's share. */
  readonly edgeJoules: number
  readonly cloudSeconds: number
  readonly upBytes: number
  readonly downBytes: number
  readonly accuracyLoss: number
  /** Mean use of each budgeted resource against its budget; null for a scenario without budgets. */
  readonly budgets: BudgetUses | null
  readonly queue: { readonly mean: number; readonly max: number }
  /** Share of decided layers with units on both sides. */
  readonly mixedHeadShare: number
  /**
   * Share of decisions in which the planner's plan did not fit beside the requests in flight, so that the request went
   * to the cloud; null for a policy that chooses among what fits.
   */
  readonly misfitShare: number | null
  /** The first policy of the evaluation that served every request alike, to the last digit; null if none before did. */
  readonly sameAs: string | null
  readonly provenance: Provenances
}

/** Whether the inputs of a row were measured, modelled or assumed. */
interface Provenances {
  readonly figures: 'simulated'
  readonly edge: string
  readonly cloud: string
  readonly energy: string
  readonly accuracy: string
  readonly links: string
}

/** Result of `evaluate`. */
export interface EvaluationReport {
  readonly policies: Readonly<Record<string, PolicyReport>>
  /** Policies whose plan fits the edge for no request: they have no row. */
  readonly unfit: Readonly<Record<string, Misfit>>
  readonly lowerBound: number
  /** (cost of per-state DP - cost of the best policy) / cost of per-state DP; null if per-state DP was not run. */
  readonly headroom: number | null
  readonly seeds: number
  readonly decisions: number
}

/** What `evaluate` compares, and on which episodes. */
export interface EvaluationInput {
  readonly scenario: Scenario
  readonly policies: readonly Policy[]
  readonly split: Split
  readonly seeds: readonly number[]
  /** Awaited after each episode, so that the caller can let signals through or throw to stop the evaluation. */
  readonly onProgress?: (done: number, total: number) => void | Promise<void>
}

/** Runs every policy on the same episodes. */
export async function evaluate(input: EvaluationInput): Promise<EvaluationReport> {
  const { scenario, split, seeds } = input
  const { fitting, unfit } = sortByFit(scenario, input.policies)
  checkSome(fitting, unfit)
  const counts = fitting.map((policy) => countFits(scenario.problem, policy))
  const policies = counts.map(({ policy }) => policy)
  const results = policies.map((): EpisodeResult[] => [])
  const bounds: number[] = []
  let done = 0
  for (const seed of seeds) {
    const world = scenario.world(split, seed)
    for (const [i, policy] of policies.entries()) {
      results[i].push(runWorld(scenario, policy, world, seed))
      await input.onProgress?.(++done, seeds.length * policies.length)
    }
    bounds.push(
      worldLowerBound(
        scenario,
        world,
        results.map((episodes) => episodes[episodes.length - 1].finishSeconds),
      ),
    )
  }
  const lowerBound = mean(bounds)
  const provenance = provenances(scenario, split)
  const reference = results[policies.findIndex((policy) => policy.name === 'priced')]
  const rows = policies.map((policy, i) => {
    const report = policyReport(results[i], scenario.problem.budgets, lowerBound, provenance)
    const first = results.findIndex((other) => areAlike(results[i], other))
    const row: PolicyReport = {
      ...report,
      costMinusPriced: paired(results[i], reference),
      misfitShare: counts[i].misfitShare(),
      sameAs: first === i ? null : policies[first].name,
    }
    return [policy.name, row] as const
  })
  return {
    policies: Object.fromEntries(rows),
    unfit,
    lowerBound,
    headroom: headroom(rows),
    seeds: seeds.length,
    decisions: results[0].reduce((sum, episode) => sum + episode.requests.length, 0),
  }
}

function checkSome(fitting: readonly Policy[], unfit: EvaluationReport['unfit']): void {
  if (fitting.length > 0) return
  const [name, misfit] = Object.entries(unfit).at(0) ?? ['policies', null]
  throw new InputError({
    where: name,
    expected: 'a policy that the edge can carry out for some request',
    found: misfit === null ? 'none' : formatMisfit(misfit),
    remedy:
      'compare with planners that may use the cloud, or give the edge more memory (service.edgeMemoryGb)',
  })
}

/**
 * Mean over an episode's requests of a lower bound on the cost: no policy that finishes each request by the given times
 * (absolute seconds, one array for each policy) can cost less.
 */
export function worldLowerBound(
  scenario: Scenario,
  world: EpisodeInputs,
  finishes: readonly Float64Array[],
): number {
  return mean(
    world.arrivals.map((arrival, request) => {
      const until = finishes.reduce(
        (latest, finish) => Math.max(latest, finish[request]),
        arrival.arrivalSeconds,
      )
      return lowerBoundUntil(scenario.problem, world.link, arrival, until)
    }),
  )
}

/** Mean difference over paired episodes, with its confidence interval. */
function paired(
  own: readonly EpisodeResult[],
  other: readonly EpisodeResult[] | undefined,
): PolicyReport['costMinusPriced'] {
  if (other === undefined || other === own) return null
  const differences = own.map((episode, i) => episode.cost - other[i].cost)
  return { mean: mean(differences), ci95: bootstrapInterval(differences) }
}

function policyReport(
  episodes: readonly EpisodeResult[],
  budgets: ConstraintBudgets,
  lowerBound: number,
  provenance: Provenances,
): Omit<PolicyReport, 'costMinusPriced' | 'misfitShare' | 'sameAs'> {
  const requests = episodes.flatMap((episode) => episode.requests)
  const costs = episodes.map((episode) => episode.cost)
  const of = (pick: (request: (typeof requests)[number]) => number): number => mean(requests.map(pick))
  const layers = episodes.reduce((sum, episode) => sum + episode.layersDecided, 0)
  return {
    cost: { mean: mean(costs), ci95: bootstrapInterval(costs) },
    gapToLowerBound: lowerBound > 0 ? mean(costs) / lowerBound - 1 : null,
    ttftSeconds: distribution(requests.map((request) => request.ttftSeconds)),
    tpotSeconds: distribution(requests.flatMap((request) => request.tpotSeconds ?? [])),
    e2eSeconds: distribution(requests.map((request) => request.e2eSeconds)),
    edgeJoules: mean(episodes.map((episode) => episode.edgeJoulesPerRequest)),
    cloudSeconds: of((request) => request.cloudSeconds),
    upBytes: of((request) => request.upBytes),
    downBytes: of((request) => request.downBytes),
    accuracyLoss: of((request) => request.accuracyLoss),
    budgets: hasBudgets(budgets) ? budgetUse(budgets, requests) : null,
    queue: {
      mean: mean(episodes.map((episode) => episode.queueMean)),
      max: Math.max(...episodes.map((episode) => episode.queueMax)),
    },
    mixedHeadShare: requests.reduce((sum, request) => sum + request.mixedLayers, 0) / layers,
    provenance,
  }
}

function provenances(scenario: Scenario, split: Split): Provenances {
  const { edge, cloud, accuracy } = scenario.problem.pair
  return {
    figures: 'simulated',
    edge: profileLabel(edge.profile),
    cloud: profileLabel(cloud.profile),
    energy: edge.profile.power.busyWatts.provenance.kind,
    accuracy: accuracyKind(accuracy),
    links: [...new Set(scenario.links[split].map((link) => link.label))].join('; '),
  }
}

function headroom(rows: readonly (readonly [string, PolicyReport])[]): number | null {
  const dp = rows.find(([name]) => name === 'per-state-dp')?.[1].cost.mean
  if (dp === undefined) return null
  return (dp - Math.min(...rows.map(([, row]) => row.cost.mean))) / dp
}
