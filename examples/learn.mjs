// edgewise/learn: two updates of PPO, and the policy that came of them. Run after `npm run build`: node examples/learn.mjs
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openEngine, openRunScenario, readRun, runEpisode, startRun, systemClock } from 'edgewise/learn'
import { edgeOnly } from 'edgewise/plan'

const config = fileURLToPath(new URL('../configs/quickstart.train.yaml', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'edgewise-example-'))
const engine = await openEngine('auto')
try {
  const run = join(folder, 'run')
  const context = { engine, clock: systemClock, versions: { edgewise: 'example' } }
  // Two updates learn nothing worth having; `edgewise train` runs all 160.
  const summary = await startRun(config, run, context, { updates: 2, requestsPerEpisode: 10 })
  console.log(
    `${summary.updates} updates, ${summary.decisions} decisions; ${readRun(run).scenario.name} in ${run}`,
  )

  // Anything that decides can stand beside it on the same episodes.
  const scenario = await openRunScenario(run)
  const { cost } = runEpisode(scenario, edgeOnly(scenario.problem), 'validation', 1)
  console.log(`edge-only on the first validation episode: cost ${cost.toFixed(2)} (simulated)`)
} finally {
  await engine.close()
  rmSync(folder, { recursive: true })
}
