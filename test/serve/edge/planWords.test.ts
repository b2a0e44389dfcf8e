import { describe, expect, it } from 'vitest'
import { planText } from '../../../src/serve/edge/planWords.ts'
import { CLOUD, cutPlan, EDGE, exitPlan, type BoundaryBits, type Plan } from '../../../src/plan/plan.ts'
import { resolvePlan } from '../../../src/serve/edge/resolvePlan.ts'

const UNITS = 2
const LAYERS = 3
const words = (plan: Plan): string =>
  planText(
    resolvePlan(
      plan,
      Array.from({ length: LAYERS }, () => [0, 1]),
    ),
    UNITS,
  )
const exit = (mode: 'standalone' | 'collaborative', bits: BoundaryBits): string =>
  words(exitPlan(LAYERS, UNITS, { layer: 2, threshold: 0.8, mode }, bits))

describe('a plan in words', () => {
  it('tells plans that differ only in the bits of what travels', () => {
    expect(exit('collaborative', 32)).toBe('exit:2@0.8')
    expect(exit('collaborative', 4)).toBe('exit:2@0.8@4')
    expect(words(cutPlan(LAYERS, UNITS, 1, 32, EDGE, CLOUD))).toBe('cut:1')
    expect(words(cutPlan(LAYERS, UNITS, 1, 8, EDGE, CLOUD))).toBe('cut:1@8')
  })

  it('says no bits where nothing travels', () => {
    expect(exit('standalone', 4)).toBe('exit:2:standalone')
  })
})
