export { createFast } from './fast.ts'
export { createReference } from './reference.ts'
export { Episode } from './episode.ts'
export type { RequestMetrics, EpisodeTerms } from './episode.ts'
export type {
  DecisionKind,
  SimulationListener,
  RequestOutcome,
  Simulation,
  SimulationFactory,
  Totals,
  EpisodeInputs,
} from './types.ts'
export { loadScenario, resolveScenario } from './scenario/scenario.ts'
export type { Scenario, ScenarioOverrides, Split } from './scenario/scenario.ts'
export { SCENARIO_SCHEMA, scenarioSchema } from './scenario/schema.ts'
export type { ScenarioConfig } from './scenario/schema.ts'
