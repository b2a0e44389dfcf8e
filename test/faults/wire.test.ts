import { describe, expect, test } from 'vitest'
import { drawCampaign, runCampaign } from './campaign.ts'
import { isGood, PHASES, WIRE_KINDS } from './kinds.ts'
import { differing } from './wireFault.ts'

/** Each kind at three of the four phases; `npm run test:faults` has the long form. */
const COUNT = 3 * WIRE_KINDS.length

test('tokens that are others, too many or missing are wrong', () => {
  const isWhole = true
  expect(differing([1, 2, 3], [1, 2, 3], { isWhole })).toBe(0)
  expect(differing([1, 9, 3, 4], [1, 2, 3], { isWhole })).toBe(2)
  expect(differing([1], [1, 2, 3], { isWhole })).toBe(2)
  expect(differing([1], [1, 2, 3], { isWhole, until: 2 })).toBe(1)
  expect(differing([1], [1, 2, 3], { isWhole: false })).toBe(0)
  expect(differing([9, 2, 3, 4], [1, 2, 3], { isWhole: false })).toBe(2)
})

describe('faults on the wire', () => {
  test(`${COUNT} of all kinds: the tokens of the law, no hang, nothing left`, async () => {
    const faults = drawCampaign(7, 25 * COUNT).slice(0, COUNT)
    const { outcomes, leaks } = await runCampaign({ faults, cli: '', batch: COUNT, onOutcome: () => {} })
    expect(outcomes.filter((outcome) => !isGood(outcome))).toEqual([])
    expect(leaks).toEqual([])
    expect(new Set(outcomes.map(({ kind }) => kind)).size).toBe(WIRE_KINDS.length)
    expect(new Set(outcomes.map(({ phase }) => phase)).size).toBeGreaterThanOrEqual(PHASES.length - 1)
  })
})
