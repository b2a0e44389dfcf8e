import { describe, expect, test } from 'vitest'
import { randomStream, type RandomStream } from '../../../src/core/random.ts'
import { loadModel } from '../../../src/model/catalog.ts'
import { attentionUnits } from '../../../src/model/spec.ts'
import { CLOUD, cutPlan, EDGE, uniformPlan, type Plan } from '../../../src/plan/plan.ts'
import { edgeBytes, fitsBeside, runtimeMemoryTerms, sharedFreeBytes } from '../../../src/plan/price/memory.ts'
import { EdgeMemory } from '../../../src/sim/memory.ts'
import { problemOf } from '../../policy/bundleSupport.ts'
import { EdgeMemoryBudget } from '../../../src/run/executor/memoryBudget.ts'

const model = loadModel('tales')
const terms = runtimeMemoryTerms(model, 'fp32')
const units = attentionUnits(model)
const whole = uniformPlan(model.layers, units, EDGE)
const inCloud = uniformPlan(model.layers, units, CLOUD)
const weightBytes = edgeBytes(terms, whole, 0)
const kvBytes = edgeBytes(terms, whole, 100) - weightBytes
const never = (): AbortSignal => new AbortController().signal

function randomCut(random: RandomStream): Plan {
  const cut = random.integer(model.layers + 1)
  return cutPlan(model.layers, units, cut, 32, random.integer(2) as 0 | 1, random.integer(2) as 0 | 1)
}

/** Whether a promise has resolved by now. */
async function isSettled(promise: Promise<void>): Promise<boolean> {
  return Promise.race([
    promise.then(() => true),
    new Promise<boolean>((resolve) => setImmediate(resolve, false)),
  ])
}

describe('the memory of an edge', () => {
  test('holds weights once, and K/V of each request; the next one waits for its turn', async () => {
    const budget = new EdgeMemoryBudget(terms, weightBytes + 2.5 * kvBytes)
    const [a, b, c, d] = [{}, {}, {}, {}]
    await budget.take(a, whole, 100, never())
    await budget.take(b, whole, 100, never())
    expect(budget.usedBytes).toBe(weightBytes + 2 * kvBytes)
    expect(budget.weightLimitBytes).toBe(weightBytes + 0.5 * kvBytes)
    const third = budget.take(c, whole, 100, never())
    // It would fit, and does not overtake.
    const fourth = budget.take(d, inCloud, 100, never())
    expect(await isSettled(third)).toBe(false)
    expect(await isSettled(fourth)).toBe(false)
    expect(budget.waiting).toBe(2)
    budget.release(a)
    await Promise.all([third, fourth])
    expect(budget.usedBytes).toBe(weightBytes + 2 * kvBytes)
  })

  test('refuses what would not fit alone, with both numbers', () => {
    const budget = new EdgeMemoryBudget(terms, weightBytes + kvBytes - 1)
    expect(() => budget.check(whole, 100)).toThrow(
      new RegExp(`at least ${weightBytes + kvBytes} bytes[^]*found: ${weightBytes + kvBytes - 1} bytes`),
    )
    expect(budget.couldFit(whole, 99)).toBe(true)
  })

  test('kept boundary tensors take their part, and get no more than weights and K/V leave', async () => {
    const budget = new EdgeMemoryBudget(terms, weightBytes + 2 * kvBytes)
    let kept = 0
    budget.keptBytes = () => kept
    const [a, b] = [{}, {}]
    await budget.take(a, whole, 100, never())
    expect(budget.keptLimitBytes).toBe(kvBytes)
    kept = 1
    const second = budget.take(b, whole, 100, never())
    expect(await isSettled(second)).toBe(false)
    // They go with the request that they were kept for.
    kept = 0
    budget.release(a)
    await second
  })

  test('tells a policy what is free as the simulator does, and what it tells the executor keeps', async () => {
    const sheet = problemOf('tales')
    const problem = { ...sheet, pair: { ...sheet.pair, ...terms } }
    let tight = 0
    for (let seed = 0; seed < 40; seed++) {
      const random = randomStream(seed, 'test/run/memoryBudget/free')
      const limit = weightBytes * (0.5 + 2 * random.uniform())
      const budget = new EdgeMemoryBudget(terms, limit)
      const simulated = new EdgeMemory(problem, limit, 8, false)
      for (let request = 0; request < 6; request++) {
        const [holder, kvTokens] = [{}, 1 + random.integer(200)]
        const use = budget.useBeside(holder)
        const free = budget.freeBytes(use, kvTokens)
        expect(free, `seed ${seed}`).toBeCloseTo(simulated.freeBytes(kvTokens), 6)
        const plan = randomCut(random)
        const fits = fitsBeside(terms, use, plan, kvTokens)
        if (edgeBytes(terms, plan, kvTokens) <= free) expect(fits, `seed ${seed}`).toBe(true)
        else if (fits) tight++
        if (!fits) continue
        await budget.take(holder, plan, kvTokens, never())
        simulated.take(request, plan, kvTokens)
      }
    }
    // Plans that fit because they share weights with others, which no number of free bytes can tell.
    expect(tight).toBeGreaterThan(20)
  })

  test('counts those that wait for memory, too, but not the request that asks', async () => {
    const budget = new EdgeMemoryBudget(terms, weightBytes + kvBytes)
    const [a, b] = [{}, {}]
    await budget.take(a, whole, 100, never())
    void budget.take(b, whole, 50, never())
    expect(budget.useBeside(null).kvBytes).toBe(1.5 * kvBytes)
    expect(budget.useBeside(a).kvBytes).toBe(0.5 * kvBytes)
    expect(sharedFreeBytes(budget.useBeside(b))).toBe(weightBytes)
    budget.release(a)
  })

  test('one that gives up leaves the queue, and lets the next one in', async () => {
    const budget = new EdgeMemoryBudget(terms, weightBytes + kvBytes)
    const [a, b, c] = [{}, {}, {}]
    await budget.take(a, whole, 100, never())
    const abort = new AbortController()
    const second = budget.take(b, whole, 100, abort.signal)
    const third = budget.take(c, inCloud, 100, never())
    abort.abort()
    await expect(second).rejects.toMatchObject({ code: 'E_CANCELLED' })
    await third
    await expect(budget.take(b, whole, 100, abort.signal)).rejects.toMatchObject({ code: 'E_CANCELLED' })
  })

  test('never holds more than its limit, and everyone gets a turn', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const random = randomStream(seed, 'test/run/memoryBudget')
      const plan = (): Plan => randomCut(random)
      const limit = weightBytes + kvBytes * (1 + 2 * random.uniform())
      const budget = new EdgeMemoryBudget(terms, limit)
      let turns = 0
      const request = async (): Promise<void> => {
        const holder = {}
        await budget.take(holder, plan(), 1 + random.integer(100), never())
        for (let steps = random.integer(4); steps > 0; steps--) {
          await new Promise(setImmediate)
          if (random.integer(3) === 0 && !budget.exchange(holder, plan(), 1 + random.integer(100))) {
            budget.release(holder)
            await budget.take(holder, plan(), 1 + random.integer(100), never())
          }
          expect(budget.usedBytes).toBeLessThanOrEqual(limit)
        }
        budget.release(holder)
        turns++
      }
      await Promise.all(Array.from({ length: 30 }, request))
      expect(turns).toBe(30)
      expect([budget.usedBytes, budget.waiting]).toEqual([0, 0])
    }
  })
})
