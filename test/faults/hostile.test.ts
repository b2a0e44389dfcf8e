import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { HOSTILE_KINDS, isGood } from './kinds.ts'
import { runHostile } from './hostile.ts'
import { openWorld, type World } from './world.ts'

describe('a peer that means harm', () => {
  let world: World
  beforeAll(async () => {
    world = await openWorld(2)
  })
  afterAll(() => world.close())

  test.each(HOSTILE_KINDS)('%s: nobody else notices, everything is freed', async (kind) => {
    for (const seed of [0, HOSTILE_KINDS.length]) {
      const outcome = await runHostile(world, seed, kind)
      expect(isGood(outcome) ? [] : [outcome]).toEqual([])
    }
  })
})
