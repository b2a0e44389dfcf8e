import { describe, expect, test } from 'vitest'
import { CLOUD, cutPlan, EDGE, endsNeedCloud, exitPlan, needsCloud, type Plan } from '../../src/plan/plan.ts'
import { sourcesThatSay } from './sources.ts'

const LAYERS = 3
const UNITS = 2
const alone = cutPlan(LAYERS, UNITS, LAYERS, 32, EDGE, EDGE)

describe('whether a plan needs the cloud', () => {
  test('it does where any part of it runs there', () => {
    expect(needsCloud(alone)).toBe(false)
    const inCloud: Partial<Plan>[] = [
      { embed: CLOUD },
      { head: CLOUD },
      { unitsOnCloud: Uint8Array.of(0, 1, 0) },
      { ffn: Uint8Array.of(0, 0, 1) },
      { ffn: Uint8Array.of(2, 0, 0) },
    ]
    for (const part of inCloud) expect(needsCloud({ ...alone, ...part })).toBe(true)
  })

  test('an exit does where it may ask, wherever the layers above it would run', () => {
    const at = (mode: 'standalone' | 'collaborative') =>
      needsCloud(exitPlan(LAYERS, UNITS, { layer: 1, threshold: 0.8, mode }, 32))
    expect(at('standalone')).toBe(false)
    expect(at('collaborative')).toBe(true)
  })

  test('the ends alone tell of the plan-wide choices', () => {
    expect(endsNeedCloud(cutPlan(LAYERS, UNITS, 0, 32, EDGE, EDGE))).toBe(false)
    expect(endsNeedCloud({ ...alone, head: CLOUD })).toBe(true)
  })

  test('is answered in one file', () => {
    // A function of this question, or the question spelt out.
    const asked =
      /function (staysOnEdge|isEdgeOnly|usesCloud|needsNetwork|usesNetwork|needsCloud)\(.*([pP]lan|Choice)\b|usesCloud =|exit === null \?.*collaborative/
    expect(sourcesThatSay(asked)).toEqual(['src/plan/plan.ts'])
  })
})
