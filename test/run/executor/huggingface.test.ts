import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import { NEAR_TIE_MARGIN } from '../../../src/run/executor/sampling.ts'
import { GREEDY } from '../../../src/run/executor/types.ts'
import { openPretrained } from '../../../src/model/weights/open.ts'
import { gpt2Config, gpt2Tensors, llamaConfig, llamaTensors } from '../../model/weights/directories.ts'
import { writeDirectory, writeSharded } from '../../model/weights/directories.ts'
import { gpt2Logits, llamaLogits } from '../../model/weights/reference.ts'
import { randomPlan } from './randomPlan.ts'
import { openSplit } from './support.ts'

const folder = mkdtempSync(join(tmpdir(), 'edgewise-hf-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const PROMPT = [7, 3, 11]
const NEW_TOKENS = 8

/** Greedy tokens by a float64 forward pass in Hugging Face's own layout, and the smallest top-two margin on the way. */
function reference(logitsOf: (ids: readonly number[]) => ArrayLike<number>): {
  ids: number[]
  margin: number
} {
  const ids = [...PROMPT]
  let margin = Infinity
  for (let i = 0; i < NEW_TOKENS; i++) {
    const logits = Array.from(logitsOf(ids))
    const [first, second] = [...logits].sort((a, b) => b - a)
    margin = Math.min(margin, first - second)
    ids.push(logits.indexOf(first))
  }
  return { ids: ids.slice(PROMPT.length), margin }
}

const llama = llamaTensors(llamaConfig)
const gpt2 = gpt2Tensors(gpt2Config)
const cases = [
  {
    name: 'LLaMA-shaped, sharded',
    path: () => writeSharded(join(folder, 'llama'), llamaConfig, llama),
    logits: (ids: readonly number[]) => llamaLogits(llamaConfig, llama, ids),
  },
  {
    name: 'GPT-2-shaped',
    path: () => writeDirectory(join(folder, 'gpt2'), gpt2Config, { 'model.safetensors': gpt2 }),
    logits: (ids: readonly number[]) => gpt2Logits(gpt2Config, gpt2, ids),
  },
]

describe.each(cases)('a Hugging Face directory, $name', ({ path, logits }) => {
  test('runs split as its own formulas say', async () => {
    const { source } = openPretrained(path(), {})
    const expected = reference(logits)
    expect(expected.margin).toBeGreaterThan(NEAR_TIE_MARGIN)
    const split = await openSplit(source)
    const random = randomStream(4, 'hugging face')
    for (let i = 0; i < 10; i++) {
      const placed = randomPlan(random, source.model)
      const request = { prompt: PROMPT, maxNewTokens: NEW_TOKENS, sampling: GREEDY, stopIds: [], ...placed }
      const { tokens } = await split.edge.generate(request)
      expect(tokens.map(({ id }) => id)).toEqual(expected.ids)
    }
    await split.close()
  })
})
