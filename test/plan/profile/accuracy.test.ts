import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { loadModel, MODELS } from '../../../src/model/catalog.ts'
import {
  accuracySchema,
  accuracyTable,
  boundaryLoss,
  exitEntryOf,
  readAccuracyTable,
} from '../../../src/plan/profile/accuracy.ts'

const folder = mkdtempSync(join(tmpdir(), 'edgewise-accuracy-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('the table keeps the published shares and says that the rest is assumed', () => {
  const model = loadModel('llama-7b')
  const alpaca = exitEntryOf(accuracyTable(model), 16, 0.8).leaveShare
  expect(alpaca.value).toBeCloseTo(1 - 0.4958, 12)
  expect(alpaca.provenance.source).toMatch(/published/)
  expect(exitEntryOf(accuracyTable(model, 'xsum'), 16, 0.8).leaveShare.value).toBeCloseTo(1 - 0.2773, 12)
  expect(() => exitEntryOf(accuracyTable(model), 5, 0.8)).toThrow(/layer 8 at 0.5/)
})

test('for every model it is monotone: more bits or a higher threshold never lose more', () => {
  for (const model of MODELS) {
    for (const shares of ['alpaca', 'xsum'] as const) {
      const table = accuracyTable(model, shares)
      expect(accuracySchema.safeParse(table).success).toBe(true)
      expect(boundaryLoss(table, 32)).toBe(0)
      expect(boundaryLoss(table, 4)).toBeGreaterThan(boundaryLoss(table, 8))
      expect(boundaryLoss(table, 8)).toBeGreaterThan(boundaryLoss(table, 16))
      expect(table.ranking.unitsByLayer).toHaveLength(model.layers)
      for (const layer of new Set(table.exits.map((exit) => exit.layer))) {
        const rows = table.exits.filter((exit) => exit.layer === layer)
        for (let i = 1; i < rows.length; i++) {
          expect(rows[i].leaveShare.value).toBeLessThan(rows[i - 1].leaveShare.value)
          expect(rows[i].collaborativeLoss.value).toBeLessThan(rows[i - 1].collaborativeLoss.value)
        }
        expect(rows[0].standaloneLoss.value).toBeGreaterThan(rows[0].collaborativeLoss.value)
      }
    }
  }
})

test('a user table is read, and refused where it does not fit the model', () => {
  const tiny = loadModel('tiny')
  const path = join(folder, 'mine.yaml')
  writeFileSync(path, JSON.stringify(accuracyTable(tiny)))
  expect(readAccuracyTable(path, tiny)).toEqual(accuracyTable(tiny))
  expect(() => readAccuracyTable(path, loadModel('gpt2'))).toThrow(/modelId/)
  const twice = {
    ...accuracyTable(tiny),
    ranking: { ...accuracyTable(tiny).ranking, unitsByLayer: [[0, 0, 1, 2]] },
  }
  writeFileSync(
    path,
    JSON.stringify({ ...twice, ranking: { ...twice.ranking, unitsByLayer: Array(4).fill([0, 0, 1, 3]) } }),
  )
  expect(() => readAccuracyTable(path, tiny)).toThrow(/unitsByLayer\.0/)
  writeFileSync(path, JSON.stringify({ ...accuracyTable(tiny), boundary: [] }))
  expect(() => readAccuracyTable(path, tiny)).toThrow(/boundary/)
})
