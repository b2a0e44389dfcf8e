import { afterEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { attentionUnits } from '../../../src/model/spec.ts'
import { EDGE, uniformPlan } from '../../../src/plan/plan.ts'
import { edgeBytes, runtimeMemoryTerms } from '../../../src/plan/price/memory.ts'
import { resolvePlan } from '../../../src/serve/edge/resolvePlan.ts'
import { staticSelector } from '../../../src/serve/edge/staticSelector.ts'
import { GREEDY } from '../../../src/run/executor/types.ts'
import type { CompletionRequest } from '../../../src/serve/http/types.ts'
import { TEXT, post, raw, rawPost, until } from '../http/support.ts'
import { openStack, spec, type Stack, type StackOptions } from './stack.ts'

const units = attentionUnits(spec)
const order = Array.from({ length: spec.layers }, () => Array.from({ length: units }, (_, unit) => unit))
const alone = resolvePlan(uniformPlan(spec.layers, units, EDGE), order)

/** Bytes of the whole model, and of the K/V of such a request. */
const need = (promptTokens: number, maxNewTokens: number): number =>
  edgeBytes(runtimeMemoryTerms(spec, 'fp32'), alone.plan, promptTokens + maxNewTokens)

/** Everything on the edge, and runs of its engine that a test holds. */
class HeldEngine {
  private open: () => void = () => {}
  private gate: Promise<void> | null = null

  readonly hold = (): Promise<void> => this.gate ?? Promise.resolve()

  close(): void {
    this.gate = new Promise((resolve) => (this.open = resolve))
  }

  release(): void {
    this.gate = null
    this.open()
  }
}

describe('a service on an edge', () => {
  let stack: Stack
  const engine = new HeldEngine()
  const openEdge = async (options: Partial<StackOptions> = {}): Promise<void> => {
    stack = await openStack({
      alone,
      hold: engine.hold,
      decider: () =>
        staticSelector({
          name: 'test',
          source: 'forced',
          placed: alone,
          alone,
          outageSeconds: 3,
          stableSeconds: 3,
        }),
      ...options,
    })
  }
  afterEach(async () => {
    engine.release()
    await stack.close()
  })

  const request = (over: Partial<CompletionRequest> = {}): CompletionRequest => ({
    prompt: [1, 2, 3],
    maxNewTokens: 2,
    sampling: GREEDY,
    key: null,
    arrivedSeconds: systemClock.nowSeconds(),
    deadlineSeconds: null,
    principal: 'anonymous',
    ...over,
  })
  const listener = () => ({ onToken: () => {}, signal: new AbortController().signal })

  test('its queue alone admits: 261 requests through HTTP, and 429 with Retry-After for the next', async () => {
    await openEdge({ limits: { maxInFlight: 1, maxQueued: 260 } })
    engine.close()
    const body = { model: spec.id, prompt: [1, 2, 3], max_tokens: 1 }
    const { api, opened } = stack
    const first = post(api, TEXT, body)
    const text = rawPost(TEXT, JSON.stringify(body))
    await until(() => opened.service.queue.inFlight === 1)
    const waiting = await Promise.all(Array.from({ length: 260 }, () => raw(api, text)))
    await until(() => opened.service.queue.waiting === 260)
    const { status, json, headers } = await post(api, TEXT, body)
    expect([status, json.error.code, headers.get('retry-after')]).toEqual([429, 'queue_full', '1'])
    expect(json.error.message).toContain('260 requests wait, at most 260 may')
    for (const socket of waiting) socket.destroy()
    engine.release()
    expect((await first).status).toBe(200)
    await until(() => opened.service.queue.waiting + opened.service.queue.inFlight === 0)
  })

  test('a request that can never fit is refused at once, with both numbers, and not to be asked again', async () => {
    await openEdge({ memoryBytes: need(3, 10), limits: { maxInFlight: 1 } })
    engine.close()
    const running = stack.opened.service.complete(request({ maxNewTokens: 10 }), listener())
    const body = { model: spec.id, prompt: [1, 2, 3], max_tokens: 11 }
    const { status, json, headers } = await post(stack.api, TEXT, body)
    expect([status, json.error.code]).toEqual([400, 'edge_memory_exceeded'])
    expect(json.error.message).toContain(`needs at least ${need(3, 11)} bytes`)
    expect(json.error.message).toContain(`${need(3, 10)} are available`)
    expect([headers.get('retry-after'), headers.get('x-should-retry')]).toEqual([null, 'false'])
    engine.release()
    expect((await running).ids).toHaveLength(10)
  })

  test('one that does not fit beside another waits for it', async () => {
    await openEdge({ memoryBytes: need(3, 10) })
    engine.close()
    const { service } = stack.opened
    const both = [1, 2].map(() => service.complete(request({ maxNewTokens: 10 }), listener()))
    await until(() => stack.memory.waiting === 1)
    // Both have their plan; the second one's waits.
    expect(service.queue).toEqual({ waiting: 0, inFlight: 2 })
    engine.release()
    for (const { ids } of await Promise.all(both)) expect(ids).toHaveLength(10)
  })

  test('a deadline ends a request while the engine is in a pass, and the place is free after that', async () => {
    await openEdge({ limits: { maxInFlight: 1 } })
    engine.close()
    const { service } = stack.opened
    const late = service.complete(request({ deadlineSeconds: 0.05 }), listener())
    await expect(late).rejects.toMatchObject({ code: 'E_DEADLINE', message: expect.stringMatching(/0.05 s/) })
    const ended = stack.events.filter(({ kind }) => kind === 'request-ended')
    expect(ended).toMatchObject([{ end: 'error', detail: 'E_DEADLINE', tokens: 0 }])
    expect(service.queue).toEqual({ waiting: 0, inFlight: 1 })
    engine.release()
    expect((await service.complete(request(), listener())).ids).toHaveLength(2)
    expect(stack.events.filter(({ kind }) => kind === 'request-ended')).toHaveLength(2)
  })

  test('a deadline counts from when HTTP had the request, not from when it was read', async () => {
    await openEdge()
    const arrivedSeconds = systemClock.nowSeconds() - 7
    const late = stack.opened.service.complete(request({ arrivedSeconds, deadlineSeconds: 7 }), listener())
    await expect(late).rejects.toMatchObject({
      code: 'E_DEADLINE',
      message: 'the request was not done within its 7 s: it was in the queue',
    })
  })
})
