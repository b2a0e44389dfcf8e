import { existsSync, readdirSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { InputError, show } from '../../core/errors.ts'
import { nameForeignFile } from '../../core/foreign.ts'
import { openDirectory } from './directory.ts'
import { openCheckpoint } from './checkpoint.ts'
import type { PretrainedModel } from './pretrained.ts'
import { otherWeights } from './shards.ts'

/** Models that ship with the project. */
export const BUILTIN_MODELS = ['tales'] as const

/** Where openPretrained looks for files. */
interface OpenOptions {
  /** Folder of the shipped models, each a Hugging Face directory named by its id. */
  readonly builtinFolder?: string
  /** llama2.c's tokenizer file; default: found beside the checkpoint. */
  readonly tokenizerPath?: string
}

/**
 * Opens a built-in model by its id, a Hugging Face directory, a llama2.c checkpoint, or a folder with exactly one
 * checkpoint. Weights stay on disk until needed. Throws InputError for a model that cannot be run faithfully.
 */
export function openPretrained(idOrPath: string, options: OpenOptions = {}): PretrainedModel {
  if (BUILTIN_MODELS.some((id) => id === idOrPath)) return openBuiltin(idOrPath, options.builtinFolder)
  const path = resolve(idOrPath)
  if (!existsSync(path)) {
    throw new InputError({
      where: 'model',
      expected: `${BUILTIN_MODELS.join(', ')}, a Hugging Face directory, or a llama2.c checkpoint`,
      found: show(idOrPath),
      remedy: 'check the path',
    })
  }
  if (!statSync(path).isDirectory()) return openFile(path, options.tokenizerPath)
  if (existsSync(join(path, 'config.json'))) return openDirectory(path)
  return openFile(onlyCheckpoint(path), options.tokenizerPath)
}

/** The only model that is one file is llama2.c's checkpoint. */
function openFile(path: string, tokenizerPath: string | undefined): PretrainedModel {
  const foreign = nameForeignFile(path)
  if (foreign === null) return openCheckpoint(path, tokenizerPath)
  throw new InputError({ where: path, expected: MODEL_FORMS, found: foreign.what, remedy: foreign.remedy })
}

function openBuiltin(id: string, builtinFolder: string | undefined): PretrainedModel {
  if (builtinFolder === undefined) {
    throw new InputError({
      where: `model ${id}`,
      expected: 'the folder of the built-in models',
      found: 'none was given',
    })
  }
  return openDirectory(join(builtinFolder, id), id)
}

const MODEL_FORMS = 'a Hugging Face directory (config.json and .safetensors), or a llama2.c checkpoint (.bin)'

/** llama2.c's tokenizer files also end in .bin; ignore them. */
function onlyCheckpoint(folder: string): string {
  const found = readdirSync(folder).filter((name) => name.endsWith('.bin') && !/^tok.*\.bin$/.test(name))
  if (found.length === 1) return join(folder, found[0])
  throw new InputError({
    where: folder,
    expected: 'config.json (a Hugging Face directory) or exactly one llama2.c checkpoint (.bin)',
    found:
      found.length === 0 ? otherWeights(folder) : `${found.length} .bin files: ${show(found.join(', '))}`,
    remedy:
      found.length === 0
        ? 'take the model as a Hugging Face directory (config.json and .safetensors); merge an adapter into its model first'
        : 'name the model file itself',
  })
}
