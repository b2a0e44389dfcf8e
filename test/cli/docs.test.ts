import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { z } from 'zod'
import { accuracyJsonSchema } from '../../src/cli/json/accuracy.ts'
import { resultSchema } from '../../src/lab/calibrate/result.ts'
import { decideJsonSchema, exportJsonSchema, verifyJsonSchema } from '../../src/cli/json/bundle.ts'
import { evalJsonSchema, policyRowSchema } from '../../src/cli/json/eval.ts'
import { logJsonSchema, replaySchema } from '../../src/cli/json/log.ts'
import { explanationSchema, oracleJsonSchema, planFiguresSchema } from '../../src/cli/json/oracle.ts'
import { stateSchema } from '../../src/cli/json/request.ts'
import { trainJsonSchema } from '../../src/cli/json/runs.ts'
import { simulateAloneSchema, simulateRunSchema } from '../../src/cli/json/simulate.ts'
import { keysJsonSchema } from '../../src/cli/json/keys.ts'
import {
  eventJsonSchema,
  generationJsonSchema,
  generationsJsonSchema,
  listeningJsonSchema,
} from '../../src/cli/json/split.ts'
import { serviceEventJsonSchema, servingJsonSchema } from '../../src/cli/json/serve.ts'
import { packJsonSchema } from '../../src/cli/json/pack.ts'
import { planJsonSchema } from '../../src/plan/price/json.ts'

const text = readFileSync(resolve(import.meta.dirname, '../../docs/json.md'), 'utf8')
/** Words within backticks, of all that stands below a heading. */
function wordsBelow(heading: string): Set<string> {
  const from = text.indexOf(`\n## ${heading}`)
  expect(from, heading).toBeGreaterThan(-1)
  const end = text.indexOf('\n## ', from + 4)
  const section = text.slice(from, end === -1 ? undefined : end)
  return new Set([...section.matchAll(/`([^`]+)`/g)].flatMap(([, code]) => code.match(/[A-Za-z0-9]+/g) ?? []))
}

const DOCUMENTED: readonly (readonly [string, z.ZodObject])[] = [
  ['`edgewise accuracy', accuracyJsonSchema],
  ['A plan', planJsonSchema],
  ['`edgewise oracle', oracleJsonSchema],
  ['`edgewise oracle', stateSchema],
  ['`edgewise oracle', planFiguresSchema],
  ['`edgewise oracle', explanationSchema],
  ['`edgewise simulate', simulateAloneSchema],
  ['`edgewise simulate', simulateRunSchema],
  ['`edgewise train', trainJsonSchema],
  ['`edgewise eval', evalJsonSchema],
  ['`edgewise eval', policyRowSchema],
  ['`edgewise export', exportJsonSchema],
  ['`edgewise verify', verifyJsonSchema],
  ['`edgewise decide', decideJsonSchema],
  ['`edgewise pack', packJsonSchema],
  ['`edgewise cloud', listeningJsonSchema.shape.listening],
  ['`edgewise edge', generationJsonSchema],
  ['`edgewise edge', generationsJsonSchema],
  ['`edgewise edge', eventJsonSchema],
  ['`edgewise edge --listen', servingJsonSchema.shape.serving],
  ['`edgewise edge --listen', serviceEventJsonSchema],
  ['`edgewise log', logJsonSchema],
  ['`edgewise log', logJsonSchema.shape.requests],
  ['`edgewise log', logJsonSchema.shape.decisions],
  ['`edgewise log', logJsonSchema.shape.damaged.element],
  ['`edgewise log', replaySchema],
  ['`edgewise keys', keysJsonSchema],
  ['`edgewise keys', keysJsonSchema.shape.certificates.element],
  ['`edgewise keys', keysJsonSchema.shape.signingKeys.element],
  ['`edgewise calibrate', resultSchema],
  ['`edgewise calibrate', resultSchema.shape.terms.element],
  ['`edgewise calibrate', resultSchema.shape.cells.element],
]

describe('docs/json.md', () => {
  it.each(DOCUMENTED)('below "%s" names every key of the schema', (heading, schema) => {
    const words = wordsBelow(heading)
    expect(Object.keys(schema.shape).filter((key) => !words.has(key))).toEqual([])
  })
})
