import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createFast } from '../../src/sim/fast.ts'
import { createReference } from '../../src/sim/reference.ts'
import { firstDifference } from './episode.ts'
import { driveOutages, outageCase, outageGridCase, playOutages } from './outageWorlds.ts'

const seeds = fc.integer({ min: 0, max: 2 ** 31 })

describe('the fast simulator under outages', () => {
  it('equals the reference, whatever is re-planned', () => {
    let replans = 0
    const equal = fc.property(seeds, (seed) => {
      const given = outageCase(seed)
      const reference = playOutages(createReference, given)
      replans += reference.replans.length
      expect(firstDifference(reference, playOutages(createFast, given)), given.label).toBeNull()
    })
    fc.assert(equal, { numRuns: 300 })
    expect(replans).toBeGreaterThan(300)
  }, 60_000)

  it('equals the reference where much happens at the moment of detection', () => {
    let replans = 0
    const equal = fc.property(seeds, (seed) => {
      const given = outageGridCase(seed)
      const reference = playOutages(createReference, given)
      replans += reference.replans.length
      expect(firstDifference(reference, playOutages(createFast, given)), given.label).toBeNull()
    })
    fc.assert(equal, { numRuns: 200 })
    expect(replans).toBeGreaterThan(200)
  }, 60_000)

  it('gives the same numbers, bit for bit, when it is used again after a run broken off at any decision', () => {
    const used = createFast(outageCase(0).world)
    const repeat = fc.property(seeds, seeds, fc.nat(12), (first, second, steps) => {
      const broken = outageCase(first)
      used.reset(broken.world)
      for (let i = 0; i < steps; i++) {
        const request = used.advance()
        if (request >= 0) used.dispatch(broken.programs[request])
      }
      const given = outageCase(second)
      used.reset(given.world)
      const fresh = createFast(given.world)
      expect(driveOutages(used, given)).toEqual(driveOutages(fresh, given))
      expect(used.outcomes).toEqual(fresh.outcomes)
    })
    fc.assert(repeat, { numRuns: 60 })
  }, 30_000)
})
