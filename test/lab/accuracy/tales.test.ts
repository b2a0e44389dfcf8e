import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { measuredText } from '../../../src/lab/accuracy/text.ts'
import { measuredTable, meanBoundaryLoss } from '../../../src/lab/accuracy/table.ts'
import { attentionUnits } from '../../../src/model/spec.ts'
import { openPretrained } from '../../../src/model/weights/open.ts'
import { assessed } from './support.ts'

const models = resolve(import.meta.dirname, '../../../models')
const absent = !existsSync(join(models, 'tales', 'config.json'))

test.skipIf(absent)(
  'the built-in model loses more at fewer bits, and less with the confident exits',
  async () => {
    const pretrained = openPretrained('tales', { builtinFolder: models })
    const { source } = pretrained
    const { windows } = measuredText(pretrained, { tokens: 120 })
    const found = (await assessed(source, windows))!
    for (const crossings of [found.boundaries, found.partials]) {
      const [half, byte, nibble] = [16, 8, 4].map((bits) => meanBoundaryLoss(crossings, bits).divergence)
      expect(half).toBeLessThanOrEqual(byte)
      expect(byte).toBeLessThanOrEqual(nibble)
      expect(nibble).toBeGreaterThan(0)
    }
    for (const { ratio } of found.additivity) expect(Number.isFinite(ratio)).toBe(true)
    expect(found.exits.map(({ layer }) => layer)).toEqual(
      source.exitLayers.flatMap((layer) => new Array<number>(6).fill(layer)),
    )
    for (const { standalone, collaborative } of found.exits)
      expect(collaborative.divergence).toBeLessThanOrEqual(standalone.divergence)
    const units = Array.from({ length: attentionUnits(source.model) }, (_, unit) => unit)
    for (const ranked of measuredTable(found).ranking.unitsByLayer) expect([...ranked].sort()).toEqual(units)
  },
)

test.skipIf(absent)('other models need a text, and one without a tokenizer ids that it has', () => {
  const tales = openPretrained('tales', { builtinFolder: models })
  const { source } = tales
  const other = { ...tales, source: { ...source, model: { ...source.model, id: 'other' } } }
  expect(() => measuredText(other, { tokens: 10 })).toThrow(/--text/)
  const text = { content: 'A tale.', name: 'a.txt' }
  expect(measuredText(other, { tokens: 10, text }).windows).toHaveLength(1)
  const mute = { ...other, tokenizer: null }
  expect(() => measuredText(mute, { tokens: 10, text })).toThrow(/has no tokenizer/)
  const ids = { content: [1, 2, 64], name: 'ids.txt' }
  expect(() => measuredText(mute, { tokens: 10, ids })).toThrow(/0\.\.63/)
})
