import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { systemTimers } from '../../../src/core/timers.ts'
import type { ResolvedPlan } from '../../../src/run/executor/messages.ts'
import { openRequestJournal } from '../../../src/core/journal/requests.ts'
import { attentionUnits } from '../../../src/model/spec.ts'
import { CLOUD, cutPlan, EDGE, uniformPlan, type Plan } from '../../../src/plan/plan.ts'
import { resolvePlan } from '../../../src/serve/edge/resolvePlan.ts'
import { RequestStore } from '../../../src/serve/edge/requests.ts'
import { staticSelector } from '../../../src/serve/edge/staticSelector.ts'
import { idsFrame } from '../../../src/run/wire/payloads.ts'
import { listen } from '../../../src/run/wire/server.ts'
import { FRAME } from '../../../src/run/wire/types.ts'
import { openStack, spec, type Stack, type StackOptions } from './stack.ts'

const units = attentionUnits(spec)
const order = Array.from({ length: spec.layers }, () => Array.from({ length: units }, (_, unit) => unit))
const placed = (plan: Plan): ResolvedPlan => resolvePlan(plan, order)
const alone = placed(uniformPlan(spec.layers, units, EDGE))
const cut = placed(cutPlan(spec.layers, units, 4, 32, EDGE, CLOUD))
const asked = { model: spec.id, prompt: 'Once there was', max_tokens: 40, temperature: 0 } as const

const open = (plan: ResolvedPlan, options: Partial<StackOptions> = {}): Promise<Stack> =>
  openStack({
    alone,
    limits: { outageSeconds: 0.5 },
    ...options,
    decider: () =>
      staticSelector({
        name: 'test',
        source: 'forced',
        placed: plan,
        alone,
        outageSeconds: 1.5,
        stableSeconds: 0.3,
      }),
  })

describe('requests that the cloud will not have, or that ask again', () => {
  let stack: Stack | null = null
  afterEach(async () => {
    await stack?.close()
    stack = null
  })

  const textOf = async (key?: string): Promise<string> => {
    const options = key === undefined ? {} : { headers: { 'Idempotency-Key': key } }
    return (await stack!.client.completions.create(asked, options)).choices[0].text
  }

  test('a cloud without room for a session lets the edge go on alone, once and not to and fro', async () => {
    stack = await open(alone)
    const whole = await textOf()
    await stack.close()
    stack = await open(cut, { sessionBytes: 1000 })
    await expect.poll(() => stack!.opened.link!.state).toBe('up')
    expect(await textOf()).toBe(whole)
    const { events } = stack
    expect(events.find((event) => event.kind === 'request-refused')).toMatchObject({ code: 'E_BUSY' })
    const decisions = events.flatMap((event) => (event.kind === 'decision' ? [event.reason] : []))
    expect(decisions).toEqual(['dispatch', 'outage'])
  })

  test('a cloud that answers nonsense is no defect of ours: 503, and what had come is kept', async () => {
    const liar = await listen({
      host: '127.0.0.1',
      port: 0,
      clock: systemClock,
      greet: () => ({ welcome: {} }),
      onConnection: (connection) =>
        connection.onFrame(({ type, request, position, count }) => {
          if (type !== FRAME.tensor) return
          const at = { request, step: 3, position: position + count }
          connection.send(idsFrame(position === 0 ? [5] : [4_000_000], at))
        }),
    })
    try {
      stack = await open(cut, { port: () => Promise.resolve(liar.port) })
      const error = await stack.client.completions.create(asked).catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ status: 503 })
      expect((error as { error: object }).error).toMatchObject({ partial: { tokens: 1 } })
    } finally {
      await liar.close()
    }
  })

  test('a request that was broken off goes on under its key, token for token', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'edgewise-requests-'))
    const journal = await openRequestJournal(folder, { clock: systemClock, timers: systemTimers })
    try {
      stack = await open(cut, { requests: new RequestStore(journal, spec, 'weights') })
      const whole = await textOf()
      const stream = await stack.client.completions.create(
        { ...asked, stream: true },
        { headers: { 'Idempotency-Key': 'one' } },
      )
      let seen = ''
      for await (const chunk of stream) {
        seen += chunk.choices[0]?.text ?? ''
        if (seen.length >= 7) break
      }
      await expect.poll(() => stack!.opened.service.queue.inFlight).toBe(0)
      const before = journal.find('anonymous', 'one')!.tokens.length
      expect(before).toBeGreaterThanOrEqual(7)
      expect(await textOf('one')).toBe(whole)
      expect(journal.find('anonymous', 'one')).toMatchObject({ finish: 'length' })
      expect(journal.find('anonymous', 'one')!.tokens).toHaveLength(40)
      // Again: out of the journal, whatever the cloud does.
      await stack.cloud.stop()
      expect(await textOf('one')).toBe(whole)
    } finally {
      await journal.close()
      rmSync(folder, { recursive: true, force: true })
    }
  })
})
