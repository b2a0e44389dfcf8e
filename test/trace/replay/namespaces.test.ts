import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { wanObstacle, withWan } from '../../../src/trace/replay/namespaces.ts'
import type { Wan } from '../../../src/trace/replay/namespaces.ts'
import { sharedPath } from '../../shared.ts'

const sourcePath = sharedPath('tools/wan-emulator.c')
const obstacle = wanObstacle(sourcePath)
const link = {
  sourcePath,
  oneWayDelaySeconds: 0.01,
  upBitsPerSecond: 1e8,
  downBitsPerSecond: 1e8,
  queueBytes: 1e6,
}
const BYTES = 300_000

/** Sends back what comes. */
const ECHO = `require('node:net').createServer((s) => s.pipe(s)).listen(7400, process.argv[1], () => console.log('ready'))`
/** Sends so many bytes, and prints how many came back and after how many milliseconds the first did. */
const CLIENT = `
  const [host, bytes] = process.argv.slice(1)
  const socket = require('node:net').connect(7400, host)
  let back = 0, first = 0, from = 0
  socket.on('connect', () => { from = performance.now(); socket.end(Buffer.alloc(Number(bytes), 7)) })
  socket.on('data', (chunk) => { first ||= performance.now() - from; for (const byte of chunk) back += byte / 7 })
  socket.on('end', () => console.log(JSON.stringify({ back, first })))`

async function echoOver({ edge, cloud }: Wan): Promise<{ back: number; first: number }> {
  const server = spawn(...cloud.command(process.execPath, ['-e', ECHO, cloud.address]))
  try {
    await once(server.stdout, 'data')
    const [program, args] = edge.command(process.execPath, ['-e', CLIENT, cloud.address, String(BYTES)])
    return JSON.parse((await promisify(execFile)(program, args)).stdout)
  } finally {
    server.kill()
    await once(server, 'close')
  }
}

const namespaces = (): string => execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })

describe.skipIf(obstacle !== null)(`an emulated WAN (skipped where there is none: ${obstacle})`, () => {
  it('carries TCP between two namespaces, with its delay, and is gone afterwards', async () => {
    let name = ''
    const { back, first } = await withWan(link, async (wan) => {
      name = wan.edge.namespace
      expect(namespaces()).toContain(name)
      return echoOver(wan)
    })
    expect(back).toBe(BYTES)
    expect(first).toBeGreaterThanOrEqual(20)
    expect(namespaces()).not.toContain(name)
  })

  it('is gone where its use fails', async () => {
    let name = ''
    const use = async (wan: Wan): Promise<void> => {
      name = wan.cloud.namespace
      throw new Error('the use failed')
    }
    await expect(withWan(link, use)).rejects.toThrow('the use failed')
    expect(namespaces()).not.toContain(name)
  })
})

describe('an emulated WAN', () => {
  it('says why there is none', async () => {
    const missing = resolve(import.meta.dirname, 'absent.c')
    expect(wanObstacle(missing)).toEqual(expect.any(String))
    await expect(withWan({ ...link, sourcePath: missing }, async () => 1)).rejects.toThrow(/wan[^]*remedy/)
  })

  it('refuses figures that are none', async () => {
    for (const bad of [{ oneWayDelaySeconds: NaN }, { upBitsPerSecond: 0 }, { queueBytes: -1 }]) {
      await expect(withWan({ ...link, ...bad }, async () => 1)).rejects.toThrow(
        new RegExp(Object.keys(bad)[0]),
      )
    }
  })
})
