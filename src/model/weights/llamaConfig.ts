import { z } from 'zod'
import { check } from '../../core/schema.ts'
import { modelSpecSchema } from '../catalog.ts'
import type { ModelSpec } from '../spec.ts'
import { count, only, sharedFields } from './configFields.ts'

const PLAIN_ROPE = 'null or the type "default": scaled rotary embeddings are not supported'

/** Named `type` in older files, `rope_type` in newer ones. */
const rope = z
  .looseObject({ rope_theta: z.number().nullish() })
  .nullish()
  .refine((value) => {
    const kind = value?.rope_type ?? value?.type
    return value === null || value === undefined || kind === undefined || kind === 'default'
  }, PLAIN_ROPE)
  .refine((value) => value?.factor === undefined, PLAIN_ROPE)

const schema = z
  .looseObject({
    ...sharedFields,
    model_type: z.enum(['llama', 'mistral']),
    hidden_size: count,
    intermediate_size: count,
    num_hidden_layers: count,
    num_attention_heads: count,
    num_key_value_heads: count.nullish(),
    head_dim: count.nullish(),
    vocab_size: count,
    max_position_embeddings: count,
    rms_norm_eps: z.number().nullish(),
    rope_theta: z.number().nullish(),
    rope_scaling: rope,
    rope_parameters: rope,
    partial_rotary_factor: only(1),
    hidden_act: only('silu', 'swish'),
    attention_bias: only(false),
    mlp_bias: only(false),
    tie_word_embeddings: z.boolean().nullish(),
    sliding_window: count.nullish(),
  })
  .refine((c) => typeof c.head_dim === 'number' || c.hidden_size % c.num_attention_heads === 0, {
    path: ['num_attention_heads'],
    message: 'a divisor of hidden_size',
  })
  .refine((c) => c.model_type !== 'mistral' || typeof c.num_key_value_heads === 'number', {
    path: ['num_key_value_heads'],
    message: 'a number',
  })
  .refine((c) => !slides(c), {
    path: ['sliding_window'],
    message:
      'null, or at least max_position_embeddings: sliding windows are not supported (a max_position_embeddings no larger than the window has the same effect)',
  })

/** Without the field, Mistral has a window of 4,096 tokens (transformers' default) and LLaMA has none. */
function slides(config: {
  model_type: string
  sliding_window?: number | null
  max_position_embeddings: number
}): boolean {
  const { sliding_window, max_position_embeddings } = config
  const window = sliding_window === undefined && config.model_type === 'mistral' ? 4096 : sliding_window
  return typeof window === 'number' && window < max_position_embeddings
}

/**
 * The shape described by a LLaMA or Mistral config.json, with transformers' defaults for absent fields. Throws
 * InputError if the model cannot be computed faithfully.
 */
export function llamaSpec(value: unknown, id: string, where: string): ModelSpec {
  const config = check(schema, value, where)
  const spec: ModelSpec = {
    id,
    family: 'llama',
    layers: config.num_hidden_layers,
    width: config.hidden_size,
    heads: config.num_attention_heads,
    kvHeads: config.num_key_value_heads ?? config.num_attention_heads,
    headDim: config.head_dim ?? config.hidden_size / config.num_attention_heads,
    ffnWidth: config.intermediate_size,
    vocabulary: config.vocab_size,
    contextTokens: config.max_position_embeddings,
    tiedHead: config.tie_word_embeddings ?? false,
    normEpsilon: config.rms_norm_eps ?? 1e-6,
    ropeBase: config.rope_parameters?.rope_theta ?? config.rope_theta ?? 10_000,
  }
  return check(modelSpecSchema, spec, `${where}: as a model`)
}
