import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createFast } from '../../src/sim/fast.ts'
import { createReference } from '../../src/sim/reference.ts'
import { drive, firstDifference, play } from './episode.ts'
import { randomCase } from './worlds.ts'

const seeds = fc.integer({ min: 0, max: 2 ** 31 })

describe('the fast simulator', () => {
  it('equals the reference at every decision, in every outcome and in what it reports', () => {
    const equal = fc.property(seeds, (seed) => {
      const given = randomCase(seed)
      const slow = play(createReference, given)
      const fast = play(createFast, given)
      expect(firstDifference(slow, fast)).toBeNull()
    })
    fc.assert(equal, { numRuns: 500 })
  }, 60_000)
})
