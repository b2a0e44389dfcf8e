import { existsSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { z } from 'zod'
import { InputError, show } from '../../core/errors.ts'
import { readText } from '../../core/files.ts'
import { check } from '../../core/schema.ts'
import type { ModelSpec } from '../spec.ts'
import { openChat } from '../tokenizers/chat.ts'
import { count, sharedFields } from './configFields.ts'
import { EXITS_FILE, exitDims } from './exits.ts'
import { fingerprint } from './fingerprint.ts'
import type { Covered } from './fingerprint.ts'
import { gpt2Dims, gpt2Source } from './gpt2.ts'
import { gpt2Spec } from './gpt2Config.ts'
import { parseObject } from '../json.ts'
import { llamaDims, llamaSource } from './llama.ts'
import { llamaSpec } from './llamaConfig.ts'
import { openSafetensors } from './safetensors.ts'
import { openWeights } from './shards.ts'
import type { TensorStore } from './tensorFile.ts'
import { openTokenizer } from '../tokenizers/tokenizer.ts'
import type { PretrainedModel } from './pretrained.ts'

const MAX_CONFIG_BYTES = 1024 * 1024
const CONFIG_DEPTH = 32

/** What differs between the families: the configuration, and the names of tensors. */
const FAMILIES = {
  gpt2: { spec: gpt2Spec, dims: gpt2Dims, source: gpt2Source, prefix: 'transformer.', first: 'wte.weight' },
  llama: {
    spec: llamaSpec,
    dims: llamaDims,
    source: llamaSource,
    prefix: 'model.',
    first: 'embed_tokens.weight',
  },
}

const FAMILY_OF: Readonly<Record<string, keyof typeof FAMILIES>> = {
  gpt2: 'gpt2',
  llama: 'llama',
  mistral: 'llama',
}

const anyConfigSchema = z.looseObject({
  model_type: z
    .string(`one of ${Object.keys(FAMILY_OF).join(', ')}: without it nobody knows which model this is`)
    .refine(
      (type) => Object.hasOwn(FAMILY_OF, type),
      `one of ${Object.keys(FAMILY_OF).join(', ')}: no other model is supported`,
    ),
  edgewise: sharedFields.edgewise,
})

const idsSchema = z.looseObject({
  bos_token_id: count.or(z.literal(0)).nullish(),
  eos_token_id: z
    .union([z.int().min(0), z.array(z.int().min(0)).max(1024)])
    .nullish()
    .describe('an id or a list of ids'),
})

/** Opens a Hugging Face directory: config.json, safetensors, and tokenizer.json if present. */
export function openDirectory(path: string, builtinId?: string): PretrainedModel {
  const folder = resolve(path)
  const where = join(folder, 'config.json')
  const config = readObject(where)
  const { model_type, edgewise } = check(anyConfigSchema, config, where)
  const family = FAMILIES[FAMILY_OF[model_type]]
  const model = family.spec(config, builtinId ?? modelId(folder, edgewise?.id), where)
  const store = openWeights(folder)
  const prefix = store.entries.has(family.prefix + family.first) ? family.prefix : ''
  checkLeftOut(model, store)
  const exitLayers = checkExits(model, edgewise?.exitLayers ?? [], where)
  const exits = exitLayers.length === 0 ? null : openExits(folder)
  const covered: Covered[] = [{ store, prefix, dims: family.dims(model, prefix) }]
  if (exits !== null) covered.push({ store: exits, prefix: '', dims: exitDims(model, exits, exitLayers) })
  const ids = readIds(folder, config, where)
  return {
    source: family.source(model, store, prefix, exits, exitLayers),
    tokenizer: openTokenizer(folder, model.vocabulary, ids.begin),
    chat: openChat(folder),
    stopIds: ids.stop,
    fingerprint: fingerprint(model, covered),
    path: folder,
  }
}

function readObject(path: string): object {
  return parseObject(readText(path, MAX_CONFIG_BYTES), path, CONFIG_DEPTH)
}

/**
 * The id in config.json, otherwise the folder's name; in Hugging Face's cache (`models--owner--name/snapshots/<hash>`)
 * the model's name.
 */
function modelId(folder: string, given: string | undefined): string {
  const cached = basename(dirname(folder)) === 'snapshots'
  const name = cached ? basename(dirname(dirname(folder))).replace(/^models--/, '') : basename(folder)
  const clean = (given ?? name).replaceAll(/[^A-Za-z0-9._-]+/g, '-').replace(/^[^A-Za-z0-9]+/, '')
  return clean.slice(0, 64) || 'model'
}

/**
 * Refuses tensors that the model needs but the graphs would not use: biases of LLaMA's layers, layers beyond the last.
 */
function checkLeftOut(model: ModelSpec, store: TensorStore): void {
  for (const [name, entry] of store.entries) {
    const layer = /(?:^|\.)(?:layers|h)\.(\d+)\./.exec(name)
    const bias = model.family === 'llama' && layer !== null && name.endsWith('.bias')
    if (bias || (layer !== null && Number(layer[1]) >= model.layers)) {
      throw new InputError({
        where: `${entry.path}: tensor ${show(name)}`,
        expected: bias ? 'no biases in the layers of this family' : `${model.layers} layers, as configured`,
        found: bias ? 'a bias' : `a tensor of layer ${layer[1]}, counted from 0`,
      })
    }
  }
}

function checkExits(model: ModelSpec, layers: readonly number[], where: string): readonly number[] {
  if (layers.every((layer, i) => layer < model.layers && (i === 0 || layer > layers[i - 1]))) return layers
  throw new InputError({
    where: `${where}: edgewise.exitLayers`,
    expected: `ascending numbers of layers, from 1 to ${model.layers - 1}`,
    found: `[${layers.join(', ')}]`,
  })
}

function openExits(folder: string): TensorStore {
  const path = join(folder, EXITS_FILE)
  return { where: path, entries: openSafetensors(path) }
}

/** Ids that end and begin a text, from generation_config.json, otherwise config.json. */
function readIds(folder: string, config: object, where: string): { stop: number[]; begin: number | null } {
  const path = join(folder, 'generation_config.json')
  const general = check(idsSchema, config, where)
  const generation = existsSync(path) ? check(idsSchema, readObject(path), path) : {}
  const stop = generation.eos_token_id ?? general.eos_token_id ?? []
  return {
    stop: typeof stop === 'number' ? [stop] : stop,
    begin: generation.bos_token_id ?? general.bos_token_id ?? null,
  }
}
