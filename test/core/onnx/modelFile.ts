import { readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { writeChunks } from '../../../src/core/files.ts'
import type { ExternalData, Initializer, Model } from '../../../src/core/onnx/proto.ts'
import { decodeModel } from '../../../src/core/onnx/read.ts'
import { bytesOf } from '../../../src/core/onnx/tensor.ts'
import { encodeModel } from '../../../src/core/onnx/write.ts'

/** Alignment of external tensors in bytes, so that the runtime can map them. */
const pageBytes = 4096

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
  writeChunks(path, [encodeModel({ ...model, graph: { ...model.graph, initializers } })])
  return chunks.length > 0 ? [path, dataPath] : [path]
}

/** Reads a model; external tensors remain references. */
export function loadModel(path: string): Model {
  return decodeModel(readFileSync(path), path)
}
