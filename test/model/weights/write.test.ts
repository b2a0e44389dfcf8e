import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import type { WeightSource } from '../../../src/model/graphs/source.ts'
import type { ModelSpec } from '../../../src/model/spec.ts'
import {
  attentionWeights,
  embeddingWeights,
  ffnWeights,
  lmHeadWeights,
} from '../../../src/model/graphs/weights.ts'
import { openPretrained } from '../../../src/model/weights/open.ts'
import { openSafetensors } from '../../../src/model/weights/safetensors.ts'
import { writeLlamaDirectory } from '../../../src/model/weights/writeDirectory.ts'
import { groupedLike, maxDifference, normalFill } from '../support.ts'
import { llamaTokenizer } from './tokenizers.ts'

const root = mkdtempSync(join(tmpdir(), 'edgewise-write-'))
afterAll(() => rmSync(root, { recursive: true }))

const { json: tokenizerJson, vocabulary } = llamaTokenizer()
const spec: ModelSpec = { ...groupedLike, id: 'tales', vocabulary, normEpsilon: 1e-5, ropeBase: 500_000 }

/** Random weights; one exit with a matrix of its own (after layer 1), or with the embedding's. */
function randomSource(model: ModelSpec, exit: 'own' | 'tied' | 'none'): WeightSource {
  const fill = normalFill(randomStream(3, 'write'))
  const embedding = embeddingWeights(model, fill)
  const head = lmHeadWeights(model, fill)
  const attention = Array.from({ length: model.layers }, () => attentionWeights(model, model.kvHeads, fill))
  const ffn = Array.from({ length: model.layers }, () => ffnWeights(model, fill))
  const exitHead = lmHeadWeights(model, fill)
  return {
    model,
    embedding: () => embedding,
    attention: (l) => attention[l],
    ffn: (l) => ffn[l],
    head: () => (model.tiedHead ? { ...head, matrix: embedding.tokens } : head),
    exitLayers: exit === 'none' ? [] : [1],
    exitHead: () => (exit === 'tied' ? { ...exitHead, matrix: embedding.tokens } : exitHead),
  }
}

describe('a directory that is written', () => {
  test.each([
    ['F32', 0, 'own', false],
    ['F16', 1e-4, 'tied', true],
    ['F32', 0, 'none', true],
  ] as const)('opens as it was: %s within %d, exit %s, tied head %s', (dtype, within, exit, tiedHead) => {
    const source = randomSource({ ...spec, tiedHead }, exit)
    const folder = join(root, `${dtype}-${exit}`)
    writeLlamaDirectory(folder, source, { dtype, tokenizerJson, stopIds: [2], beginId: 1 })
    const opened = openPretrained(folder)
    expect(opened.source.model).toEqual(source.model)
    expect(opened.stopIds).toEqual([2])
    expect(opened.tokenizer?.decode(opened.tokenizer.encode('the one'))).toBe('the one')
    expect(opened.source.exitLayers).toEqual(source.exitLayers)
    const blocks = (s: WeightSource) => [
      s.embedding(),
      ...[0, 1].flatMap((l) => [s.attention(l), s.ffn(l)]),
      s.head(),
      ...s.exitLayers.map((l) => s.exitHead(l)),
    ]
    const expected = blocks(source)
    for (const [i, block] of blocks(opened.source).entries()) {
      for (const [name, value] of Object.entries(expected[i])) {
        const found: unknown = block[name as keyof typeof block]
        if (!(value instanceof Float32Array)) expect(found).toEqual(value)
        else expect(maxDifference(found as Float32Array, value)).toBeLessThanOrEqual(within * 10)
      }
    }
    expect(() => opened.source.exitHead(7)).toThrow(RangeError)
  })

  test('an exit that shares the matrix stores none', () => {
    const folder = join(root, 'shared-exit')
    writeLlamaDirectory(folder, randomSource(spec, 'tied'), {
      dtype: 'F16',
      tokenizerJson: null,
      stopIds: [],
    })
    expect([...openSafetensors(join(folder, 'exits.safetensors')).keys()]).toEqual(['exits.1.norm.weight'])
    expect(openPretrained(folder).tokenizer).toBeNull()
    expect(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')).model_type).toBe('llama')
  })

  test('tales is the built-in id', () => {
    const source = randomSource(spec, 'own')
    writeLlamaDirectory(join(root, 'tales'), source, { dtype: 'F16', tokenizerJson, stopIds: [2] })
    const opened = openPretrained('tales', { builtinFolder: root })
    expect(opened.source.model).toEqual(spec)
    expect(opened.fingerprint).toBe(openPretrained(join(root, 'tales')).fingerprint)
  })
})
