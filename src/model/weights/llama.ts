import type { ModelSpec } from '../spec.ts'
import type { WeightSource } from '../graphs/source.ts'
import type { AttentionWeights, FfnWeights } from '../graphs/weights.ts'
import { exitHeads } from './exits.ts'
import { transpose } from './matrix.ts'
import { readTensor } from './tensorFile.ts'
import type { TensorStore } from './tensorFile.ts'

/**
 * Hugging Face's LLaMA layout: linear layers are [out, in], heads are consecutive (so the query heads of one K/V group
 * are neighbours), and rotary pairs are already halves.
 */

export type NamedDims = readonly (readonly [name: string, dims: readonly number[]])[]

/** One layer's tensors, names below `layers.<l>.`. */
export function llamaLayerDims(model: ModelSpec): {
  readonly attention: NamedDims
  readonly ffn: NamedDims
} {
  const { width, ffnWidth, headDim } = model
  const queries = model.heads * headDim
  const narrow = model.kvHeads * headDim
  return {
    attention: [
      ['input_layernorm.weight', [width]],
      ['self_attn.q_proj.weight', [queries, width]],
      ['self_attn.k_proj.weight', [narrow, width]],
      ['self_attn.v_proj.weight', [narrow, width]],
      ['self_attn.o_proj.weight', [width, queries]],
    ],
    ffn: [
      ['post_attention_layernorm.weight', [width]],
      ['mlp.up_proj.weight', [ffnWidth, width]],
      ['mlp.gate_proj.weight', [ffnWidth, width]],
      ['mlp.down_proj.weight', [width, ffnWidth]],
    ],
  }
}

/** Every tensor of the model, in order. `prefix` is `model.` or empty. */
export function llamaDims(model: ModelSpec, prefix: string): NamedDims {
  const layer = llamaLayerDims(model)
  const layers = Array.from({ length: model.layers }, (_, l) =>
    [...layer.attention, ...layer.ffn].map(([name, dims]) => [`${prefix}layers.${l}.${name}`, dims] as const),
  )
  return [
    [`${prefix}embed_tokens.weight`, [model.vocabulary, model.width]],
    ...layers.flat(),
    [`${prefix}norm.weight`, [model.width]],
    ...(model.tiedHead ? [] : ([['lm_head.weight', [model.vocabulary, model.width]]] as const)),
  ]
}

/** Reads LLaMA weights from a store. */
export function llamaSource(
  model: ModelSpec,
  store: TensorStore,
  prefix: string,
  exits: TensorStore | null,
  exitLayers: readonly number[],
): WeightSource {
  const dims = llamaLayerDims(model)
  const read = (l: number, tensors: NamedDims) =>
    tensors.map(([name, shape]) => {
      const data = readTensor(store, `${prefix}layers.${l}.${name}`, shape)
      return shape.length === 2 ? transpose(data, shape[0], shape[1]) : data
    })
  const table = [model.vocabulary, model.width]
  const tokens = () => readTensor(store, `${prefix}embed_tokens.weight`, table)
  const none = { queryBias: null, keyBias: null, valueBias: null, outputBias: null }
  return {
    model,
    embedding: () => ({ tokens: tokens(), positions: null }),
    attention: (l): AttentionWeights => {
      const [normScale, query, key, value, output] = read(l, dims.attention)
      return { units: model.kvHeads, normScale, normBias: null, query, key, value, output, ...none }
    },
    ffn: (l): FfnWeights => {
      const [normScale, first, gate, second] = read(l, dims.ffn)
      return { normScale, normBias: null, first, firstBias: null, gate, second, secondBias: null }
    },
    head: () => ({
      normScale: readTensor(store, `${prefix}norm.weight`, [model.width]),
      normBias: null,
      matrix: model.tiedHead ? tokens() : readTensor(store, 'lm_head.weight', table),
    }),
    ...exitHeads(model, exits, exitLayers, tokens),
  }
}
