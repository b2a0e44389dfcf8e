// edgewise/plan: what a plan costs, and the exact optimum of one request. Run after `npm run build`: node examples/plan.mjs
import * as plan from 'edgewise/plan'

const model = plan.loadModel('llama-7b')
const [edge, cloud] = ['jetson-orin-nx', 'a100'].map(
  (id) => new plan.BlockCosts(plan.datasheetProfile(id, model)),
)
const pair = plan.createPair(edge, cloud, plan.accuracyTable(model))
const link = { upBitsPerSecond: 20e6, downBitsPerSecond: 80e6, rttSeconds: 0.03 }
const best = plan.optimalPlan({
  pair,
  state: { link, promptTokens: 500, outputTokens: 200, edgeSlowdown: 1, cloudSlowdown: 1 },
  objective: plan.DEFAULT_OBJECTIVE,
  readingTokensPerSecond: 10,
  options: plan.defaultOptions(pair, 500, 200),
  prices: plan.NO_PRICES,
})

console.log(`units in the cloud, by layer: ${best.plan.unitsOnCloud.join(' ')}`)
console.log(`cost: ${best.value.toFixed(3)} (seconds end to end; every figure modelled from data sheets)`)
