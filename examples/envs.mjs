// edgewise/envs: the partition problem with Gymnasium's semantics. Run after `npm run build`: node examples/envs.mjs
import { fileURLToPath } from 'node:url'
import { makeEnv, randomStream } from 'edgewise/envs'
import { loadScenario } from 'edgewise/sim'

const file = fileURLToPath(new URL('../configs/quickstart.scenario.yaml', import.meta.url))
const scenario = await loadScenario(file, { requestsPerEpisode: 20 })
const env = makeEnv('edgewise/Partition-v0', {
  problem: scenario.problem,
  terms: scenario.terms,
  world: (seed) => scenario.world('train', seed),
  // shaped: minus the cost of a request, and a potential on the queues that leaves the optimum where it is
  reward: {
    form: 'shaped',
    v: 1,
    holding: 0,
    discountRate: 0.01,
    scales: { requests: 10, uplinkBytes: 1e6, cloudSeconds: 1 },
  },
})

const random = randomStream(7, 'example')
let [observation] = env.reset({ seed: 1 })
let [steps, total, done] = [0, 0, false]
while (!done) {
  // An action is a whole plan; sampleAction draws one that is allowed now.
  const [next, reward, terminated, truncated] = env.step(env.sampleAction(random))
  observation = next
  total += reward
  steps++
  done = terminated || truncated
}
env.close()
console.log(
  `${steps} decisions, ${observation.length} numbers observed before each, total reward ${total.toFixed(1)}`,
)
