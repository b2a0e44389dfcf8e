import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { randomStream, type RandomStream } from '../../../src/core/random.ts'
import type { GenerateOptions } from '../../../src/run/executor/edge.ts'
import type { ResolvedPlan } from '../../../src/run/executor/messages.ts'
import { GREEDY, type GenerationRequest, type RequestOutput } from '../../../src/run/executor/types.ts'
import { attentionUnits } from '../../../src/model/spec.ts'
import { BOUNDARY_BITS, CLOUD, EDGE, exitPlan } from '../../../src/plan/plan.ts'
import { FRAME } from '../../../src/run/wire/types.ts'
import { gpt2Like, groupedLike, randomSource } from '../../model/support.ts'
import { openLinked, type Linked } from './linked.ts'
import { cutAt, randomPlan, withRandomWidths } from './randomPlan.ts'

const PROMPT = [3, 1, 4, 1, 5]
const NEW_TOKENS = 14

function exitAt(
  model: typeof gpt2Like,
  mode: 'standalone' | 'collaborative',
  threshold: number,
): ResolvedPlan {
  const plan = exitPlan(model.layers, attentionUnits(model), { layer: 1, threshold, mode }, 32)
  const all = Array.from({ length: attentionUnits(model) }, (_, unit) => unit)
  return { plan, cloudUnits: Array.from(plan.unitsOnCloud, (count) => all.slice(0, count)) }
}

describe.each([gpt2Like, groupedLike])('$id over a link that breaks', (model) => {
  let linked: Linked
  beforeAll(async () => {
    linked = await openLinked(randomSource(model, 5))
  })
  afterAll(() => linked.close())

  const alone = cutAt(model, model.layers, EDGE, EDGE)

  function requestOf(placed: ResolvedPlan, seed: number): GenerationRequest {
    const sampling = seed % 2 === 0 ? GREEDY : { temperature: 1.1, topK: 12, topP: 0.95, seed }
    return { prompt: PROMPT, maxNewTokens: NEW_TOKENS, sampling, stopIds: [], ...placed }
  }

  const idsOf = ({ tokens }: RequestOutput): number[] => tokens.map(({ id }) => id)

  async function generate(
    placed: ResolvedPlan,
    seed: number,
    options: GenerateOptions = {},
  ): Promise<RequestOutput> {
    return linked.edge.generate(requestOf(placed, seed), options)
  }

  function anyPlan(random: RandomStream): ResolvedPlan {
    const bits = BOUNDARY_BITS[random.integer(4)]
    const kind = random.integer(5)
    const side = () => random.integer(2) as 0 | 1
    if (kind === 0) return randomPlan(random, model, bits)
    if (kind === 1) return withRandomWidths(random, randomPlan(random, model, bits))
    if (kind === 2) return exitAt(model, random.integer(2) === 0 ? 'standalone' : 'collaborative', 0.1)
    if (kind === 3) return cutAt(model, random.integer(model.layers + 1), EDGE, side(), bits)
    return alone
  }

  test('every plan, cut anywhere, goes on with the same tokens, by a replay alone', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1e6),
        fc.array(fc.integer({ min: 1, max: 25 }), { maxLength: 4 }),
        async (seed, cuts) => {
          const placed = anyPlan(randomStream(seed, 'replay'))
          const clean = await generate(placed, seed)
          linked.cutAfter(cuts)
          const broken = await generate(placed, seed)
          linked.cutAfter([])
          expect(idsOf(broken)).toEqual(idsOf(clean))
          expect(broken.planSwitches).toHaveLength(1)
        },
      ),
      { numRuns: 40, seed: 7 },
    )
    const kinds = new Set(linked.events.map(({ kind }) => kind))
    expect(kinds).toContain('link-down')
    expect(kinds).toContain('request-resumed')
    expect(kinds).not.toContain('replay-diverged')
  })

  test('faults and changes of plan: the tokens are those of the logged schedule without a fault', async () => {
    const rebuilds = new Set<string>()
    let exact = 0
    let nearTies = 0
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1e6),
        fc.array(fc.integer({ min: 1, max: 25 }), { maxLength: 3 }),
        fc.array(fc.integer({ min: 1, max: NEW_TOKENS }), { maxLength: 3 }),
        fc.boolean(),
        async (seed, cuts, changes, flee) => {
          const random = randomStream(seed, 'changes')
          const first = anyPlan(random)
          linked.cutAfter(cuts)
          const handle = linked.edge.start(requestOf(first, seed), {
            onToken: () => {
              if (!changes.includes(handle.tokens.length)) return
              const to = random.integer(2) === 0 ? alone : anyPlan(random)
              handle.switchPlan(to, random.integer(3) === 0 ? 'ids' : 'boundary')
            },
          })
          const stop = linked.link.onEvent(({ kind }) => {
            // As an edge does that goes on alone while the cloud is away: at any point of a pass.
            if (flee && kind === 'link-down') handle.switchPlan(alone, 'boundary')
          })
          const broken = await handle.result
          stop()
          linked.cutAfter([])
          const forced = await generate(first, seed, { planSwitches: broken.planSwitches })
          expect(idsOf(forced)).toEqual(idsOf(broken))
          expect(forced.planSwitches).toEqual(broken.planSwitches)
          for (const { rebuild } of broken.planSwitches) rebuilds.add(rebuild)
          const plain = broken.planSwitches.every(
            ({ plan }) => plan.exit === null && plan.boundaryBits === 32 && plan.layerBits === undefined,
          )
          if (!plain) return
          const whole = await generate(alone, seed)
          if (broken.nearTies + whole.nearTies > 0) nearTies++
          else expect(idsOf(broken)).toEqual(idsOf(whole))
          exact++
        },
      ),
      { numRuns: 60, seed: 11 },
    )
    expect([...rebuilds].sort()).toEqual(['boundary', 'ids', 'start'])
    expect(exact).toBeGreaterThan(10)
    expect(nearTies).toBeLessThan(exact)
  }, 60_000)

  test('whatever is kept, the edge takes over from a cloud that had the lm_head alone: it has every cache', async () => {
    const headAway = cutAt(model, model.layers, EDGE, CLOUD)
    const handle = linked.edge.start(requestOf(headAway, 2), {
      onToken: () => {
        if (handle.tokens.length === 5) handle.switchPlan(alone, 'boundary')
      },
    })
    const switched = await handle.result
    expect(switched.planSwitches).toMatchObject([{ rebuild: 'start' }, { rebuild: 'boundary', fromToken: 5 }])
    const whole = await generate(alone, 2)
    if (switched.nearTies + whole.nearTies === 0) expect(idsOf(switched)).toEqual(idsOf(whole))
  })

  test('nothing is left of them', async () => {
    expect(linked.edge.retransmitBytes).toBe(0)
    expect(linked.edge.inFlight).toBe(0)
    await expect.poll(() => [linked.budget.usedBytes, linked.budget.sequences]).toEqual([0, 0])
  })

  test('past its bound nothing is kept: after a loss the request begins anew from ids', async () => {
    const small = await openLinked(randomSource(model, 5), { maxKeptBytes: 600 })
    const placed = cutAt(model, 1, EDGE, EDGE)
    small.cutAfter([9])
    const broken = await small.edge.generate(requestOf(placed, 2))
    expect(idsOf(broken)).toEqual(idsOf(await generate(alone, 2)))
    expect(broken.planSwitches.map(({ rebuild }) => rebuild)).toEqual(['start', 'ids'])
    expect(small.edge.retransmitBytes).toBe(0)
    await small.close()
  })

  test('a replay whose tokens differ is given up for ids', async () => {
    const placed = cutAt(model, 1, EDGE, CLOUD)
    const clean = idsOf(await generate(placed, 2))
    let twisted = 0
    const handle = linked.edge.start(requestOf(placed, 2), {
      onToken: ({ position }) => {
        if (position !== PROMPT.length + 3) return
        linked.twist = (frame) => {
          if (frame.type !== FRAME.ids || twisted++ > 0) return frame
          const payload = frame.payload.slice()
          payload[0] ^= 1
          return { ...frame, payload }
        }
        linked.cut()
      },
    })
    const result = await handle.result
    linked.twist = null
    expect(idsOf(result)).toEqual(clean)
    expect(result.planSwitches.map(({ rebuild }) => rebuild)).toEqual(['start', 'ids'])
    expect(linked.events.filter(({ kind }) => kind === 'replay-diverged')).toHaveLength(1)
  })

  test('explained, over a cut, both sides say what they did', async () => {
    linked.cutAfter([6])
    const { events, tokens } = await generate(cutAt(model, 1, EDGE, EDGE), 2, { explain: true })
    linked.cutAfter([])
    expect(tokens).toHaveLength(NEW_TOKENS)
    expect(new Set(events.map(({ side }) => side))).toEqual(new Set(['edge', 'cloud']))
  })

  test('the edge says what its engine took for each pass', async () => {
    const passes: { position: number; rows: number; seconds: number }[] = []
    await generate(cutAt(model, 1, EDGE, EDGE), 2, { onEdgeRun: (pass) => passes.push(pass) })
    const positions = Array.from({ length: NEW_TOKENS }, (_, i) => (i === 0 ? 0 : PROMPT.length + i - 1))
    expect(passes.map(({ position }) => position)).toEqual(positions)
    expect(passes.map(({ rows }) => rows)).toEqual(positions.map((at) => (at === 0 ? PROMPT.length : 1)))
    expect(passes.every(({ seconds }) => seconds > 0)).toBe(true)
  })
})
