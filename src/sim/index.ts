export { createFast } from './fast.ts'
export { createReference } from './reference.ts'
export { Episode as Session } from './episode.ts'
export type { RequestMetrics as RequestResult, EpisodeTerms as SessionTerms } from './episode.ts'
export type {
  DecisionKind as Decision,
  SimulationListener as Listener,
  RequestOutcome as Outcome,
  Simulation,
  SimulationFactory,
  Totals,
  EpisodeInputs as World,
} from './types.ts'
export { loadScenario, resolveScenario } from './scenario/scenario.ts'
export type { Scenario, ScenarioOverrides, Split } from './scenario/scenario.ts'
export { SCENARIO_SCHEMA, scenarioSchema } from './scenario/schema.ts'
export type { ScenarioConfig } from './scenario/schema.ts'
