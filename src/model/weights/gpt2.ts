import type { ModelSpec } from '../spec.ts'
import type { WeightSource } from '../graphs/source.ts'
import { exitHeads } from './exits.ts'
import type { NamedDims } from './llama.ts'
import { columnBlock } from './matrix.ts'
import { readTensor } from './tensorFile.ts'
import type { TensorStore } from './tensorFile.ts'

/**
 * Hugging Face's GPT-2 layout: Conv1D matrices are [in, out] as here; `c_attn` holds queries, keys and values side by
 * side.
 */
function layerDims(model: ModelSpec): { readonly attention: NamedDims; readonly ffn: NamedDims } {
  const { width, ffnWidth } = model
  return {
    attention: [
      ['ln_1.weight', [width]],
      ['ln_1.bias', [width]],
      ['attn.c_attn.weight', [width, 3 * width]],
      ['attn.c_attn.bias', [3 * width]],
      ['attn.c_proj.weight', [width, width]],
      ['attn.c_proj.bias', [width]],
    ],
    ffn: [
      ['ln_2.weight', [width]],
      ['ln_2.bias', [width]],
      ['mlp.c_fc.weight', [width, ffnWidth]],
      ['mlp.c_fc.bias', [ffnWidth]],
      ['mlp.c_proj.weight', [ffnWidth, width]],
      ['mlp.c_proj.bias', [width]],
    ],
  }
}

/** Every tensor of the model, in order. `prefix` is `transformer.` or empty. */
export function gpt2Dims(model: ModelSpec, prefix: string): NamedDims {
  const { width } = model
  const { attention, ffn } = layerDims(model)
  const layers = Array.from({ length: model.layers }, (_, l) =>
    [...attention, ...ffn].map(([name, dims]) => [`${prefix}h.${l}.${name}`, dims] as const),
  )
  return [
    [`${prefix}wte.weight`, [model.vocabulary, width]],
    [`${prefix}wpe.weight`, [model.contextTokens, width]],
    ...layers.flat(),
    [`${prefix}ln_f.weight`, [width]],
    [`${prefix}ln_f.bias`, [width]],
    ...(model.tiedHead ? [] : ([['lm_head.weight', [model.vocabulary, width]]] as const)),
  ]
}

/** Reads GPT-2 weights from a store. */
export function gpt2Source(
  model: ModelSpec,
  store: TensorStore,
  prefix: string,
  exits: TensorStore | null,
  exitLayers: readonly number[],
): WeightSource {
  const { width } = model
  const dims = layerDims(model)
  const table = [model.vocabulary, width]
  const read = (l: number, tensors: NamedDims) =>
    tensors.map(([name, shape]) => readTensor(store, `${prefix}h.${l}.${name}`, shape))
  const tokens = () => readTensor(store, `${prefix}wte.weight`, table)
  return {
    model,
    embedding: () => ({
      tokens: tokens(),
      positions: readTensor(store, `${prefix}wpe.weight`, [model.contextTokens, width]),
    }),
    attention: (l) => {
      const [normScale, normBias, fused, fusedBias, output, outputBias] = read(l, dims.attention)
      const [query, key, value] = [0, 1, 2].map((third) => columnBlock(fused, width, 3, third))
      const [queryBias, keyBias, valueBias] = [0, 1, 2].map((third) => columnBlock(fusedBias, 1, 3, third))
      return {
        units: model.kvHeads,
        normScale,
        normBias,
        query,
        key,
        value,
        output,
        queryBias,
        keyBias,
        valueBias,
        outputBias,
      }
    },
    ffn: (l) => {
      const [normScale, normBias, first, firstBias, second, secondBias] = read(l, dims.ffn)
      return { normScale, normBias, first, firstBias, gate: null, second, secondBias }
    },
    head: () => ({
      normScale: readTensor(store, `${prefix}ln_f.weight`, [width]),
      normBias: readTensor(store, `${prefix}ln_f.bias`, [width]),
      matrix: model.tiedHead ? tokens() : readTensor(store, 'lm_head.weight', table),
    }),
    ...exitHeads(model, exits, exitLayers, tokens),
  }
}
