import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { randomStream } from '../../../src/core/random.ts'

/** Small Hugging Face directories with random weights, written as transformers writes them: no code of src/model/weights. */

interface Written {
  readonly dims: readonly number[]
  readonly data: Float32Array
}
export type Tensors = Record<string, Written>

export const llamaConfig = {
  model_type: 'llama',
  hidden_size: 48,
  intermediate_size: 80,
  num_hidden_layers: 2,
  num_attention_heads: 6,
  num_key_value_heads: 3,
  vocab_size: 61,
  max_position_embeddings: 40,
  rms_norm_eps: 1e-5,
  rope_theta: 50_000,
  rope_scaling: null,
  hidden_act: 'silu',
  attention_bias: false,
  tie_word_embeddings: false,
  bos_token_id: 1,
  eos_token_id: 2,
}

export const gpt2Config = {
  model_type: 'gpt2',
  n_embd: 48,
  n_layer: 2,
  n_head: 6,
  n_positions: 40,
  n_ctx: 40,
  n_inner: null,
  vocab_size: 61,
  layer_norm_epsilon: 2e-5,
  activation_function: 'gelu_new',
  eos_token_id: 60,
}

export function llamaTensors(config: typeof llamaConfig & { head_dim?: number }, seed = 1): Tensors {
  const { hidden_size: d, intermediate_size: f, vocab_size: v } = config
  const headDim = config.head_dim ?? d / config.num_attention_heads
  const [q, kv] = [config.num_attention_heads * headDim, config.num_key_value_heads * headDim]
  const draw = drawer(seed)
  const tensors: Tensors = { 'model.embed_tokens.weight': draw([v, d]), 'model.norm.weight': draw([d], 1) }
  for (let l = 0; l < config.num_hidden_layers; l++) {
    Object.assign(tensors, {
      [`model.layers.${l}.input_layernorm.weight`]: draw([d], 1),
      [`model.layers.${l}.self_attn.q_proj.weight`]: draw([q, d]),
      [`model.layers.${l}.self_attn.k_proj.weight`]: draw([kv, d]),
      [`model.layers.${l}.self_attn.v_proj.weight`]: draw([kv, d]),
      [`model.layers.${l}.self_attn.o_proj.weight`]: draw([d, q]),
      [`model.layers.${l}.post_attention_layernorm.weight`]: draw([d], 1),
      [`model.layers.${l}.mlp.gate_proj.weight`]: draw([f, d]),
      [`model.layers.${l}.mlp.up_proj.weight`]: draw([f, d]),
      [`model.layers.${l}.mlp.down_proj.weight`]: draw([d, f]),
    })
  }
  if (!config.tie_word_embeddings) tensors['lm_head.weight'] = draw([v, d])
  return tensors
}

export function gpt2Tensors(config: typeof gpt2Config, seed = 2): Tensors {
  const { n_embd: d, vocab_size: v } = config
  const draw = drawer(seed)
  const tensors: Tensors = {
    'transformer.wte.weight': draw([v, d]),
    'transformer.wpe.weight': draw([config.n_positions, d]),
    'transformer.ln_f.weight': draw([d], 1),
    'transformer.ln_f.bias': draw([d]),
  }
  for (let l = 0; l < config.n_layer; l++) {
    const h = `transformer.h.${l}`
    for (const ln of ['ln_1', 'ln_2'])
      Object.assign(tensors, { [`${h}.${ln}.weight`]: draw([d], 1), [`${h}.${ln}.bias`]: draw([d]) })
    for (const [name, from, to] of [
      ['attn.c_attn', d, 3 * d],
      ['attn.c_proj', d, d],
      ['mlp.c_fc', d, 4 * d],
      ['mlp.c_proj', 4 * d, d],
    ] as const)
      Object.assign(tensors, { [`${h}.${name}.weight`]: draw([from, to]), [`${h}.${name}.bias`]: draw([to]) })
  }
  return tensors
}

function drawer(seed: number): (dims: readonly number[], mean?: number) => Written {
  const stream = randomStream(seed, 'weights')
  return (dims, mean = 0) => {
    const size = dims.reduce((a, b) => a * b, 1)
    return { dims, data: Float32Array.from({ length: size }, () => mean + 0.15 * stream.normal()) }
  }
}

export function writeDirectory(folder: string, config: object, files: Record<string, Tensors>): string {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
  for (const [file, tensors] of Object.entries(files)) {
    writeFileSync(join(folder, file), safetensorsOf(tensors))
  }
  return folder
}

/** In three shards with an index. */
export function writeSharded(folder: string, config: object, tensors: Tensors): string {
  const names = Object.keys(tensors)
  const file = (i: number) => `model-0000${(i % 3) + 1}-of-00003.safetensors`
  const shards: Record<string, Tensors> = {}
  for (const [i, name] of names.entries()) (shards[file(i)] ??= {})[name] = tensors[name]
  writeDirectory(folder, config, shards)
  const weight_map = Object.fromEntries(names.map((name, i) => [name, file(i)]))
  const index = { metadata: { total_size: 0 }, weight_map }
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify(index))
  return folder
}

/** The format as its page describes it. */
export function safetensorsOf(tensors: Tensors): Buffer {
  let end = 0
  const header = Object.entries(tensors).map(([name, { dims, data }]) => {
    const begin = end
    end += data.byteLength
    return [name, { dtype: 'F32', shape: dims, data_offsets: [begin, end] }]
  })
  return withHeader(
    JSON.stringify(Object.fromEntries(header)),
    Buffer.concat(Object.values(tensors).map(({ data }) => Buffer.from(data.buffer))),
  )
}

export function withHeader(json: string, data: Buffer): Buffer {
  const header = Buffer.from(json)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  return Buffer.concat([length, header, data])
}
