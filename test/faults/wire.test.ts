import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isGood } from './kinds.ts'
import { runWireFault } from './wireFault.ts'
import { openWorld, type World } from './world.ts'

const COUNT = Number(process.env.FAULTS ?? 56)
const FROM = Number(process.env.FROM ?? 0)

describe('faults on the wire', () => {
  let world: World
  beforeAll(async () => {
    world = await openWorld(1)
  })
  afterAll(() => world.close())

  test(`${COUNT} of them`, async () => {
    const bad: unknown[] = []
    for (let seed = FROM; seed < FROM + COUNT; seed++) {
      const t = performance.now()
      const before = world.events.length
      const { outcome, missed } = await runWireFault(world, seed)
      if (process.env.FAULTS)
        console.log(
          seed,
          outcome.kind,
          outcome.phase,
          outcome.detail,
          missed,
          outcome.recoverySeconds?.toFixed(3),
          (performance.now() - t).toFixed(0),
          isGood(outcome) ? '' : JSON.stringify(outcome),
        )
      if (process.env.EV) console.log(world.events.slice(before))
      if (!isGood(outcome)) bad.push(outcome)
    }
    expect(bad).toEqual([])
  })
})
