import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  parsePrecision,
  parseRuntimePrecision,
  PRECISIONS,
  RUNTIME_PRECISIONS,
} from '../../src/model/precision.ts'

describe('precisions', () => {
  test('the list of precisions is written down in one file', () => {
    const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.ts'),
    )
    const lists = /'int8'\s*[,|]\s*'int4'|type \w*Precision =/
    const holders = files.filter((name) => lists.test(readFileSync(join('src', name), 'utf8')))
    expect(holders).toEqual([join('model', 'precision.ts')])
  })

  test('a name is read, or refused with all there are', () => {
    for (const name of PRECISIONS) expect(parsePrecision(name, '--precision')).toBe(name)
    for (const name of RUNTIME_PRECISIONS) expect(parseRuntimePrecision(name, '--precision')).toBe(name)
    expect(() => parseRuntimePrecision('fp16', '--precision')).toThrow(/fp32, int8, int4[\s\S]*"?fp16/)
    expect(() => parsePrecision('fp8', '--precision')).toThrow(/fp32, fp16, int8, int4[\s\S]*fp8/)
  })
})
