import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { openEngine } from '../../../src/core/engine/open.ts'
import { openPretrained } from '../../../src/model/weights/open.ts'
import { pretrainConfig, TALES_NETWORK } from '../../../src/lab/pretrain/config.ts'
import { evaluate } from '../../../src/lab/pretrain/evaluate.ts'
import { SUMMARY_FILE } from '../../../src/lab/pretrain/run.ts'
import type { PretrainSummary } from '../../../src/lab/pretrain/run.ts'
import { talesText } from '../../../src/lab/pretrain/text.ts'
import { parametersOf } from '../../../src/lab/pretrain/weights.ts'

const builtinFolder = resolve(import.meta.dirname, '../../../models')
const engine = await openEngine('native')
afterAll(() => engine.close())

const model = openPretrained('tales', { builtinFolder })
const summary = JSON.parse(
  readFileSync(join(builtinFolder, 'tales', SUMMARY_FILE), 'utf8'),
) as PretrainSummary

test('the shipped model is the one that the command makes with these settings', () => {
  expect(model.source.model).toEqual(TALES_NETWORK.model)
  expect(model.source.exitLayers).toEqual(TALES_NETWORK.exitLayers)
  expect(summary.config).toEqual(pretrainConfig())
  expect(summary.parameters).toBe(parametersOf(model.source).length)
})

test('it predicts tales it never saw as well as it says, better the deeper', async () => {
  const texts = talesText(3, 12).map(({ text }) => text)
  const found = await evaluate(engine, TALES_NETWORK, parametersOf(model.source), texts)
  for (const [i, { natsPerCharacter }] of found.entries()) {
    // Twelve tales against 256: the mean over a tale spreads by about a tenth.
    expect(natsPerCharacter).toBeGreaterThan(0.8 * summary.float16[i].natsPerCharacter)
    expect(natsPerCharacter).toBeLessThan(1.25 * summary.float16[i].natsPerCharacter)
    if (i > 0) expect(natsPerCharacter).toBeLessThan(found[i - 1].natsPerCharacter)
  }
})
