import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { serviceEventJsonSchema, servingJsonSchema } from '../../src/cli/json/serve.ts'
import { listeningJsonSchema } from '../../src/cli/json/split.ts'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { readDecisionLog } from '../../src/core/journal/decisions.ts'
import type { LogRecord } from '../../src/core/journal/types.ts'
import { recordIo, type RecordedIo } from './io.ts'

const scratch = mkdtempSync(join(tmpdir(), 'edgewise-serve-cli-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

interface Running {
  readonly io: RecordedIo
  readonly code: Promise<number>
}

const running: Running[] = []
afterEach(async () => {
  for (const { io, code } of running.splice(0).reverse()) {
    io.interrupt()
    expect(await code).toBe(130)
  }
})

function start(...argv: string[]): Running {
  const io = recordIo({ clock: systemClock, env: { XDG_CACHE_HOME: join(scratch, 'cache') } })
  const one = { io, code: runCli(argv, io, COMMANDS, '0.0.0') }
  running.push(one)
  return one
}

async function firstLine({ io, code }: Running): Promise<unknown> {
  let over = false
  void code.then(() => (over = true))
  await expect.poll(() => io.out().includes('\n') || over, { timeout: 20_000 }).toBe(true)
  return JSON.parse(io.out().split('\n')[0] || JSON.stringify(io.err()))
}

async function startCloud(...more: string[]): Promise<string> {
  const cloud = start('cloud', '--model', 'tales', '--listen', '127.0.0.1:0', '--json', ...more)
  const { listening } = listeningJsonSchema.parse(await firstLine(cloud))
  return `127.0.0.1:${listening.port}`
}

let logs = 0
async function startEdge(...more: string[]) {
  const log = join(scratch, `log${logs++}`)
  const edge = start('edge', '--model', 'tales', '--listen', '127.0.0.1:0', '--json', '--log', log, ...more)
  const { serving } = servingJsonSchema.parse(await firstLine(edge))
  return { ...edge, serving, log }
}

const asked = { model: 'tales', prompt: 'Once there was', max_tokens: 24, temperature: 0 }

async function complete(url: string, headers: Record<string, string> = {}, body: object = asked) {
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
  return { status: response.status, body: (await response.json()) as { choices: { text: string }[] } }
}

const recordsIn = (folder: string): LogRecord[] => [...readDecisionLog(folder)]

describe('edgewise edge --listen', () => {
  it('serves by a forced plan, writes down what it decided, and tells its transitions as JSON lines', async () => {
    const edge = await startEdge('--cloud', await startCloud(), '--plan', 'cut:3@8')
    const { status, body } = await complete(edge.serving.url)
    expect(status).toBe(200)
    expect(body.choices[0].text).toHaveLength(24)
    const events = edge.io
      .out()
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => serviceEventJsonSchema.parse(JSON.parse(line)))
    expect(events.map(({ kind }) => kind)).toContain('link-up')
    expect(events.find(({ kind }) => kind === 'decision')).toMatchObject({
      plan: 'cut:3@8',
      source: 'forced',
    })
    edge.io.interrupt()
    await edge.code
    const records = recordsIn(edge.log)
    expect(records.map(({ kind }) => kind)).toEqual(
      expect.arrayContaining(['header', 'arrival', 'decision', 'outcome']),
    )
  })

  it('a request asked for again under its key is answered from the journal, by another process too', async () => {
    const first = await startEdge('--plan', 'edge')
    const key = { 'idempotency-key': 'one' }
    const { body } = await complete(first.serving.url, key)
    first.io.interrupt()
    await first.code
    const again = start(
      'edge',
      '--model',
      'tales',
      '--listen',
      '127.0.0.1:0',
      '--json',
      '--plan',
      'edge',
      '--log',
      first.log,
    )
    const { serving } = servingJsonSchema.parse(await firstLine(again))
    expect((await complete(serving.url, key)).body.choices[0].text).toBe(body.choices[0].text)
    const other = await complete(serving.url, key, { ...asked, max_tokens: 5 })
    expect(other.status).toBe(409)
  })

  it('serves a static plan where the bundle is missing or invalid, and says so', async () => {
    const folder = join(scratch, 'no-bundle')
    const edge = await startEdge('--cloud', await startCloud(), '--bundle', folder)
    expect(edge.serving.decider).toBe('the static fallback')
    expect(edge.io.out()).toContain('"kind":"degraded"')
    expect(edge.io.err()).toMatch(/^policy: the bundle .*no-bundle is not used: .*; a static plan serves$/m)
    expect((await complete(edge.serving.url)).status).toBe(200)
    const metrics = await (
      await fetch(`${edge.serving.url}/metrics`, { headers: { connection: 'close' } })
    ).text()
    expect(metrics).toContain('\nedgewise_events_total{kind="degraded"} 1\n')
  })

  it.each([
    [['--plan', 'cloud'], '--cloud'],
    [['--plan', 'edge', '--bundle', 'x'], '--plan or --bundle'],
    [['--plan', 'edge', '--prompt', 'Once'], '--prompt'],
    [['--plan', 'edge', '--listen', '0.0.0.0:0'], 'loopback'],
    [['--plan', 'edge', '--api-keys', 'nowhere.txt'], 'nowhere.txt'],
  ])('refuses %j with one clear error', async (more, words) => {
    const log = join(scratch, `log${logs++}`)
    const io = recordIo({ clock: systemClock, env: { XDG_CACHE_HOME: join(scratch, 'cache') } })
    const argv = ['edge', '--model', 'tales', '--listen', '127.0.0.1:0', '--log', log, ...more]
    expect(await runCli(argv, io, COMMANDS, '0.0.0')).toBe(2)
    expect(io.err()).toContain(words)
    expect(io.err()).not.toContain('    at ')
  })

  it('queues as many requests as --max-queued allows: nothing before the queue refuses any', async () => {
    const limits = ['--max-in-flight', '1', '--max-queued', '300', '--drain-seconds', '0.1'] as const
    const { io, serving } = await startEdge('--plan', 'edge', ...limits)
    const long = { ...asked, max_tokens: 450 }
    const refused: number[] = []
    const requests = Array.from({ length: 280 }, () =>
      complete(serving.url, { connection: 'close' }, long).then(
        ({ status }) => {
          if (status === 429) refused.push(status)
        },
        // The server ends before it has answered.
        () => undefined,
      ),
    )
    const queued = (): number => io.out().split('"request-queued"').length - 1
    await expect.poll(() => queued() + refused.length, { timeout: 60_000 }).toBe(280)
    expect(refused).toEqual([])
    io.interrupt()
    await Promise.all(requests)
  })

  it('asks for API keys where it was given some, and keeps none of them', async () => {
    const file = join(scratch, 'keys.txt')
    writeFileSync(file, 'robot a-key-of-some-length\n', { mode: 0o600 })
    const edge = await startEdge('--plan', 'edge', '--api-keys', file)
    expect((await complete(edge.serving.url)).status).toBe(401)
    const { status } = await complete(edge.serving.url, { authorization: 'Bearer a-key-of-some-length' })
    expect(status).toBe(200)
    expect(readdirSync(edge.log).length).toBeGreaterThan(0)
  })
})
