import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { randomStream } from '../../src/core/random.ts'
import { openEngine } from '../../src/core/engine/open.ts'
import { storeModel } from '../../src/model/store.ts'
import { ffnWeights } from '../../src/model/graphs/weights.ts'
import { tensor } from '../../src/core/onnx/tensor.ts'
import { ffnGraph } from './blockGraphs.ts'
import { llamaLike, maxDifference, runGraph, normalFill } from './support.ts'

const folder = mkdtempSync(join(tmpdir(), 'edgewise-store-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('a block with its weights beside it computes what the whole file does', async () => {
  const model = { ...llamaLike, width: 64, ffnWidth: 100 }
  const fill = normalFill(randomStream(3, 'store'))
  const graph = ffnGraph(model, 'whole', ffnWeights(model, fill))
  const x = fill(2 * 64, 0, 1)
  const stored = storeModel(folder, 'ffn', graph.toModel())
  // Three matrices, each from a page boundary on.
  expect(statSync(join(folder, 'ffn.bin')).size).toBe(2 * 28_672 + 25_600)
  expect(stored.weightBytes).toBe(4 * (3 * 6400 + 64))
  expect(statSync(stored.path).size).toBeLessThan(5000)
  const engine = await openEngine('native')
  const session = await engine.create(stored.path)
  const { y } = await session.run({ x: tensor('float32', [2, 64], x) })
  const whole = await runGraph(graph, { x: { dims: [2, 64], data: x } })
  expect(maxDifference(y.data as Float32Array, whole.y)).toBeLessThan(1e-6)
  await engine.close()
})
