import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { InputError } from '../../core/errors.ts'
import { readText, resolveInside } from '../../core/files.ts'
import { check } from '../../core/schema.ts'
import { parseObject } from '../json.ts'
import { openSafetensors } from './safetensors.ts'
import type { TensorEntry, TensorStore } from './tensorFile.ts'

const WHOLE = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'
const MAX_INDEX_BYTES = 64 * 1024 * 1024
const MAX_SHARDS = 1024

const indexSchema = z.looseObject({
  weight_map: z.record(z.string(), z.string().regex(/\.safetensors$/, 'the name of a .safetensors file')),
})

/** The tensors of a Hugging Face directory, from model.safetensors or the shards that its index names. */
export function openWeights(folder: string): TensorStore {
  const whole = join(folder, WHOLE)
  if (existsSync(whole)) return { where: whole, entries: openSafetensors(whole) }
  const index = join(folder, INDEX)
  if (existsSync(index)) return { where: index, entries: openShards(folder, index) }
  throw new InputError({
    where: folder,
    expected: `${WHOLE} or ${INDEX}`,
    found: otherWeights(folder),
    remedy: 'weights must be safetensors: download or convert the model in that format',
  })
}

/** Weights in other forms that lie in the folder, with what they are. */
const OTHER_WEIGHTS: readonly (readonly [RegExp, string])[] = [
  [/^pytorch_model.*\.bin(?:\.index\.json)?$/, 'PyTorch weights'],
  [/\.gguf$/, 'GGUF (llama.cpp)'],
  [/^adapter_model\./, 'an adapter (LoRA) without the model that it changes'],
  [/^consolidated.*\.(?:pth|safetensors)$/, "weights in their maker's own form"],
  [/^tf_model\.h5$/, 'TensorFlow weights'],
  [/^flax_model\.msgpack$/, 'Flax weights'],
  [/\.onnx$/, 'an ONNX graph'],
]

/** What weights a folder holds in place of Hugging Face's safetensors; `neither` where it has none of those either. */
export function otherWeights(folder: string): string {
  const names = readdirSync(folder).sort()
  const found = OTHER_WEIGHTS.flatMap(([pattern, what]) => {
    const name = names.find((file) => pattern.test(file))
    return name === undefined ? [] : [{ name, what }]
  })
  if (found.length === 0) return 'neither'
  return `${found.map(({ name }) => name).join(', ')} only: ${found.map(({ what }) => what).join(', ')}`
}

function openShards(folder: string, index: string): Map<string, TensorEntry> {
  const { weight_map } = check(indexSchema, parseObject(readText(index, MAX_INDEX_BYTES), index, 4), index)
  const files = new Set(Object.values(weight_map))
  if (files.size > MAX_SHARDS) {
    throw new InputError({ where: index, expected: `at most ${MAX_SHARDS} files`, found: `${files.size}` })
  }
  const shards = new Map([...files].map((file) => [file, openSafetensors(resolveInside(folder, file))]))
  const entries = new Map<string, TensorEntry>()
  for (const [name, file] of Object.entries(weight_map)) {
    const entry = shards.get(file)!.get(name)
    if (entry === undefined) {
      throw new InputError({
        where: `${join(folder, file)}: tensor ${name}`,
        expected: `the tensor, as ${INDEX} says`,
        found: 'no tensor of this name',
      })
    }
    entries.set(name, entry)
  }
  return entries
}
