// edgewise/trace: a link that changes, and what it does to a message. Run after `npm run build`: node examples/trace.mjs
import { fileURLToPath } from 'node:url'
import { createLink, randomStream, readLinkModel, sampleLink } from 'edgewise/trace'

// A Markov-modulated link that was fitted to recordings; `edgewise trace fit` makes one of your own.
const model = readLinkModel(fileURLToPath(new URL('../traces/links/lte-driving.yaml', import.meta.url)))
const link = createLink(sampleLink(model, 600, randomStream(1, 'example')))
for (const startSeconds of [0, 60, 120, 180]) {
  const seconds = link.sentSeconds('up', startSeconds, 100_000) - startSeconds
  const rate = link.bitsPerSecond('up', startSeconds) / 1e6
  console.log(`at ${startSeconds} s, ${rate.toFixed(2)} Mbit/s up: 100 kB leave in ${seconds.toFixed(2)} s`)
}
