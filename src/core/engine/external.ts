import { dirname } from 'node:path'
import { InputError } from '../errors.ts'
import { readCapped, resolveInside } from '../files.ts'
import { externalLocations } from '../onnx/files.ts'
import type { SessionOptions } from './types.ts'

/** The largest model file that protobuf allows. */
const maxModelBytes = 2 ** 31 - 1
/** What WebAssembly can address. */
const maxWasmBytes = 2 ** 32

/** What is handed to a runtime: the model, and options beside those of every model. */
export interface Source {
  readonly model: Uint8Array | string
  readonly extra: Record<string, unknown>
}

/** The native runtime opens files itself, and maps external data. Throws InputError for data outside its folder. */
export function nativeSource(model: Uint8Array | string, options: SessionOptions): Source {
  const folder = folderOf(model, options)
  if (folder !== undefined && typeof model !== 'string') {
    for (const location of externalLocations(model, 'model bytes')) resolveInside(folder, location)
  }
  return { model, extra: {} }
}

/** WebAssembly sees no file system: external data travels with the model. */
export function wasmSource(model: Uint8Array | string, options: SessionOptions): Source {
  const beside = folderOf(model, options)
  const bytes = typeof model === 'string' ? readCapped(model, maxModelBytes) : model
  const folder = typeof model === 'string' ? dirname(model) : beside
  if (folder === undefined) return { model: bytes, extra: {} }
  const where = typeof model === 'string' ? model : 'model bytes'
  const externalData = externalLocations(bytes, where).map((path) => ({
    path,
    data: readCapped(resolveInside(folder, path), maxWasmBytes),
  }))
  return { model: bytes, extra: externalData.length === 0 ? {} : { externalData } }
}

function folderOf(model: Uint8Array | string, { externalFolder }: SessionOptions): string | undefined {
  if (externalFolder !== undefined && typeof model === 'string') {
    throw new InputError({
      where: 'session options: externalFolder',
      expected: 'none beside a path: external data lies in the folder of the model',
      found: externalFolder,
    })
  }
  return externalFolder
}
