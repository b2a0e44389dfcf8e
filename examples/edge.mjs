// edgewise/edge: what a device loads to decide. Node and ONNX Runtime alone. Run after `npm run build`: node examples/edge.mjs
import { fileURLToPath } from 'node:url'
import { openBundle } from 'edgewise/edge'

// A bundle is what `edgewise export` writes; this one decides for the built-in model.
const bundle = await openBundle(fileURLToPath(new URL('../test/fixtures/serve/bundle', import.meta.url)))
const request = { promptTokens: 100, outputTokens: 60 }
const moments = {
  'good link': { upMbps: 50, downMbps: 200, rttMs: 20 },
  'poor link': { upMbps: 0.5, downMbps: 2, rttMs: 200 },
  // Nothing heard for 10 s: past 3 s it is an outage.
  outage: { upMbps: 50, downMbps: 200, rttMs: 20, sinceHeartbeatSeconds: 10 },
}
for (const [name, link] of Object.entries(moments)) {
  const plan = await bundle.decide(bundle.situation({ ...request, ...link }))
  const exit = plan.exit === null ? 'no exit' : `exit after layer ${plan.exit.layer} (${plan.exit.mode})`
  console.log(
    `${name}: units in the cloud by layer ${plan.unitsOnCloud.join(' ')}; ${plan.boundaryBits} bits; ${exit}`,
  )
}
await bundle.close()
