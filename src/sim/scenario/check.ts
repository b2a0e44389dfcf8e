import { InputError } from '../../core/errors.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import { pinnedNeed } from '../memory.ts'
import type { EpisodeTerms } from '../episode.ts'
import type { ScenarioConfig } from './schema.ts'

/** Refuses what only the model and the devices show to be impossible; `where` is the scenario's name. */
export function checkScenario(config: ScenarioConfig, problem: DecisionProblem, terms: EpisodeTerms): void {
  const { model } = problem.pair
  const { edgeLayersFirst, edgeLayersLast } = config.plans
  const refuse = (field: string, expected: string, found: string, remedy?: string): never => {
    throw new InputError({ where: `scenario ${config.name}: ${field}`, expected, found, remedy })
  }
  if (edgeLayersFirst + edgeLayersLast > model.layers) {
    const found = `${edgeLayersFirst} and ${edgeLayersLast}`
    refuse(
      'plans.edgeLayersFirst, edgeLayersLast',
      `at most the ${model.layers} layers of ${model.id}`,
      found,
    )
  }
  if (config.workload.maxNewTokens >= model.contextTokens) {
    const expected = `fewer than the context of ${model.id}, ${model.contextTokens} tokens`
    refuse('workload.maxNewTokens', expected, String(config.workload.maxNewTokens))
  }
  const { weightBytes, kvBytes } = pinnedNeed(problem)
  const needed = weightBytes + config.service.maxInFlight * kvBytes
  if (needed > terms.memoryBytes) {
    refuse(
      'service.edgeMemoryGb',
      `room for the pinned ends and the K/V of ${config.service.maxInFlight} requests, ${(needed / 1e9).toFixed(3)} GB`,
      `${(terms.memoryBytes / 1e9).toFixed(3)} GB`,
      'pin fewer layers, or have fewer requests in flight',
    )
  }
}
