import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { loadModel, MODELS } from '../../../src/model/catalog.ts'
import { BlockCosts, nonDecreasing } from '../../../src/plan/profile/costs.ts'
import { datasheetProfile } from '../../../src/plan/profile/datasheet.ts'
import { DEVICES } from '../../../src/plan/profile/devices.ts'
import { formatProfile, parseProfile } from '../../../src/plan/profile/file.ts'

describe('data-sheet profiles', () => {
  test('every device and model makes a valid profile whose every figure is modelled', () => {
    for (const device of DEVICES) {
      for (const model of MODELS) {
        const profile = datasheetProfile(device.id, model)
        expect(parseProfile(formatProfile(profile), 'memory')).toEqual(profile)
        const kinds = new Set(
          [...formatProfile(profile).matchAll(/"kind":"(\w+)"/g)].map((match) => match[1]),
        )
        expect([...kinds]).toEqual(['modelled'])
      }
    }
  })

  test('a decode step of LLaMA-7B takes about its weights over the bandwidth', () => {
    const costs = new BlockCosts(datasheetProfile('a100', loadModel('llama-7b')))
    const layer = costs.attentionDecodeSeconds(1, 32) + costs.ffnSeconds('whole', 1)
    const weightBytes = (4 * 4096 * 4096 + 3 * 4096 * 11_008) * 2
    expect(layer).toBeGreaterThan(weightBytes / 1555e9)
    expect(layer).toBeLessThan((2 * weightBytes) / 1555e9)
  })
})

describe('BlockCosts', () => {
  const profile = datasheetProfile('jetson-orin-nx', loadModel('gpt2'))
  const costs = new BlockCosts(profile)

  test('gives the profile at its knots and the mean half way between them', () => {
    const { knots, seconds } = profile.blocks.ffn.whole
    for (const [i, knot] of knots.entries()) expect(costs.ffnSeconds('whole', knot)).toBe(seconds[i])
    expect(costs.ffnSeconds('whole', 3)).toBeCloseTo(
      (costs.ffnSeconds('whole', 2) + costs.ffnSeconds('whole', 4)) / 2,
      15,
    )
    const { units } = profile.blocks.attention.prefill
    for (const [j, k] of units.entries()) {
      expect(costs.attentionPrefillSeconds(8, k)).toBe(
        profile.blocks.attention.prefill.seconds[3 * units.length + j],
      )
    }
  })

  test('no unit takes no time; a row holds every number of units', () => {
    expect(costs.attentionPrefillSeconds(100, 0)).toBe(0)
    expect([...costs.attentionDecodeCurve(0)].every((value) => value === 0)).toBe(true)
    expect([...costs.attentionPrefillRow(77)]).toEqual(
      Array.from({ length: 13 }, (_, k) => costs.attentionPrefillSeconds(77, k)),
    )
  })

  test('outside the grid it refuses', () => {
    for (const ask of [
      () => costs.ffnSeconds('whole', 0),
      () => costs.ffnSeconds('whole', 1025),
      () => costs.embedSeconds(Number.NaN),
      () => costs.attentionPrefillSeconds(1, 13),
      () => costs.attentionPrefillSeconds(1, 1.5),
      () => costs.attentionDecodeSeconds(4096, 1),
      () => costs.attentionDecodeCurve(-1),
      () => costs.batchFactor(9),
    ]) {
      expect(ask).toThrow(InputError)
    }
  })

  test('interpolation stays between the neighbouring knots', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1024 }), fc.integer({ min: 1, max: 12 }), (tokens, units) => {
        const seconds = costs.attentionPrefillSeconds(tokens, units)
        const { seconds: all } = profile.blocks.attention.prefill
        expect(seconds).toBeGreaterThanOrEqual(Math.min(...all))
        expect(seconds).toBeLessThanOrEqual(Math.max(...all))
        expect(seconds).toBeLessThanOrEqual(costs.attentionPrefillSeconds(Math.min(1024, tokens + 1), units))
      }),
    )
  })
})

describe('nonDecreasing', () => {
  test('is the nearest non-decreasing sequence', () => {
    expect([...nonDecreasing(Float64Array.of(1, 3, 2, 4))]).toEqual([1, 2.5, 2.5, 4])
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 20 }),
        (values) => {
          const fit = nonDecreasing(Float64Array.from(values))
          for (let i = 1; i < fit.length; i++) expect(fit[i]).toBeGreaterThanOrEqual(fit[i - 1])
          // Optimality (Barlow): the residual's partial sums never fall below zero and end at zero.
          let sum = 0
          for (const [i, value] of values.entries()) {
            sum += value - fit[i]
            expect(sum).toBeGreaterThan(-1e-9)
          }
          expect(Math.abs(sum)).toBeLessThan(1e-9)
        },
      ),
    )
  })
})
