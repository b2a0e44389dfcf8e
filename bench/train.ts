import { VectorCartPole } from '../test/envs/cartpole.ts'
import { systemClock } from '../src/core/clock.ts'
import { openEngine } from '../src/core/engine/open.ts'
import type { Engine } from '../src/core/engine/types.ts'
import { createTrainer } from '../src/learn/ppo/ppo.ts'

interface BenchResult {
  readonly name: string
  readonly value: number
  readonly unit: string
}

/** Settings of the comparison with other PPO implementations: CartPole, tanh 64-64, one critic, one thread. */
const SETTINGS = {
  A: { envs: 8, stepsPerUpdate: 128, minibatch: 256, epochs: 4 },
  B: { envs: 8, stepsPerUpdate: 256, minibatch: 64, epochs: 10 },
  C: { envs: 8, stepsPerUpdate: 2048, minibatch: 256, epochs: 10 },
  D: { envs: 64, stepsPerUpdate: 128, minibatch: 256, epochs: 4 },
  E: { envs: 64, stepsPerUpdate: 128, minibatch: 2048, epochs: 4 },
}
const SECONDS = 2
const WARM_UP_UPDATES = 2

/** Environment steps a second at settings A to E, updates included, and of A's rollouts and its best update alone. */
export async function run(): Promise<BenchResult[]> {
  const engine = await openEngine('native')
  const results: BenchResult[] = []
  for (const name of Object.keys(SETTINGS) as (keyof typeof SETTINGS)[]) {
    results.push(...(await measure(engine, name)))
  }
  await engine.close()
  return results
}

async function measure(engine: Engine, name: keyof typeof SETTINGS): Promise<BenchResult[]> {
  const { envs, ...sizes } = SETTINGS[name]
  const settings = { ...sizes, totalUpdates: 1e6, dualCritics: false, discountRate: 0.01 }
  const trainer = await createTrainer(settings, new VectorCartPole(envs), engine, { clock: systemClock })
  for (let i = 0; i < WARM_UP_UPDATES; i++) await trainer.update()
  let updates = 0
  let rolloutSeconds = 0
  let bestSeconds = Infinity
  const start = systemClock.nowSeconds()
  while (systemClock.nowSeconds() - start < SECONDS || updates < 2) {
    const before = systemClock.nowSeconds()
    await trainer.update()
    bestSeconds = Math.min(bestSeconds, systemClock.nowSeconds() - before)
    rolloutSeconds += trainer.timings!.rolloutSeconds
    updates++
  }
  const elapsed = systemClock.nowSeconds() - start
  await trainer.close()
  const steps = envs * sizes.stepsPerUpdate
  const title = `PPO on CartPole, ${name} (${envs} x ${sizes.stepsPerUpdate}, batch ${sizes.minibatch}, ${sizes.epochs} epochs)`
  const results = [
    { name: title, value: (updates * steps) / elapsed, unit: 'steps/s' },
    { name: `${title}: best update`, value: steps / bestSeconds, unit: 'steps/s' },
  ]
  if (name === 'A') {
    results.push({
      name: `${title}: rollouts alone`,
      value: (updates * steps) / rolloutSeconds,
      unit: 'steps/s',
    })
  }
  return results
}
