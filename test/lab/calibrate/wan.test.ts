import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { systemClock as clock } from '../../../src/core/clock.ts'
import { gridPlans } from '../../../src/lab/calibrate/plans.ts'
import { remoteCloud, remoteEdge, startChild } from '../../../src/lab/calibrate/rpc.ts'
import { resolvedPlanToJson } from '../../../src/run/executor/messages.ts'
import { openPretrained } from '../../../src/model/weights/open.ts'
import { accuracyTable } from '../../../src/plan/profile/accuracy.ts'
import { wanObstacle, withWan, type WanSide } from '../../../src/trace/replay/namespaces.ts'
import { sharedPath } from '../../shared.ts'

const root = resolve(import.meta.dirname, '../../..')
const cli = join(root, 'dist', 'cli.js')
const sourcePath = sharedPath('tools/wan-emulator.c')
const reason = existsSync(cli) ? wanObstacle(sourcePath) : 'dist is not built: `npm run build`'
const cache = mkdtempSync(join(tmpdir(), 'edgewise-calibrate-wan-'))
afterAll(() => rmSync(cache, { recursive: true, force: true }))

const { model } = openPretrained('tales', { builtinFolder: join(root, 'models') }).source

function start(side: WanSide, name: 'edge' | 'cloud') {
  const listen = ['--listen', side.address, '--insecure-network']
  const argv = [cli, 'calibrate-edge', '--side', name, '--model', 'tales', '--cache', cache, ...listen]
  const [program, args] = side.command(process.execPath, argv)
  return startChild([program, ...args], name)
}

describe.skipIf(reason !== null)(`both sides over an emulated WAN (skipped where: ${reason})`, () => {
  it('carry a request out between namespaces, byte for byte', async () => {
    const rates = { upBitsPerSecond: 1e8, downBitsPerSecond: 1e8, queueBytes: 1e6 }
    const record = await withWan({ sourcePath, oneWayDelaySeconds: 0.002, ...rates }, async (wan) => {
      const children = [start(wan.cloud, 'cloud'), start(wan.edge, 'edge')]
      try {
        await Promise.all(children.map(({ caller }) => caller.ready))
        const [cloud, edge] = [remoteCloud(children[0].caller), remoteEdge(children[1].caller)]
        const { host, port } = await cloud.address()
        expect(host).toBe(wan.cloud.address)
        await edge.connect('wan', host, port)
        const { placed } = gridPlans(model, accuracyTable(model), []).plans.find(({ id }) => id === 'cloud')!
        await edge.run({
          link: 'wan',
          plan: resolvedPlanToJson(model, placed),
          outputTokens: 6,
          maxInFlight: 1,
          startSeconds: clock.nowSeconds(),
          requests: [{ prompt: [1, 2, 3], arrivalSeconds: 0 }],
        })
        return await edge.collect()
      } finally {
        await Promise.all(children.map((child) => child.end()))
      }
    })
    expect(record.requests[0].tokenSeconds).toHaveLength(6)
    expect(record.bytes).toMatchObject({ upData: 32 + 4 * 3, downData: 6 * 36 })
  }, 60_000)
})
