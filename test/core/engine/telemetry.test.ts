import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterAll, expect, test } from 'vitest'
import { openEngine } from '../../../src/core/engine/open.ts'
import { GraphBuilder } from '../../../src/core/onnx/builder.ts'
import threadProgram from './telemetryThread.ts?thread'

// This file has a process of its own, in which ONNX Runtime is loaded for the first time: it would make its store of events in
// the cache folder with the first session.
const home = mkdtempSync(join(tmpdir(), 'edgewise-telemetry-'))
delete process.env.ORT_DISABLE_TELEMETRY
process.env.HOME = home
process.env.XDG_CACHE_HOME = home
afterAll(() => rmSync(home, { recursive: true, force: true }))

function doubling(): Uint8Array {
  const g = new GraphBuilder('doubling')
  g.output(g.mul(g.input('x', 'float32', [2]), 2), 'y')
  return g.serialize()
}

/** What a worker thread is told that wants to turn telemetry off itself. */
async function inThread(): Promise<string> {
  const worker = new Worker(threadProgram, { eval: true, execArgv: [] })
  const [message] = (await once(worker, 'message')) as [string]
  return message
}

test('a thread that cannot reach the real environment is refused, until the main thread has set it', async () => {
  expect(await inThread()).toMatch(/engine in a worker thread[^]*ORT_DISABLE_TELEMETRY=1[^]*found: nothing/)
})

test.each(['worker', 'native'] as const)('the %s engine keeps no store of events', async (kind) => {
  const engine = await openEngine(kind)
  const session = await engine.create(doubling())
  await session.dispose()
  await engine.close()
  expect(readdirSync(home, { recursive: true })).toEqual([])
  expect(await inThread()).toBe('')
})
