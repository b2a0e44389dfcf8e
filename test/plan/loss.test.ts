import { expect, test } from 'vitest'
import { randomStream } from '../../src/core/random.ts'
import { planAccuracyLoss } from '../../src/plan/price/loss.ts'
import { lowerPlan } from '../../src/plan/lower.ts'
import { CLOUD, EDGE, cutPlan } from '../../src/plan/plan.ts'
import type { AccuracyTable, LayerLoss } from '../../src/plan/profile/accuracy.ts'
import { anyPlan } from './anyPlan.ts'
import { randomPair } from './randomPair.ts'

const LAYERS = 3
const UNITS = 2
const { accuracy } = randomPair(randomStream(1, 'loss'), { layers: LAYERS, units: UNITS })

const figure = (value: number) => ({ value, provenance: { kind: 'measured', source: 'a test' } }) as const
const rows: LayerLoss[] = [16, 8, 4].flatMap((bits) =>
  [0, 1, 2, 3].map((layer) => ({ layer, bits: bits as 16 | 8 | 4, loss: figure(layer + 1 / bits) })),
)
const table: AccuracyTable = { ...accuracy, boundaryByLayer: rows }
const mean = (bits: number) => accuracy.boundary.find((row) => row.bits === bits)!.lossPerCrossing.value
const cut = cutPlan(LAYERS, UNITS, 1, 8, EDGE, EDGE)

test('a plan-wide width costs its mean at every crossing, whatever single layers lose', () => {
  expect(planAccuracyLoss(table, UNITS, cut)).toBeCloseTo(2 * mean(8), 15)
})

test('widths by layer cost what was measured where the plan crosses', () => {
  const widths = { ...cut, layerBits: Uint8Array.of(8, 4, 8) }
  // Into layer 1 at 4 bits, to the head at the plan's 8.
  expect(planAccuracyLoss(table, UNITS, widths)).toBeCloseTo(1 + 1 / 4 + (3 + 1 / 8), 12)
  const split = { ...widths, head: CLOUD, unitsOnCloud: Uint8Array.of(1, 2, 2) } as const
  // Both ways within layer 0 at 8 bits, then into layer 1.
  expect(planAccuracyLoss(table, UNITS, split)).toBeCloseTo(2 * (1 / 8) + 1 + 1 / 4, 12)
})

test('without measured layers, widths by layer cost their means', () => {
  const widths = { ...cut, layerBits: Uint8Array.of(8, 4, 8) }
  expect(planAccuracyLoss(accuracy, UNITS, widths)).toBeCloseTo(mean(4) + mean(8), 15)
})

test('any split loses at each boundary tensor of the lowered plan, at its width', () => {
  for (let seed = 0; seed < 200; seed++) {
    const random = randomStream(seed, 'crossings')
    const pair = randomPair(random, { layers: 2 + random.integer(4), units: 1 + random.integer(4) })
    const plan = anyPlan(random, pair)
    if (plan.exit !== null) continue
    const loss = (bits: number) =>
      pair.accuracy.boundary.find((row) => row.bits === bits)?.lossPerCrossing.value ?? 0
    let expected = 0
    for (const step of lowerPlan(pair.model, plan).decode.steps) {
      if (step.kind === 'send' && step.bits !== null) expected += loss(step.bits)
    }
    expect(planAccuracyLoss(pair.accuracy, pair.model.kvHeads, plan)).toBeCloseTo(expected, 12)
  }
})
