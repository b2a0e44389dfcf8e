// edgewise/sim: one simulated episode of a scenario under a planner. Run after `npm run build`: node examples/sim.mjs
import { fileURLToPath } from 'node:url'
import { edgeOnly, cloudOnly, driftPlusPenalty } from 'edgewise/plan'
import { createFast, Episode, loadScenario } from 'edgewise/sim'

const file = fileURLToPath(new URL('../configs/quickstart.scenario.yaml', import.meta.url))
const scenario = await loadScenario(file, { requestsPerEpisode: 20 })

for (const policy of [
  edgeOnly(scenario.problem),
  cloudOnly(scenario.problem),
  driftPlusPenalty(scenario.problem, 3),
]) {
  // Equal split and seed give an equal world: the same link, tenants and requests for every policy.
  const world = scenario.world('validation', 1)
  const episode = new Episode(scenario.problem, world, scenario.terms, createFast)
  while (episode.next()) episode.dispatch(policy.decide(episode.situation()))
  const costs = world.arrivals.map((_, request) => episode.result(request).cost)
  const mean = costs.reduce((sum, cost) => sum + cost, 0) / costs.length
  console.log(`${policy.name}: mean cost of ${costs.length} requests ${mean.toFixed(2)} (simulated)`)
}
