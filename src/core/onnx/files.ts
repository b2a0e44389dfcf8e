import { basename, dirname, join } from 'node:path'
import { readCapped, writeChunks } from '../files.ts'
import type { ExternalData, Initializer, Model } from './proto.ts'
import { decodeModel } from './read.ts'
import { bytesOf } from './tensor.ts'
import { encodeModelChunks } from './write.ts'

/** Alignment of external tensors in bytes, so that the runtime can map them. */
const pageBytes = 4096
/** protobuf's limit for one message, in bytes. */
const maxModelBytes = 2 ** 31 - 1

interface SaveOptions {
  /** Tensors of at least this many bytes go to `<file>.data` beside the model. Default: none do. */
  externalFromBytes?: number
}

/** Writes a model atomically, and its large tensors to a file beside it if asked. Returns the paths written. */
export function saveModel(path: string, model: Model, options: SaveOptions = {}): string[] {
  const limit = options.externalFromBytes ?? Infinity
  const location = `${basename(path)}.data`
  const chunks: Uint8Array[] = []
  let at = 0
  const initializers = model.graph.initializers.map((initializer): Initializer => {
    if (!('tensor' in initializer) || initializer.tensor.data.byteLength < limit) return initializer
    const bytes = bytesOf(initializer.tensor)
    const gap = (pageBytes - (at % pageBytes)) % pageBytes
    chunks.push(new Uint8Array(gap), bytes)
    const external: ExternalData = { location, offsetBytes: at + gap, lengthBytes: bytes.byteLength }
    at += gap + bytes.byteLength
    const { dtype, dims } = initializer.tensor
    return { name: initializer.name, dtype, dims, external }
  })
  const dataPath = join(dirname(path), location)
  if (chunks.length > 0) writeChunks(dataPath, chunks)
  writeChunks(path, encodeModelChunks({ ...model, graph: { ...model.graph, initializers } }))
  return chunks.length > 0 ? [path, dataPath] : [path]
}

/** Reads a model; external tensors remain references. */
export function loadModel(path: string, maxBytes = maxModelBytes): Model {
  return decodeModel(readCapped(path, maxBytes), path)
}

/** Names of the files beside a model that hold its external data. */
export function externalLocations(bytes: Uint8Array, where: string): string[] {
  const found = decodeModel(bytes, where).graph.initializers.flatMap((initializer) =>
    'external' in initializer ? [initializer.external.location] : [],
  )
  return [...new Set(found)]
}
