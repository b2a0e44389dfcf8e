import { afterEach, describe, expect, test } from 'vitest'
import type { ResolvedPlan } from '../../../src/run/executor/messages.ts'
import { attentionUnits } from '../../../src/model/spec.ts'
import { CLOUD, cutPlan, EDGE, uniformPlan, needsCloud, type Plan } from '../../../src/plan/plan.ts'
import { resolvePlan } from '../../../src/serve/edge/resolvePlan.ts'
import { staticSelector } from '../../../src/serve/edge/staticSelector.ts'
import { openStack, spec, type Stack } from './stack.ts'

const units = attentionUnits(spec)
const order = Array.from({ length: spec.layers }, () => Array.from({ length: units }, (_, unit) => unit))
const placed = (plan: Plan): ResolvedPlan => resolvePlan(plan, order)
const alone = placed(uniformPlan(spec.layers, units, EDGE))
const cut = placed(cutPlan(spec.layers, units, 4, 32, EDGE, CLOUD))

const PROMPT = 'Once there was'
const asked = { model: spec.id, prompt: PROMPT, max_tokens: 160, temperature: 0 } as const

/** The text of a stream, and what happens at its n-th piece. */
async function textOf(stack: Stack, at: Readonly<Record<number, () => unknown>> = {}): Promise<string> {
  const stream = await stack.client.completions.create({ ...asked, stream: true })
  let text = ''
  let count = 0
  for await (const chunk of stream) {
    text += chunk.choices[0]?.text ?? ''
    await at[++count]?.()
  }
  return text
}

describe('the openai client, the real model, and a cloud that comes and goes', () => {
  let stack: Stack | null = null
  afterEach(async () => {
    await stack?.close()
    stack = null
  })

  const open = (plan: ResolvedPlan, outageSeconds: number): Promise<Stack> =>
    openStack({
      alone,
      limits: { outageSeconds },
      decider: () =>
        staticSelector({
          name: 'test',
          source: 'forced',
          placed: plan,
          alone,
          outageSeconds,
          stableSeconds: 0.3,
        }),
    })

  test('a cloud that is killed and started again changes no token', async () => {
    stack = await open(cut, 60)
    const whole = await textOf(stack)
    expect(whole.length).toBeGreaterThan(100)
    const { cloud, events } = stack
    const broken = await textOf(stack, {
      20: async () => {
        await cloud.stop()
        await cloud.start()
      },
      60: async () => {
        await cloud.stop()
        await cloud.start()
      },
    })
    expect(broken).toBe(whole)
    const resumed = events.filter(({ kind }) => kind === 'request-resumed')
    expect(resumed.length).toBeGreaterThan(0)
  })

  test('the edge goes on alone while the cloud is away, and back when it has returned', async () => {
    stack = await open(cut, 1.5)
    const whole = await textOf(stack)
    const { cloud, events } = stack
    const broken = await textOf(stack, { 10: () => cloud.stop() })
    expect(broken).toBe(whole)
    expect(events.some((event) => event.kind === 'decision' && event.reason === 'outage')).toBe(true)
    // Nobody waits: a request that comes in an outage begins alone.
    expect(await textOf(stack)).toBe(whole)
    await cloud.start()
    await expect.poll(() => stack!.opened.link!.state, { timeout: 20_000 }).toBe('up')
    expect(await textOf(stack)).toBe(whole)
    const last = events.findLast((event) => event.kind === 'decision')
    expect(needsCloud(last!.placed.plan)).toBe(true)
  })

  test('a client that leaves ends its request on both sides', async () => {
    stack = await open(cut, 60)
    const stream = await stack.client.completions.create({ ...asked, stream: true })
    for await (const _ of stream) break
    stream.controller.abort()
    const { service } = stack.opened
    await expect.poll(() => service.queue.inFlight).toBe(0)
    await expect.poll(() => stack!.cloud.peers.reduce((sum, { active }) => sum + active, 0)).toBe(0)
    expect(stack.opened.executor.retransmitBytes).toBe(0)
  })

  test('more than the queue holds is answered with 429, and what was taken ends well', async () => {
    stack = await openStack({
      alone,
      limits: { maxInFlight: 1, maxQueued: 1 },
      decider: () =>
        staticSelector({
          name: 't',
          source: 'forced',
          placed: cut,
          alone,
          outageSeconds: 9,
          stableSeconds: 1,
        }),
    })
    const all = await Promise.allSettled(
      Array.from({ length: 4 }, () => stack!.client.completions.create(asked)),
    )
    const refused = all.filter((one) => one.status === 'rejected')
    expect(refused.map(({ reason }) => (reason as { status: number }).status)).toEqual([429, 429])
    const texts = all.flatMap((one) => (one.status === 'fulfilled' ? [one.value.choices[0].text] : []))
    expect(new Set(texts).size).toBe(1)
  })
})
