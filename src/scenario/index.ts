export { loadScenario, resolveScenario } from './scenario.ts'
export type { Scenario, ScenarioOverrides, Split } from './scenario.ts'
export { SCENARIO_SCHEMA, scenarioSchema } from './schema.ts'
export type { ScenarioConfig } from './schema.ts'
