import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { eventJson } from '../../../src/cli/serve/eventText.ts'
import { serviceEventJsonSchema } from '../../../src/cli/json/serve.ts'
import { readDecisionLog } from '../../../src/core/journal/decisions.ts'
import type { LogRecord } from '../../../src/core/journal/types.ts'
import { isTransition, type ServiceEvent } from '../../../src/serve/edge/types.ts'
import { createCloud, createEdge } from '../../../src/serve/index.ts'

const scratch = mkdtempSync(join(tmpdir(), 'edgewise-events-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const ANY_PORT = { host: '127.0.0.1', port: 0 }
const side = { model: 'tales', cacheFolder: join(scratch, 'cache') }

/** The record of the log that an event becomes, by name; null: none. */
function recordKind(event: ServiceEvent): string | null {
  switch (event.kind) {
    case 'request-queued':
      return 'arrival'
    case 'request-ended':
      return 'outcome'
    case 'token':
    case 'edge-pass':
    case 'link-probed':
    case 'degraded':
      return null
    case 'decision':
    case 'transfer':
    case 'heartbeat':
    case 'load':
      return event.kind
    default:
      return `event ${event.kind}`
  }
}

it('one stream tells the log, the metrics and an observer the same', async () => {
  const folder = join(scratch, 'log')
  const events: ServiceEvent[] = []
  const cloud = await createCloud({ ...side, listen: ANY_PORT })
  const edge = await createEdge({
    ...side,
    cloud: cloud.address,
    plan: 'cut:3',
    listen: ANY_PORT,
    logFolder: folder,
    onEvent: (event) => events.push(event),
  })
  await edge.generate({ prompt: 'Once there was a small bear who lived in the wood', maxNewTokens: 12 })
  // What the link measures comes by itself.
  await expect.poll(() => new Set(events.map(({ kind }) => kind)), { timeout: 5000 }).toContain('heartbeat')
  const metrics = await (await fetch(`${edge.url}/metrics`, { headers: { connection: 'close' } })).text()
  const counted = (kind: string): number =>
    Number(new RegExp(`^edgewise_events_total{kind="${kind}"} (.*)$`, 'm').exec(metrics)?.[1] ?? 0)
  const kinds = new Set(events.map(({ kind }) => kind))
  expect([...kinds]).toEqual(
    expect.arrayContaining(['link-up', 'link-probed', 'request-queued', 'decision', 'edge-pass', 'token']),
  )
  for (const kind of kinds) {
    const heard = events.filter((event) => event.kind === kind && isTransition(event)).length
    expect(counted(kind), kind).toBe(heard)
  }
  await edge.close()
  await cloud.close()
  const records = [...readDecisionLog(folder)].filter(({ kind }) => kind !== 'header')
  const nameOf = (record: LogRecord): string =>
    record.kind === 'event' ? `event ${record.name}` : record.kind
  expect(records.map(nameOf)).toEqual(events.map(recordKind).filter((name) => name !== null))
  // The forced plan's bundle has no figures: joules are not measured, its messages are.
  const outcome = records.find((record) => record.kind === 'outcome')!
  expect(outcome).toMatchObject({ energyJoules: null, accuracyLoss: null, cloudSeconds: null })
  // Hidden states go up for the prompt and each token but the last, a token comes down for each.
  expect(outcome.messages).toBe(24)
  const decision = events.find((event) => event.kind === 'decision')!
  expect(decision).toMatchObject({ reason: 'dispatch', propensity: 1, fromToken: 0, rebuild: 'start' })
  expect(decision.snapshot.deliveredTokens).toBe(0)
  for (const event of events.filter(isTransition)) serviceEventJsonSchema.parse(eventJson(event, edge.units))
})
