import { edgeJoules, NO_USE } from '../../plan/price/energy.ts'
import type { Policy } from '../../plan/price/situation.ts'
import { createFast } from '../../sim/fast.ts'
import { Episode, type RequestMetrics } from '../../sim/episode.ts'
import type { SimulationFactory, EpisodeInputs } from '../../sim/types.ts'
import type { Scenario, Split } from '../../sim/scenario/scenario.ts'

/** Result of one policy on one episode. All values are simulated. */
export interface EpisodeResult {
  readonly requests: readonly RequestMetrics[]
  /** Mean cost of a request, including the energy of the idle device. */
  readonly cost: number
  /** Edge joules of the whole episode, divided by its requests. */
  readonly edgeJoulesPerRequest: number
  /** Until all work has finished, including work that no token waits for. */
  readonly durationSeconds: number
  readonly queueMean: number
  readonly queueMax: number
  /** Time of each request's last token, seconds from the start of the episode. */
  readonly finishSeconds: Float64Array
  readonly layersDecided: number
}

/** Runs a policy on the episode with this seed from a split of the scenario. */
export function runEpisode(
  scenario: Scenario,
  policy: Policy,
  split: Split,
  seed: number,
  create: SimulationFactory = createFast,
): EpisodeResult {
  return runWorld(scenario, policy, scenario.world(split, seed), seed, create)
}

/** Runs a policy on given episode inputs; `seed` is for policies that draw random numbers. */
export function runWorld(
  scenario: Scenario,
  policy: Policy,
  world: EpisodeInputs,
  seed: number,
  create: SimulationFactory = createFast,
): EpisodeResult {
  const session = new Episode(scenario.problem, world, scenario.terms, create)
  policy.reset?.(seed)
  while (session.next()) session.dispatch(policy.decide(session.situation()))
  return summarise(scenario, session)
}

function summarise(scenario: Scenario, session: Episode): EpisodeResult {
  const { simulation, world } = session
  const requests = world.arrivals.map((_, request) => session.result(request))
  const finishSeconds = Float64Array.from(simulation.outcomes, (outcome) => outcome.lastTokenSeconds)
  const durationSeconds = simulation.now
  const count = requests.length
  const idleJoules = edgeJoules(scenario.problem.pair.power, NO_USE, durationSeconds) / count
  const marginal = mean(requests.map((request) => request.edgeJoules))
  return {
    requests,
    cost:
      mean(requests.map((request) => request.cost)) + scenario.problem.objective.weights.energy * idleJoules,
    edgeJoulesPerRequest: marginal + idleJoules,
    durationSeconds,
    queueMean: simulation.totals.waitingSeconds / durationSeconds,
    queueMax: session.mostWaiting,
    finishSeconds,
    layersDecided: count * scenario.problem.pair.model.layers,
  }
}

/** Arithmetic mean; NaN of an empty list. */
export function mean(values: readonly number[]): number {
  let sum = 0
  for (const value of values) sum += value
  return values.length === 0 ? NaN : sum / values.length
}
