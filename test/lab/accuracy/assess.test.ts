import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Assessment } from '../../../src/lab/accuracy/types.ts'
import { cutWindows, textWindows } from '../../../src/lab/accuracy/windows.ts'
import { measuredTable, meanBoundaryLoss } from '../../../src/lab/accuracy/table.ts'
import { rankedWidths } from '../../../src/lab/accuracy/widths.ts'
import { randomStream } from '../../../src/core/random.ts'
import type { WeightSource } from '../../../src/model/graphs/source.ts'
import { attentionUnits } from '../../../src/model/spec.ts'
import { layerBoundaryLoss, readAccuracyTable } from '../../../src/plan/profile/accuracy.ts'
import { EXIT_THRESHOLDS } from '../../../src/plan/profile/published.ts'
import {
  gpt2Like,
  groupedLike,
  randomSource,
  referenceAttention,
  referenceFfn,
  referenceLogits,
} from '../../model/support.ts'
import { assessed } from './support.ts'

function randomWindows(vocabulary: number, lengths: readonly number[]): number[][] {
  const random = randomStream(3, 'windows')
  return lengths.map((length) => Array.from({ length }, () => random.integer(vocabulary)))
}

/** Logits of every row in double precision; `change` is done to the residual before each layer and before the head. */
function referenceRows(
  source: WeightSource,
  ids: readonly number[],
  change: (x: Float64Array, layer: number) => Float64Array,
): Float64Array[] {
  const { model } = source
  const { width } = model
  const { tokens } = source.embedding()
  let x = Float64Array.from(ids.flatMap((id) => [...tokens.subarray(id * width, (id + 1) * width)]))
  for (let layer = 0; layer < model.layers; layer++) {
    x = change(x, layer) as typeof x
    x = referenceAttention(model, source.attention(layer), x, ids.length) as typeof x
    x = referenceFfn(model, source.ffn(layer), x) as typeof x
  }
  x = change(x, model.layers) as typeof x
  return ids.map((_, t) => referenceLogits(model, source.head(), x.subarray(0, (t + 1) * width)))
}

const natsOf = (logits: Float64Array, target: number): number => {
  const top = Math.max(...logits)
  return top + Math.log(logits.reduce((sum, value) => sum + Math.exp(value - top), 0)) - logits[target]
}

/** Of changed predictions from exact ones, both in double precision. */
function meanDivergence(
  source: WeightSource,
  windows: readonly (readonly number[])[],
  change: (x: Float64Array, layer: number) => Float64Array,
): number {
  const rows = windows.flatMap((window) => {
    const ids = window.slice(0, -1)
    const exact = referenceRows(source, ids, (x) => x)
    return referenceRows(source, ids, change).map((other, t) => {
      const logs = (logits: Float64Array) => logits.map((_, id) => -natsOf(logits, id))
      const [p, q] = [logs(exact[t]), logs(other)]
      return p.reduce((sum, log, id) => sum + Math.exp(log) * (log - q[id]), 0)
    })
  })
  return rows.reduce((sum, row) => sum + row, 0) / rows.length
}

/** int8 with a scale a token, from its definition. */
function quantised(x: Float64Array, width: number): Float64Array {
  return x.map((value, i) => {
    const row = x.subarray(i - (i % width), i - (i % width) + width)
    const scale = Math.max(...row.map(Math.abs)) / 127
    return scale * Math.round(value / scale)
  })
}

describe('a random model', () => {
  const source = randomSource(groupedLike)
  const windows = randomWindows(61, [21, 40])
  let found: Assessment
  beforeAll(async () => {
    found = (await assessed(source, windows, { bits: [32, 8, 4] }))!
  })

  test('loses exactly nothing at 32 bits, wherever it is cut', () => {
    const exact = [...found.boundaries, ...found.partials].filter(({ bits }) => bits === 32)
    expect(exact).toHaveLength(2 * groupedLike.layers + 1)
    for (const { nats, standardError, divergence } of exact)
      expect([nats, standardError, divergence]).toEqual([0, 0, 0])
    expect(found.additivity.filter(({ bits }) => bits === 32).map(({ nats }) => nats)).toEqual([0, 0])
  })

  test('is what double precision and a plain quantiser say', () => {
    expect(found.tokens).toBe(59)
    const mean = (change: (x: Float64Array, layer: number) => Float64Array) => {
      let sum = 0
      for (const window of windows) {
        const rows = referenceRows(source, window.slice(0, -1), change)
        rows.forEach((logits, t) => (sum += natsOf(logits, window[t + 1])))
      }
      return sum / 59
    }
    const plain = mean((x) => x)
    expect(found.nats).toBeCloseTo(plain, 4)
    for (const at of [0, 1, 2]) {
      const loss = mean((x, layer) => (layer === at ? quantised(x, groupedLike.width) : x)) - plain
      const measured = found.boundaries.find(({ bits, layer }) => bits === 8 && layer === at)!
      expect(Math.abs(measured.nats - loss)).toBeLessThan(2e-4 + 0.05 * Math.abs(loss))
      const divergence = meanDivergence(source, windows, (x, layer) =>
        layer === at ? quantised(x, groupedLike.width) : x,
      )
      expect(Math.abs(measured.divergence - divergence)).toBeLessThan(1e-5 + 0.05 * divergence)
    }
  })

  test('exits: shares by counting, the whole by its parts', () => {
    expect(found.exits.map(({ threshold }) => threshold)).toEqual([...EXIT_THRESHOLDS])
    for (const [i, exit] of found.exits.entries()) {
      expect(exit.leaveShare * found.tokens).toBeCloseTo(exit.leaving, 9)
      if (i > 0) expect(exit.leaving).toBeLessThanOrEqual(found.exits[i - 1].leaving)
      if (exit.leaving === 0) expect(exit.collaborative.nats).toBe(0)
      if (exit.leaving === found.tokens) expect(exit.collaborative.nats).toBeCloseTo(exit.standalone.nats, 12)
    }
  })

  test('ranks the units of every layer, each once', () => {
    const { unitsByLayer } = measuredTable(found).ranking
    const all = Array.from({ length: attentionUnits(groupedLike) }, (_, unit) => unit)
    expect(unitsByLayer).toHaveLength(groupedLike.layers)
    for (const units of unitsByLayer) expect([...units].sort()).toEqual(all)
  })

  test('adds up many crossings; nothing adds up to nothing', () => {
    for (const { bits, ratio, divergence, summedDivergence } of found.additivity) {
      if (bits === 32) expect(ratio).toBeNull()
      else expect(ratio).toBeCloseTo(divergence / summedDivergence, 12)
    }
    expect(found.ranked.bits).toHaveLength(groupedLike.layers + 1)
  })

  test('makes a table that is read back as it was', () => {
    const table = measuredTable(found)
    const path = join(mkdtempSync(join(tmpdir(), 'edgewise-table-')), 'x.accuracy.json')
    writeFileSync(path, JSON.stringify(table))
    expect(readAccuracyTable(path, groupedLike)).toEqual(table)
    const kinds = table.boundary.map(({ lossPerCrossing }) => lossPerCrossing.provenance.kind)
    expect(kinds).toEqual(['measured', 'assumed', 'measured', 'measured'])
    const [first] = table.boundaryByLayer!
    expect(layerBoundaryLoss(table, first.layer, first.bits)).toBe(first.loss.value)
  })

  test('gives the same again, and nothing when stopped', async () => {
    expect(await assessed(source, windows, { bits: [32, 8, 4] })).toEqual(found)
    expect(await assessed(source, windows, { stopped: () => true })).toBeNull()
  })
})

test('a GPT-2-shaped model without exits: biases and positions have no loss of their own', async () => {
  const found = (await assessed({ ...randomSource(gpt2Like), exitLayers: [] }, randomWindows(61, [13]), {
    bits: [32, 4],
  }))!
  expect(found.exits).toEqual([])
  expect(measuredTable(found).exits).toEqual([])
  for (const { nats } of found.partials.filter(({ bits }) => bits === 32)) expect(nats).toBe(0)
  expect(found.precisions.map(({ precision }) => precision)).toEqual(['fp32', 'int8', 'int4'])
  expect(meanBoundaryLoss(found.boundaries, 4).nats).not.toBe(0)
})

describe('windows', () => {
  test('predict each token of a long text once', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 400 }),
        fc.integer({ min: 2, max: 70 }),
        fc.integer({ min: 1, max: 500 }),
        (length, context, tokens) => {
          const ids = Array.from({ length }, (_, i) => i)
          const windows = cutWindows(ids, context, tokens)
          const predicted = windows.flatMap((window) => window.slice(1))
          expect(predicted).toEqual(ids.slice(1, Math.min(length, tokens + 1)))
          expect(windows.every((window) => window.length <= context + 1)).toBe(true)
        },
      ),
    )
  })

  test('of texts begin where the texts do and hold as many tokens as asked', () => {
    const windows = textWindows([[1, 2, 3, 4], [5], [6, 7, 8]], 40, 4)
    expect(windows).toEqual([
      [1, 2, 3, 4],
      [6, 7],
    ])
    expect(() => textWindows([[1]], 40, 4)).toThrow(/at least two tokens/)
  })
})

test('ranked widths follow the share of the largest sensitivity', () => {
  expect(rankedWidths([1, 0.21, 0.2, 0.11, 0.1, 0, -1])).toEqual([16, 16, 8, 8, 4, 4, 4])
  expect(rankedWidths([0, 0])).toEqual([4, 4])
})
