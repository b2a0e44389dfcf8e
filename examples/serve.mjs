// edgewise/serve: an edge and a cloud in one process, one request over both. Run after `npm run build`: node examples/serve.mjs
import { createCloud, createEdge } from 'edgewise/serve'

const cloud = await createCloud({ model: 'tales', listen: { host: '127.0.0.1', port: 0 } })
const edge = await createEdge({
  model: 'tales',
  cloud: cloud.address,
  plan: 'cut:3',
  // The OpenAI-compatible API; leave it out, and `generate` is the only way in.
  listen: { host: '127.0.0.1', port: 0 },
})
try {
  const { text, ids } = await edge.generate({ prompt: 'Once there was ', maxNewTokens: 32 })
  console.log(`${ids.length} tokens by ${edge.decider}: ${text}`)

  const answer = await fetch(`${edge.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'tales', prompt: 'Once there was ', max_tokens: 32, temperature: 0 }),
  })
  const { choices } = await answer.json()
  console.log(`over HTTP, the same: ${choices[0].text === text}`)
} finally {
  await edge.close()
  await cloud.close()
}
