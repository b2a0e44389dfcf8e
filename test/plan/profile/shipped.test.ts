import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadModel } from '../../../src/model/catalog.ts'
import { openPretrained } from '../../../src/model/weights/open.ts'
import { accuracyKind, accuracyTable, readAccuracyTable } from '../../../src/plan/profile/accuracy.ts'
import { accuracyFileIn, shippedAccuracyFile } from '../../../src/plan/profile/shipped.ts'
import { loadScenario } from '../../../src/sim/scenario/scenario.ts'

const models = resolve(import.meta.dirname, '../../../models')
const tales = loadModel('tales')

test('a table lies beside the model, and only that of the catalogue is taken', () => {
  const folder = mkdtempSync(join(tmpdir(), 'edgewise-models-'))
  expect(shippedAccuracyFile(tales, folder)).toBeNull()
  mkdirSync(join(folder, 'tales'))
  const path = join(folder, 'tales', 'tales.accuracy.json')
  writeFileSync(path, JSON.stringify(accuracyTable(tales)))
  expect(shippedAccuracyFile(tales, folder)).toBe(path)
  expect(accuracyFileIn(join(folder, 'tales'), 'tales')).toBe(path)
  expect(shippedAccuracyFile({ ...tales, layers: 2 }, folder)).toBeNull()
  expect(shippedAccuracyFile(loadModel('gpt2'), folder)).toBeNull()
})

test('one assumed figure makes a table assumed', () => {
  const table = accuracyTable(tales)
  expect(accuracyKind(table)).toBe('assumed')
  const provenance = { kind: 'measured', source: 'a test' } as const
  const ranking = { ...table.ranking, provenance }
  const boundary = table.boundary.map((row) =>
    row.bits === 32 ? row : { ...row, lossPerCrossing: { ...row.lossPerCrossing, provenance } },
  )
  expect(accuracyKind({ ...table, boundary, ranking, exits: [] })).toBe('measured')
  expect(accuracyKind({ ...table, boundary, ranking })).toBe('assumed')
})

const shipped = join(models, 'tales', 'tales.accuracy.json')

describe.skipIf(!existsSync(shipped))('the table of the built-in model', () => {
  test('is measured throughout, and narrower is not better', () => {
    const table = readAccuracyTable(shipped, tales)
    expect(accuracyKind(table)).toBe('measured')
    const losses = table.boundary.map(({ lossPerCrossing }) => lossPerCrossing.value)
    expect(losses).toEqual([...losses].sort((a, b) => a - b))
    expect(losses[3]).toBeGreaterThan(0)
  })

  test('is of the weights that ship: `edgewise accuracy --model tales --out models/tales/tales.accuracy.json`', () => {
    const { fingerprint } = openPretrained('tales', { builtinFolder: models })
    expect(readFileSync(shipped, 'utf8')).toContain(`weights ${fingerprint.slice(0, 16)}`)
  })

  test('is what a scenario with the model takes, and keeps by name', async () => {
    const config = resolve(import.meta.dirname, '../../../configs/quickstart.scenario.yaml')
    const folder = mkdtempSync(join(tmpdir(), 'edgewise-scenario-'))
    const path = join(folder, 'tales.yaml')
    const configs = resolve(config, '..')
    const text = readFileSync(config, 'utf8').replace(/^model: .*$/m, 'model: tales')
    writeFileSync(path, text.replaceAll('../', `${resolve(configs, '..')}/`))
    const assumed = await loadScenario(path)
    expect(accuracyKind(assumed.problem.pair.accuracy)).toBe('assumed')
    const scenario = await loadScenario(path, { modelsFolder: models })
    expect(scenario.problem.pair.accuracy).toEqual(readAccuracyTable(shipped, tales))
    expect(resolve(folder, scenario.config.accuracy!)).toBe(shipped)
    expect(scenario.hash).not.toBe(assumed.hash)
  })
})
