import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { onPath } from '../core/fileErrors.ts'
import { writeAtomic } from '../core/files.ts'
import type { Initializer, Model } from '../core/onnx/proto.ts'
import { bytesOf } from '../core/onnx/tensor.ts'
import { encodeModel } from '../core/onnx/write.ts'

/** Tensors of at least this many bytes go to the file beside the model. */
const EXTERNAL_BYTES = 16_384
/** Alignment of external data, which ONNX Runtime maps by pages. */
const PAGE_BYTES = 4096

/** A model on disk. */
interface StoredModel {
  readonly path: string
  /** Bytes of all constants, in the model and beside it. */
  readonly weightBytes: number
}

/**
 * Writes `folder/name.onnx` with its weights in `folder/name.bin`: a model may exceed protobuf's limit of 2 GB, and the
 * runtime maps the weights instead of copying them.
 */
export function storeModel(folder: string, name: string, model: Model): StoredModel {
  const location = `${name}.bin`
  const file = openSync(join(folder, location), 'w')
  let end = 0
  let weightBytes = 0
  try {
    const initializers = model.graph.initializers.map((initializer): Initializer => {
      if (!('tensor' in initializer)) return initializer
      const { tensor } = initializer
      const bytes = bytesOf(tensor)
      weightBytes += bytes.byteLength
      if (bytes.byteLength < EXTERNAL_BYTES) return initializer
      const offsetBytes = Math.ceil(end / PAGE_BYTES) * PAGE_BYTES
      onPath(join(folder, location), () => writeAll(file, bytes, offsetBytes))
      end = offsetBytes + bytes.byteLength
      const external = { location, offsetBytes, lengthBytes: bytes.byteLength }
      return { name: initializer.name, dtype: tensor.dtype, dims: tensor.dims, external }
    })
    const path = join(folder, `${name}.onnx`)
    writeAtomic(path, encodeModel({ ...model, graph: { ...model.graph, initializers } }))
    return { path, weightBytes }
  } finally {
    closeSync(file)
  }
}

function writeAll(file: number, bytes: Uint8Array, offset: number): void {
  let written = 0
  while (written < bytes.byteLength) {
    const length = Math.min(bytes.byteLength - written, 1 << 30)
    written += writeSync(file, bytes, written, length, offset + written)
  }
}
