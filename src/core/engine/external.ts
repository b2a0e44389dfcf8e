import { dirname } from 'node:path'
import { InputError } from '../errors.ts'
import { readCapped, resolveInside } from '../files.ts'
import { externalLocations } from '../onnx/files.ts'
import type { SessionOptions } from './types.ts'

/** protobuf's limit for one message, and so for a model file, in bytes. */
const maxModelBytes = 2 ** 31 - 1
/** Address space of 32-bit WebAssembly, in bytes. */
const maxWasmBytes = 2 ** 32

/** What a runtime loads: the model (path or bytes), and options specific to this model. */
export interface Source {
  readonly model: Uint8Array | string
  readonly extra: Record<string, unknown>
}

/**
 * Prepares a model for the native runtime, which opens files itself and maps external data. Throws InputError for
 * external data outside its folder.
 */
export function nativeSource(model: Uint8Array | string, options: SessionOptions): Source {
  const folder = folderOf(model, options)
  if (folder !== undefined && typeof model !== 'string') {
    for (const location of externalLocations(model, 'model bytes')) resolveInside(folder, location)
  }
  return { model, extra: {} }
}

/**
 * Prepares a model for WebAssembly, which has no file system: external data is read here and passed along with the
 * model.
 */
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
      expected: 'no externalFolder together with a path: external data is read from the folder of the model',
      found: externalFolder,
    })
  }
  return externalFolder
}
