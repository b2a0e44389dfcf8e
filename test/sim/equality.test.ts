import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createFast } from '../../src/sim/fast.ts'
import { createReference } from '../../src/sim/reference.ts'
import { drive, firstDifference, play } from './episode.ts'
import { gridCase, randomCase } from './worlds.ts'

const seeds = fc.integer({ min: 0, max: 2 ** 31 })

describe('the fast simulator', () => {
  it('equals the reference at every decision, in every outcome and in what it reports', () => {
    const equal = fc.property(seeds, (seed) => {
      const given = randomCase(seed)
      expect(firstDifference(play(createReference, given), play(createFast, given))).toBeNull()
    })
    fc.assert(equal, { numRuns: 300 })
  }, 60_000)

  it('equals the reference where much happens at the same moment', () => {
    const equal = fc.property(seeds, (seed) => {
      const given = gridCase(seed)
      expect(firstDifference(play(createReference, given), play(createFast, given))).toBeNull()
    })
    fc.assert(equal, { numRuns: 200 })
  }, 60_000)

  it('gives the same numbers, bit for bit, when it is used again, even after a run broken off', () => {
    const used = createFast(randomCase(0).world)
    const repeat = fc.property(seeds, seeds, fc.nat(6), (first, second, steps) => {
      const broken = randomCase(first)
      used.reset(broken.world)
      for (let i = 0; i < steps; i++) {
        const request = used.advance()
        if (request >= 0) used.dispatch(broken.programs[request])
      }
      const given = randomCase(second)
      used.reset(given.world)
      const fresh = createFast(given.world)
      expect(drive(used, given)).toEqual(drive(fresh, given))
      expect(used.outcomes).toEqual(fresh.outcomes)
    })
    fc.assert(repeat, { numRuns: 60 })
  }, 30_000)

  it('does not depend on being listened to', () => {
    for (let seed = 0; seed < 20; seed++) {
      const given = randomCase(seed)
      expect(drive(createFast(given.world), given)).toEqual(play(createFast, given).moments)
    }
  })
})
