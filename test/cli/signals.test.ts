import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { listeningJsonSchema } from '../../src/cli/json/split.ts'
import { EXIT_INTERRUPTED } from '../../src/cli/program.ts'

const cli = resolve(import.meta.dirname, '../../dist/cli.js')
const scratch = mkdtempSync(join(tmpdir(), 'edgewise-signals-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** A program that runs, what it printed so far, and how it ends. */
function start(...args: string[]) {
  const child = spawn(process.execPath, [cli, ...args], { cwd: scratch, stdio: ['ignore', 'pipe', 'pipe'] })
  const text = { out: '', err: '' }
  const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>
  const line = new Promise<string>((found) => {
    child.stdout.on('data', (chunk) => {
      text.out += String(chunk)
      if (text.out.includes('\n')) found(text.out.split('\n')[0])
    })
  })
  child.stderr.on('data', (chunk) => (text.err += String(chunk)))
  const firstLine = Promise.race([
    line,
    ended.then(() => Promise.reject(new Error(`ended early: ${text.err}`))),
  ])
  return { child, text, ended, firstLine }
}

describe.skipIf(!existsSync(cli))('a signal (skipped where dist is not built: `npm run build`)', () => {
  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    '%s ends an edge with what it has, and a cloud after its farewells',
    async (signal) => {
      const side = ['--model', 'tales', '--cache', join(scratch, 'cache')]
      const cloud = start('cloud', ...side, '--listen', '127.0.0.1:0', '--json')
      const { listening } = listeningJsonSchema.parse(JSON.parse(await cloud.firstLine))
      const asked = ['--plan', 'cloud', '--prompt', 'Once', '--count', '1000', '--max-in-flight', '1']
      const edge = start('edge', ...side, '--cloud', `127.0.0.1:${listening.port}`, ...asked)
      expect(await edge.firstLine).toMatch(/^\[1\] /)

      edge.child.kill(signal)
      expect(await edge.ended, edge.text.err).toEqual([EXIT_INTERRUPTED, null])
      expect(edge.text.out).toContain('(interrupted)')

      cloud.child.kill(signal)
      expect(await cloud.ended, cloud.text.err).toEqual([EXIT_INTERRUPTED, null])
      expect(cloud.text.err).toContain('connection 1 closed')
      expect(cloud.text.err).not.toContain('unexpected error')
    },
  )
})
