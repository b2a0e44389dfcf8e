import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, it } from 'vitest'
import { generationJsonSchema, listeningJsonSchema } from '../../src/cli/json/split.ts'
import { CACHE, model, NEW, PROMPT, removeWorld } from './splitWorld.ts'

afterAll(removeWorld)

const cli = join(resolve(import.meta.dirname, '../..'), 'dist', 'cli.js')

interface Running {
  readonly child: ChildProcess
  readonly text: { out: string; err: string }
  readonly closed: Promise<number>
}

function start(...argv: string[]): Running {
  const child = spawn(process.execPath, [cli, ...argv])
  const text = { out: '', err: '' }
  child.stdout.on('data', (chunk) => (text.out += String(chunk)))
  child.stderr.on('data', (chunk) => (text.err += String(chunk)))
  return { child, text, closed: once(child, 'close').then(([code]) => code as number) }
}

/** Until the first line of standard output, or the end. */
async function firstLine({ text, closed }: Running): Promise<string> {
  const ended = closed.then(() => true)
  while (!text.out.includes('\n') && !(await Promise.race([ended, sleep(10)])));
  return text.out.split('\n')[0]
}

async function startCloud() {
  const cloud = start('cloud', '--model', model, '--listen', '127.0.0.1:0', ...CACHE, '--json')
  const { listening } = listeningJsonSchema.parse(JSON.parse(await firstLine(cloud)))
  return { ...cloud, address: `127.0.0.1:${listening.port}` }
}

const temporary = (): string[] =>
  readdirSync(tmpdir()).filter((name) => name.startsWith('edgewise-segments-'))

describe.skipIf(!existsSync(cli))(
  'two processes with one model (skipped where dist is not built: `npm run build`)',
  () => {
    it('generate the text that one gives alone; SIGTERM ends the cloud and leaves nothing', async () => {
      const before = temporary()
      const cloud = await startCloud()
      const argv = ['edge', '--model', model, ...CACHE, ...PROMPT, ...NEW, '--json', '--plan']
      const whole = start(...argv, 'edge')
      const split = start(...argv, 'cut:1', '--cloud', cloud.address)
      expect([await whole.closed, await split.closed], whole.text.err + split.text.err).toEqual([0, 0])
      const [a, b] = [whole, split].map(({ text }) => generationJsonSchema.parse(JSON.parse(text.out)))
      expect(b.tokens).toEqual(a.tokens)
      cloud.child.kill('SIGTERM')
      expect(await cloud.closed).toBe(130)
      expect(cloud.text.err).toContain('connection 1 closed')
      expect(temporary()).toEqual(before)
    })

    it('Ctrl-C during generation: the edge prints what there is, the cloud goes on', async () => {
      const cloud = await startCloud()
      const argv = ['edge', '--model', model, '--cloud', cloud.address, ...CACHE, '--plan', 'cut:1', '--json']
      const many = start(...argv, ...PROMPT, ...NEW, '--count', '1000')
      while (!cloud.text.err.includes('opened')) await sleep(10)
      await sleep(200)
      many.child.kill('SIGINT')
      expect(await many.closed).toBe(130)
      expect(many.text.err).toBe('')
      const after = start(...argv, ...PROMPT, ...NEW)
      expect(await after.closed, after.text.err).toBe(0)
      cloud.child.kill('SIGINT')
      expect(await cloud.closed).toBe(130)
    })
  },
)
