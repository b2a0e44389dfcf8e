import { z } from 'zod'
import { check } from '../../core/schema.ts'
import { modelSpecSchema } from '../catalog.ts'
import type { ModelSpec } from '../spec.ts'
import { count, only, sharedFields } from './configFields.ts'

const schema = z
  .looseObject({
    ...sharedFields,
    model_type: z.literal('gpt2'),
    n_embd: count,
    n_layer: count,
    n_head: count,
    n_inner: count.nullish(),
    n_positions: count,
    vocab_size: count,
    layer_norm_epsilon: z.number().nullish(),
    // Two names for the same formula, gelu with the tanh approximation.
    activation_function: only('gelu_new', 'gelu_pytorch_tanh'),
    scale_attn_weights: only(true),
    scale_attn_by_inverse_layer_idx: only(false),
    tie_word_embeddings: z.boolean().nullish(),
  })
  .refine((c) => c.n_embd % c.n_head === 0, { path: ['n_head'], message: 'a divisor of n_embd' })

/**
 * The shape described by a GPT-2 config.json, with transformers' defaults for absent fields. Throws InputError if the
 * model cannot be computed faithfully.
 */
export function gpt2Spec(value: unknown, id: string, where: string): ModelSpec {
  const config = check(schema, value, where)
  const spec: ModelSpec = {
    id,
    family: 'gpt2',
    layers: config.n_layer,
    width: config.n_embd,
    heads: config.n_head,
    kvHeads: config.n_head,
    headDim: config.n_embd / config.n_head,
    ffnWidth: config.n_inner ?? 4 * config.n_embd,
    vocabulary: config.vocab_size,
    contextTokens: config.n_positions,
    tiedHead: config.tie_word_embeddings ?? true,
    normEpsilon: config.layer_norm_epsilon ?? 1e-5,
  }
  return check(modelSpecSchema, spec, `${where}: as a model`)
}
