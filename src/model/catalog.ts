import { existsSync } from 'node:fs'
import { z } from 'zod'
import { InputError, show } from '../core/errors.ts'
import { readConfig } from '../core/schema.ts'
import type { ModelSpec } from './spec.ts'

const count = (limit: number) => z.int().min(1).max(limit)

/** Schema of a model's shape, as users write it in YAML and profile files store it. */
export const modelSpecSchema = z
  .strictObject({
    id: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'an id of letters, digits, ".", "_" and "-"'),
    family: z.enum(['gpt2', 'llama']),
    layers: count(255),
    width: count(65_536),
    heads: count(255),
    kvHeads: count(255),
    headDim: count(4_096),
    ffnWidth: count(1_048_576),
    vocabulary: count(4_194_304),
    contextTokens: count(1_048_576).min(2),
    tiedHead: z.boolean(),
    normEpsilon: z.number().gt(0).max(1).optional(),
    ropeBase: z.number().gt(1).max(1e9).optional(),
  })
  .refine((spec) => spec.heads % spec.kvHeads === 0, { path: ['kvHeads'], message: 'a divisor of heads' })
  .refine((spec) => spec.family !== 'gpt2' || spec.heads === spec.kvHeads, {
    path: ['kvHeads'],
    message: 'as many as heads (the GPT-2 family has no grouped queries)',
  })
  .refine((spec) => spec.family !== 'llama' || spec.headDim % 2 === 0, {
    path: ['headDim'],
    message: 'an even number (rotary embedding turns pairs)',
  })

/** GPT-2's published sizes (Radford et al. 2019, table 2); headDim = width / heads. */
function gpt2(
  id: string,
  layers: number,
  width: number,
  heads: number,
  vocabulary = 50_257,
  contextTokens = 1024,
): ModelSpec {
  return {
    id,
    family: 'gpt2',
    layers,
    width,
    heads,
    kvHeads: heads,
    headDim: width / heads,
    ffnWidth: 4 * width,
    vocabulary,
    contextTokens,
    tiedHead: true,
  }
}

/** LLaMA sizes (arXiv 2302.13971 table 2) with the 4096-token context of Llama 2 (arXiv 2307.09288), whose 7B and 13B have the same shapes. */
function llama(id: string, layers: number, width: number, heads: number, ffnWidth: number): ModelSpec {
  return {
    id,
    family: 'llama',
    layers,
    width,
    heads,
    kvHeads: heads,
    headDim: width / heads,
    ffnWidth,
    vocabulary: 32_000,
    contextTokens: 4096,
    tiedHead: false,
  }
}

/** The model that is shipped with weights, trained by src/lab/pretrain; it writes tales in a small grammar. */
const TALES: ModelSpec = {
  id: 'tales',
  family: 'llama',
  layers: 8,
  width: 96,
  heads: 6,
  kvHeads: 3,
  headDim: 16,
  ffnWidth: 256,
  vocabulary: 64,
  contextTokens: 512,
  tiedHead: true,
  normEpsilon: 1e-6,
  ropeBase: 10_000,
}

/** Built-in models. `tiny` has a shape only, for fast tests and examples. */
export const MODELS: readonly ModelSpec[] = [
  gpt2('tiny', 4, 64, 4, 512, 512),
  TALES,
  gpt2('gpt2', 12, 768, 12),
  gpt2('gpt2-xl', 48, 1600, 25),
  llama('llama-7b', 32, 4096, 32, 11_008),
  llama('llama-13b', 40, 5120, 40, 13_824),
]

/**
 * Loads a model by its built-in id, or from a YAML file with a ModelSpec. Throws InputError for an unknown id or a bad
 * file.
 */
export function loadModel(idOrFile: string): ModelSpec {
  const known = MODELS.find((model) => model.id === idOrFile)
  if (known !== undefined) return known
  if (!existsSync(idOrFile)) {
    throw new InputError({
      where: 'model',
      expected: `one of ${MODELS.map((model) => model.id).join(', ')}, or a YAML file`,
      found: show(idOrFile),
      remedy: '`edgewise models` lists the built-in models',
    })
  }
  return readConfig(modelSpecSchema, idOrFile)
}
