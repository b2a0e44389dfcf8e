import { closeSync, existsSync, fstatSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { InputError } from '../../core/errors.ts'
import { check } from '../../core/schema.ts'
import { modelSpecSchema } from '../catalog.ts'
import type { ModelSpec } from '../spec.ts'
import type { WeightSource } from '../graphs/source.ts'
import { PLAIN_CHAT } from '../tokenizers/chat.ts'
import { fingerprint } from './fingerprint.ts'
import type { NamedDims } from './llama.ts'
import { transpose } from './matrix.ts'
import { openPieces } from '../tokenizers/pieces.ts'
import { elementCount, openFile, readExactly, readTensor, readValues } from './tensorFile.ts'
import type { TensorEntry, TensorStore } from './tensorFile.ts'
import type { PretrainedModel } from './pretrained.ts'

/**
 * llama2.c's "version 0" checkpoint (https://github.com/karpathy/llama2.c, run.c: Config, memory_map_weights): seven int32,
 * then float32 tensors, each for all layers; matrices are [out, in], rotary pairs are neighbours (2i, 2i + 1).
 */
const HEADER_INTS = 7
const HEADER_BYTES = 4 * HEADER_INTS
/** "ak42": the first word of the later versions. */
const VERSIONED = 0x616b3432
/** run.c, rmsnorm. */
const EPSILON = 1e-5

/**
 * Opens a checkpoint with the given tokenizer, or the one beside it (`tok<vocabulary>.bin`, otherwise `tokenizer.bin`).
 */
export function openCheckpoint(path: string, tokenizerPath?: string): PretrainedModel {
  const full = resolve(path)
  const { model, fileBytes } = readHeader(full)
  const dims = sections(model)
  const store = locate(full, dims, fileBytes)
  const tokenizer = tokenizerPath ?? tokenizerBeside(full, model.vocabulary)
  return {
    source: checkpointSource(model, store, new Map(dims)),
    tokenizer: tokenizer === null ? null : openPieces(tokenizer, model.vocabulary),
    chat: PLAIN_CHAT,
    // A text ends where run.c stops (at the next text's beginning) or where its chat does (</s>).
    stopIds: [1, 2],
    fingerprint: fingerprint(model, [
      { store, prefix: '', dims: dims.filter(([name]) => !UNUSED.test(name)) },
    ]),
    path: full,
  }
}

function readHeader(path: string): { model: ModelSpec; fileBytes: number } {
  const file = openFile(path)
  try {
    const header = new Int32Array(HEADER_INTS)
    readExactly(file, new Uint8Array(header.buffer), 0, path, 'header')
    if (header[0] === VERSIONED) {
      throw new InputError({
        where: `${path}: header`,
        expected: 'a version 0 checkpoint of llama2.c',
        found: `version ${header[1]}`,
        remedy: 'export it with --version 0',
      })
    }
    return { model: checkpointSpec(header, path), fileBytes: fstatSync(file).size }
  } finally {
    closeSync(file)
  }
}

/**
 * Header: dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size (negative: the lm_head has a matrix of its own),
 * seq_len.
 */
function checkpointSpec(header: Int32Array, path: string): ModelSpec {
  const [width, ffnWidth, layers, heads, kvHeads, vocabulary, contextTokens] = header
  const id = basename(path, '.bin')
    .replaceAll(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 64)
  const spec: ModelSpec = {
    id: id === '' ? 'model' : id,
    family: 'llama',
    layers,
    width,
    heads,
    kvHeads,
    ffnWidth,
    headDim: width / heads,
    vocabulary: Math.abs(vocabulary),
    contextTokens,
    tiedHead: vocabulary > 0,
    normEpsilon: EPSILON,
  }
  return check(
    modelSpecSchema,
    spec,
    `${path}: header`,
    'this is no checkpoint of llama2.c, or it is damaged',
  )
}

/** Tables of rotary angles, which run.c skips too. */
const UNUSED = /^freq_cis_/

/** The file's tensors, in file order. */
function sections(model: ModelSpec): NamedDims {
  const { layers, width, ffnWidth, vocabulary, contextTokens, headDim } = model
  const narrow = model.kvHeads * headDim
  return [
    ['token_embedding_table', [vocabulary, width]],
    ['rms_att_weight', [layers, width]],
    ['wq', [layers, width, width]],
    ['wk', [layers, narrow, width]],
    ['wv', [layers, narrow, width]],
    ['wo', [layers, width, width]],
    ['rms_ffn_weight', [layers, width]],
    ['w1', [layers, ffnWidth, width]],
    ['w2', [layers, width, ffnWidth]],
    ['w3', [layers, ffnWidth, width]],
    ['rms_final_weight', [width]],
    ['freq_cis_real', [contextTokens, headDim / 2]],
    ['freq_cis_imag', [contextTokens, headDim / 2]],
    ...(model.tiedHead ? [] : ([['wcls', [vocabulary, width]]] as const)),
  ]
}

/** Offsets of consecutive sections; the file must end with the last one. */
function locate(path: string, dims: NamedDims, fileBytes: number): TensorStore {
  const entries = new Map<string, TensorEntry>()
  let offset = HEADER_BYTES
  for (const [name, shape] of dims) {
    entries.set(name, { path, fileBytes, dtype: 'F32', dims: shape, offset })
    offset += 4 * elementCount(shape)
  }
  if (offset === fileBytes) return { where: path, entries }
  throw new InputError({
    where: path,
    expected: `${offset} bytes, as its header says`,
    found: `${fileBytes} bytes`,
    remedy: 'the file is truncated or no version 0 checkpoint of llama2.c',
  })
}

function checkpointSource(
  model: ModelSpec,
  store: TensorStore,
  dims: ReadonlyMap<string, readonly number[]>,
): WeightSource {
  const { width, headDim } = model
  const whole = (name: string) => readTensor(store, name, dims.get(name)!)
  /** One layer's [out, in] matrix or vector from a section. */
  const layerOf = (name: string, l: number) => {
    const size = elementCount(dims.get(name)!.slice(1))
    return readValues(store.entries.get(name)!, name, l * size, size)
  }
  const turned = (matrix: Float32Array, inputs: number) => transpose(matrix, matrix.length / inputs, inputs)
  const matrix = (name: string, l: number) => turned(layerOf(name, l), dims.get(name)![2])
  const rotary = (name: string, l: number) => turned(halves(layerOf(name, l), width, headDim), width)
  const none = { queryBias: null, keyBias: null, valueBias: null, outputBias: null }
  return {
    model,
    embedding: () => ({ tokens: whole('token_embedding_table'), positions: null }),
    attention: (l) => ({
      units: model.kvHeads,
      normScale: layerOf('rms_att_weight', l),
      normBias: null,
      ...none,
      query: rotary('wq', l),
      key: rotary('wk', l),
      value: matrix('wv', l),
      output: matrix('wo', l),
    }),
    ffn: (l) => ({
      normScale: layerOf('rms_ffn_weight', l),
      normBias: null,
      firstBias: null,
      secondBias: null,
      first: matrix('w3', l),
      gate: matrix('w1', l),
      second: matrix('w2', l),
    }),
    head: () => ({
      normScale: whole('rms_final_weight'),
      normBias: null,
      matrix: whole(model.tiedHead ? 'token_embedding_table' : 'wcls'),
    }),
    exitLayers: [],
    exitHead: (layer) => {
      throw new RangeError(`exit layer: a llama2.c checkpoint has none, found ${layer}`)
    },
  }
}

/** Reorders the rows of each head from neighbouring pairs to halves: row 2i to i, row 2i + 1 to i + headDim / 2. */
function halves(matrix: Float32Array, columns: number, headDim: number): Float32Array {
  const out = new Float32Array(matrix.length)
  for (let row = 0; row < matrix.length / columns; row++) {
    const inHead = row % headDim
    const target = row - inHead + (inHead >> 1) + (inHead % 2) * (headDim / 2)
    out.set(matrix.subarray(row * columns, (row + 1) * columns), target * columns)
  }
  return out
}

function tokenizerBeside(path: string, vocabulary: number): string | null {
  const names = [`tok${vocabulary}.bin`, 'tokenizer.bin']
  return names.map((name) => join(dirname(path), name)).find((file) => existsSync(file)) ?? null
}
