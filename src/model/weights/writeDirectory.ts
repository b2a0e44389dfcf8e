import { join } from 'node:path'
import { writeAtomic } from '../../core/files.ts'
import type { ModelSpec } from '../spec.ts'
import type { WeightSource } from '../graphs/source.ts'
import { EXITS_FILE, exitNames } from './exits.ts'
import { llamaDims, llamaLayerDims } from './llama.ts'
import { transpose } from './matrix.ts'
import { writeSafetensors } from './writeSafetensors.ts'
import type { TensorToWrite } from './writeSafetensors.ts'

/** What a model directory holds besides weights. */
interface WriteOptions {
  readonly dtype: 'F16' | 'F32'
  /** The content of tokenizer.json; null: none is written. */
  readonly tokenizerJson: object | null
  /** Tokens that end a text. */
  readonly stopIds: readonly number[]
  /** Token that begins a text, if there is one. */
  readonly beginId?: number
}

/**
 * Writes a LLaMA-shaped model as a Hugging Face directory that `openPretrained` and transformers can open: config.json,
 * generation_config.json, model.safetensors, tokenizer.json, and exits.safetensors if there are exits. Files are built
 * in memory, so this is for small models. config.json is written last, because a folder without it does not open.
 */
export function writeLlamaDirectory(folder: string, source: WeightSource, options: WriteOptions): void {
  const { model } = source
  if (model.family !== 'llama') throw new RangeError(`family: expected llama, found ${model.family}`)
  writeSafetensors(join(folder, 'model.safetensors'), modelTensors(source, options.dtype))
  if (source.exitLayers.length > 0)
    writeSafetensors(join(folder, EXITS_FILE), exitTensors(source, options.dtype))
  if (options.tokenizerJson !== null) {
    writeJson(join(folder, 'tokenizer.json'), options.tokenizerJson)
    writeJson(join(folder, 'tokenizer_config.json'), { clean_up_tokenization_spaces: false })
  }
  const ids = {
    ...(options.beginId === undefined ? {} : { bos_token_id: options.beginId }),
    ...(options.stopIds.length === 0 ? {} : { eos_token_id: options.stopIds }),
  }
  writeJson(join(folder, 'generation_config.json'), ids)
  writeJson(join(folder, 'config.json'), { ...llamaConfig(source, options.dtype), ...ids })
}

function writeJson(path: string, value: object): void {
  writeAtomic(path, `${JSON.stringify(value, null, 1)}\n`)
}

function llamaConfig(source: WeightSource, dtype: 'F16' | 'F32'): object {
  const { model, exitLayers } = source
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: model.width,
    intermediate_size: model.ffnWidth,
    num_hidden_layers: model.layers,
    num_attention_heads: model.heads,
    num_key_value_heads: model.kvHeads,
    head_dim: model.headDim,
    vocab_size: model.vocabulary,
    max_position_embeddings: model.contextTokens,
    // If undefined, the field is omitted: transformers has the same defaults.
    rms_norm_eps: model.normEpsilon,
    rope_theta: model.ropeBase,
    rope_scaling: null,
    hidden_act: 'silu',
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: model.tiedHead,
    torch_dtype: dtype === 'F16' ? 'float16' : 'float32',
    edgewise: { id: model.id, exitLayers },
  }
}

function modelTensors(source: WeightSource, dtype: 'F16' | 'F32'): TensorToWrite[] {
  const { model } = source
  const dims = new Map(llamaDims(model, 'model.'))
  const layerDims = llamaLayerDims(model)
  const tensors: TensorToWrite[] = []
  const put = (name: string, data: Float32Array) => {
    tensors.push({ name, dims: dims.get(name)!, data, dtype })
  }
  put('model.embed_tokens.weight', source.embedding().tokens)
  for (let l = 0; l < model.layers; l++) {
    const attention = source.attention(l)
    const ffn = source.ffn(l)
    const { query, key, value, output } = attention
    const blocks = [
      ...zip(layerDims.attention, [attention.normScale, query, key, value, output]),
      ...zip(layerDims.ffn, [ffn.normScale, ffn.first, ffn.gate!, ffn.second]),
    ]
    for (const [[name, shape], data] of blocks) {
      put(`model.layers.${l}.${name}`, shape.length === 2 ? transpose(data, shape[1], shape[0]) : data)
    }
  }
  const head = source.head()
  put('model.norm.weight', head.normScale)
  if (!model.tiedHead) put('lm_head.weight', head.matrix)
  return tensors
}

function zip<A, B>(a: readonly A[], b: readonly B[]): [A, B][] {
  return a.map((value, i) => [value, b[i]])
}

/** An exit whose matrix is the embedding's stores no matrix. */
function exitTensors(source: WeightSource, dtype: 'F16' | 'F32'): TensorToWrite[] {
  const { model } = source
  const { tokens } = source.embedding()
  return source.exitLayers.flatMap((layer) => {
    const head = source.exitHead(layer)
    const names = exitNames(layer)
    const scale: TensorToWrite = { name: names.scale, dims: [model.width], data: head.normScale, dtype }
    if (equal(head.matrix, tokens)) return [scale]
    const dims = matrixDims(model)
    return [scale, { name: names.matrix, dims, data: head.matrix, dtype }]
  })
}

const matrixDims = (model: ModelSpec) => [model.vocabulary, model.width]

function equal(a: Float32Array, b: Float32Array): boolean {
  return a === b || (a.length === b.length && a.every((value, i) => value === b[i]))
}
