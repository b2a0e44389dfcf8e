import { describe, expect, test } from 'vitest'
import { loadModel } from '../../../src/model/catalog.ts'
import { createPair } from '../../../src/plan/price/pair.ts'
import { accuracyTable } from '../../../src/plan/profile/accuracy.ts'
import { BlockCosts } from '../../../src/plan/profile/costs.ts'
import { datasheetProfile } from '../../../src/plan/profile/datasheet.ts'
import { PrecisionError, profileAtPrecision, profileLabel } from '../../../src/plan/profile/precision.ts'
import { readProfile } from '../../../src/plan/profile/file.ts'

const gpt2 = loadModel('gpt2')
const measured = readProfile('test/fixtures/serve/device.profile.json')
const asked = {
  side: 'edge',
  where: 'edge.profile.json',
  instead: 'run the edge with --precision fp32',
  replacement: 'give it with --edge-profile',
} as const

describe('profileAtPrecision', () => {
  test('a profile of the precision that runs is taken as it is', () => {
    expect(profileAtPrecision(measured, { ...asked, precision: 'fp32' })).toBe(measured)
  })

  test('a measured profile of another precision is refused, naming both and what to do', () => {
    const attempt = () => profileAtPrecision(measured, { ...asked, precision: 'int4' })
    expect(attempt).toThrow(PrecisionError)
    expect(attempt).toThrow(
      'edge.profile.json\n' +
        '  expected: figures of tales at int4, the precision that the edge runs\n' +
        '  found: measured: vm, fp32\n' +
        '  remedy: run the edge with --precision fp32; or measure there with ' +
        '`edgewise profile --model tales --precision int4`, and give it with --edge-profile',
    )
  })

  test('one of a built-in data sheet is modelled anew: the right seconds, not those of the sheet', () => {
    const sheet = datasheetProfile('a100', gpt2)
    const found = profileAtPrecision(sheet, { ...asked, precision: 'fp32' })
    expect(sheet.precision).toBe('fp16')
    expect(found).toEqual(datasheetProfile('a100', gpt2, { precision: 'fp32' }))
    // A decoding head reads its weights: twice the bytes, and the dispatch that both have.
    expect(found.blocks.head.value).toBeGreaterThan(1.3 * sheet.blocks.head.value)
  })

  test('one that says it is of a sheet but has other figures is refused', () => {
    const sheet = datasheetProfile('a100', gpt2)
    const head = { ...sheet.blocks.head, value: 2 * sheet.blocks.head.value }
    const other = { ...sheet, blocks: { ...sheet.blocks, head } }
    expect(() => profileAtPrecision(other, { ...asked, precision: 'fp32' })).toThrow('modelled: a100, fp16')
  })
})

test('a pair has the precision of either side, of its own profile', () => {
  const edge = new BlockCosts(datasheetProfile('raspberry-pi-5', gpt2, { precision: 'int4' }))
  const cloud = new BlockCosts(datasheetProfile('a100', gpt2))
  const pair = createPair(edge, cloud, accuracyTable(gpt2))
  expect([pair.edgePrecision, pair.cloudPrecision]).toEqual(['int4', 'fp16'])
  expect(profileLabel(pair.edge.profile)).toBe('modelled: raspberry-pi-5, int4')
})
