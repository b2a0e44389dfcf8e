import { dirname, join, resolve } from 'node:path'
import { systemClock } from '../src/core/clock.ts'
import { readConfig } from '../src/core/schema.ts'
import { packageRoot } from '../src/core/packageRoot.ts'
import { openEngine } from '../src/core/engine/open.ts'
import { createTrainer } from '../src/learn/ppo/ppo.ts'
import { loadScenario } from '../src/sim/scenario/scenario.ts'
import { trainingSchema, type TrainingConfig } from '../src/learn/runs/config.ts'
import { trainingEnvironment } from '../src/learn/runs/run.ts'

/** One figure of a benchmark. */
interface BenchResult {
  readonly name: string
  readonly value: number
  readonly unit: string
}

const WARM_UP_UPDATES = 2
const SECONDS = 4

/** Decisions a second of quickstart's training, its edge a data-sheet device; a decision is a whole plan. */
export async function run(): Promise<BenchResult[]> {
  const path = join(packageRoot(), 'configs', 'quickstart.train.yaml')
  const training: TrainingConfig = readConfig(trainingSchema as never, path)
  const scenario = await loadScenario(resolve(dirname(path), training.scenario), { edge: 'raspberry-pi-5' })
  const engine = await openEngine('native')
  const settings = { ...training.ppo, totalUpdates: 1e6 }
  const environment = trainingEnvironment(scenario, training)
  const trainer = await createTrainer(settings, environment, engine, { clock: systemClock })
  for (let i = 0; i < WARM_UP_UPDATES; i++) await trainer.update()
  let updates = 0
  let rolloutSeconds = 0
  const start = systemClock.nowSeconds()
  while (systemClock.nowSeconds() - start < SECONDS || updates < 2) {
    await trainer.update()
    rolloutSeconds += trainer.timings?.rolloutSeconds ?? NaN
    updates++
  }
  const elapsed = systemClock.nowSeconds() - start
  await trainer.close()
  await engine.close()
  const decisions = updates * training.environments * training.ppo.stepsPerUpdate
  const title = `PPO on ${environment.id}, quickstart (${training.environments} x ${training.ppo.stepsPerUpdate})`
  return [
    { name: title, value: decisions / elapsed, unit: 'decisions/s' },
    { name: `${title}: rollouts alone`, value: decisions / rolloutSeconds, unit: 'decisions/s' },
  ]
}
