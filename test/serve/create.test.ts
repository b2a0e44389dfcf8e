import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { readDecisionLog } from '../../src/core/journal/decisions.ts'
import { systemTimers, type Timers } from '../../src/core/timers.ts'
import { edgeJoules } from '../../src/plan/price/energy.ts'
import { formatManifest, parseManifest } from '../../src/policy/bundle/manifest.ts'
import { openBundle } from '../../src/policy/controller/edge.ts'
import { LoggedUseTally } from '../../src/serve/edge/loggedUse.ts'
import {
  createCloud,
  createEdge,
  type CloudEvent,
  type EdgeOptions,
  type ServiceEvent,
} from '../../src/serve/index.ts'

const scratch = mkdtempSync(join(tmpdir(), 'edgewise-create-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const ANY_PORT = { host: '127.0.0.1', port: 0 }
const side = { model: 'tales', cacheFolder: join(scratch, 'cache') }
const request = { prompt: 'Once there was', maxNewTokens: 16 }

/** Sockets, servers and workers of this process that keep it alive. */
function handles(): string[] {
  return process
    .getActiveResourcesInfo()
    .filter((name) => /^(TCP|TLS|MessagePort|Worker|Pipe)/.test(name))
    .sort()
}

async function alone(options: Partial<EdgeOptions> = {}) {
  const edge = await createEdge({ ...side, plan: 'edge', ...options })
  const output = await edge.generate(request)
  await edge.close()
  return output
}

describe('createEdge and createCloud', () => {
  it('generate in one process by a split plan what the edge generates alone, and leave no handle', async () => {
    const expected = await alone()
    expect(expected.ids).toHaveLength(16)
    expect(expected.text).toHaveLength(16)
    const before = handles()
    const [heard, seen]: [ServiceEvent[], CloudEvent[]] = [[], []]
    const cloud = await createCloud({ ...side, listen: ANY_PORT, onEvent: (event) => seen.push(event) })
    const edge = await createEdge({
      ...side,
      cloud: cloud.address,
      plan: 'split:0.5',
      listen: ANY_PORT,
      logFolder: join(scratch, 'log'),
      onEvent: (event) => heard.push(event),
    })
    expect(handles().length).toBeGreaterThan(before.length)
    const streamed: number[] = []
    const output = await edge.generate({ ...request, onToken: (id) => streamed.push(id) })
    expect(output).toEqual(expected)
    expect(streamed).toEqual(expected.ids)
    const response = await fetch(`${edge.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', connection: 'close' },
      body: JSON.stringify({ model: 'tales', prompt: request.prompt, max_tokens: 16, temperature: 0 }),
    })
    const { choices } = (await response.json()) as { choices: { text: string }[] }
    expect(choices[0].text).toBe(expected.text)
    expect(edge).toMatchObject({ decider: 'the plan split:0.5', linkState: 'up', precision: 'fp32' })
    expect(cloud.connections).toBe(1)
    expect(await edge.close()).toEqual({ givenUp: 0 })
    await cloud.close()
    await expect.poll(handles).toEqual(before)
    expect(heard.filter(({ kind }) => kind === 'request-ended')).toHaveLength(2)
    expect(seen.map(({ kind }) => kind)).toEqual(['connection-opened', 'connection-closed'])
    expect(readdirSync(join(scratch, 'log')).length).toBeGreaterThan(0)
  })

  it('write into the log what each request used of the budgets, as the edge tells it', async () => {
    const bundle = join(scratch, 'bundle')
    cpSync('test/fixtures/serve/bundle', bundle, { recursive: true })
    const manifest = join(bundle, 'manifest.json')
    const { problem, ...rest } = parseManifest(readFileSync(manifest, 'utf8'), manifest)
    const budgets = { energyJoules: 5, accuracyLoss: null, cloudSeconds: 0.05 }
    writeFileSync(manifest, formatManifest({ ...rest, problem: { ...problem, budgets } }))
    const logFolder = join(scratch, 'budgeted')
    const cloud = await createCloud({ ...side, listen: ANY_PORT })
    const edge = await createEdge({ ...side, cloud: cloud.address, bundle, logFolder })
    for (let i = 0; i < 3; i++) await edge.generate(request)
    const told = edge.budgetUses!
    await edge.close()
    await cloud.close()
    const records = [...readDecisionLog(logFolder)]
    expect(records[0]).toMatchObject({ kind: 'header', version: 2, budgets })
    const { pair } = (await openBundle(bundle)).problem
    const tally = new LoggedUseTally()
    for (const record of records) {
      tally.add(record)
      if (record.kind === 'outcome') {
        const { upBytes, downBytes, messages = 0, edgeSeconds } = record
        const joules = edgeJoules(pair.power, { upBytes, downBytes, messages, edgeSeconds: edgeSeconds! }, 0)
        expect(record.energyJoules).toBeCloseTo(joules, 9)
      }
    }
    const logged = tally.summary()!
    expect(logged).toMatchObject({ ended: 3, energyJoules: { budget: 5, requests: 3 } })
    expect(logged.energyJoules.used).toBeCloseTo(told.energyJoules!.used, 9)
    expect(logged.cloudSeconds.used).toBeCloseTo(told.cloudSeconds!.used, 9)
    expect(logged.accuracyLoss.used).not.toBeNull()
  })

  it('close what was opened where a later step is refused', async () => {
    const before = handles()
    await expect(createEdge({ ...side, plan: 'cloud' })).rejects.toThrow('an address')
    const anywhere = { host: '0.0.0.0', port: 0 }
    await expect(createEdge({ ...side, plan: 'edge', listen: anywhere })).rejects.toThrow('loopback')
    await expect(createCloud({ ...side, listen: anywhere, status: ANY_PORT })).rejects.toThrow('loopback')
    await expect.poll(handles).toEqual(before)
  })

  it('give up at the end of the drain what is still under way, and take nothing new', async () => {
    const edge = await createEdge({ ...side, plan: 'edge' })
    let begun = (): void => {}
    const first = new Promise<void>((resolve) => (begun = resolve))
    const long = edge.generate({ ...request, maxNewTokens: 200, onToken: () => begun() })
    const ended = long.catch((error: unknown) => error)
    await first
    expect(await edge.close({ drainSeconds: 0 })).toEqual({ givenUp: 1 })
    expect(await ended).toMatchObject({ code: 'E_CANCELLED' })
    await expect(edge.generate(request)).rejects.toMatchObject({ code: 'E_DRAINING' })
  })

  it('give up a running request at its deadline, and say so', async () => {
    const ended: ServiceEvent[] = []
    const edge = await createEdge({
      ...side,
      plan: 'edge',
      onEvent: (event) => {
        if (event.kind === 'request-ended') ended.push(event)
      },
    })
    const late = edge.generate({ ...request, maxNewTokens: 200, deadlineSeconds: 0.2 })
    await expect(late).rejects.toMatchObject({ code: 'E_DEADLINE' })
    expect(ended).toMatchObject([{ end: 'error', detail: 'E_DEADLINE' }])
    await expect.poll(() => edge.queue).toEqual({ waiting: 0, inFlight: 0 })
    await edge.close()
  })

  it('give a request over HTTP the whole deadline of the service, however long', async () => {
    const waits: number[] = []
    const timers: Timers = {
      after: (seconds, run, background) => {
        waits.push(seconds)
        return systemTimers.after(seconds, run, background)
      },
    }
    const limits = { totalSeconds: 5000 }
    const edge = await createEdge({ ...side, plan: 'edge', listen: ANY_PORT, timers, limits })
    const response = await fetch(`${edge.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', connection: 'close' },
      body: JSON.stringify({ model: 'tales', prompt: request.prompt, max_tokens: 2 }),
    })
    expect(response.status).toBe(200)
    await response.text()
    await edge.close()
    // The longest other wait is for a first token: 300 s.
    const deadlines = waits.filter((seconds) => seconds > 400)
    expect(deadlines.length).toBeGreaterThan(0)
    expect(Math.min(...deadlines)).toBeGreaterThan(4900)
  })

  it.each([
    [{ prompt: [] }, 'at least 1 token of prompt'],
    [{ prompt: [9999] }, 'ids in 0..'],
    [{ prompt: 'Once', maxNewTokens: 100_000 }, 'the context of tales'],
  ])('refuse the request %j with what was expected', async (wrong, words) => {
    const edge = await createEdge({ ...side, plan: 'edge' })
    await expect(edge.generate(wrong)).rejects.toThrow(words)
    await edge.close()
  })
})
