import { createHash } from 'node:crypto'
import { canonicalJson } from '../../core/files.ts'
import type { ModelSpec } from '../spec.ts'
import type { NamedDims } from './llama.ts'
import { elementCount, expectTensor, readValues } from './tensorFile.ts'
import type { TensorStore } from './tensorFile.ts'

/** Samples of a tensor: this many runs, spread evenly over it, of this many values. */
const RUNS = 4
const RUN_VALUES = 16

/** A group of tensors that the fingerprint covers and checks. */
export interface Covered {
  readonly store: TensorStore
  /** Removed from the names, so that two ways to save the same model give the same fingerprint. */
  readonly prefix: string
  readonly dims: NamedDims
}

/**
 * SHA-256 (hex) over the model's shape (not its id) and, for every tensor, its name, dimensions and samples as float32.
 * Equal weights agree however they are sharded; another precision does not. Throws InputError for a tensor that is
 * missing, truncated or of the wrong shape.
 */
export function fingerprint(model: ModelSpec, covered: readonly Covered[]): string {
  const hash = createHash('sha256')
  hash.update(canonicalJson({ ...model, id: undefined }))
  for (const { store, prefix, dims } of covered) {
    for (const [name, shape] of dims) expectTensor(store, name, shape)
    for (const [name, shape] of dims) {
      hash.update(`\n${name.slice(name.startsWith(prefix) ? prefix.length : 0)} [${shape.join(', ')}]\n`)
      hashSamples(hash, store, name, shape)
    }
  }
  return hash.digest('hex')
}

function hashSamples(
  hash: ReturnType<typeof createHash>,
  store: TensorStore,
  name: string,
  shape: readonly number[],
): void {
  const entry = expectTensor(store, name, shape)
  const size = elementCount(shape)
  const runs = size <= RUNS * RUN_VALUES ? 1 : RUNS
  const length = runs === 1 ? size : RUN_VALUES
  for (let run = 0; run < runs; run++) {
    const from = runs === 1 ? 0 : Math.floor(((size - length) * run) / (runs - 1))
    const values = readValues(entry, name, from, length)
    hash.update(new Uint8Array(values.buffer))
  }
}
