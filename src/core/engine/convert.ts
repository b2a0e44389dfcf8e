import { resolve } from 'node:path'
import { InputError } from '../errors.ts'
import type { DType, Tensor, TensorData } from '../onnx/tensor.ts'
import { dtypes } from '../onnx/tensor.ts'
import type { Feeds, SessionOptions } from './types.ts'

/**
 * The part of onnxruntime-common's API that src/core/engine uses. onnxruntime-node and onnxruntime-web both implement
 * it.
 */
export interface OrtTensor {
  readonly type: string
  readonly dims: readonly number[]
  readonly data: unknown
}

export interface OrtSession {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  run(feeds: Record<string, OrtTensor>, fetches?: readonly string[]): Promise<Record<string, OrtTensor>>
  release(): Promise<void>
}

export interface OrtModule {
  Tensor: new (type: string, data: TensorData, dims: readonly number[]) => OrtTensor
  InferenceSession: {
    create(model: Uint8Array | string, options: Record<string, unknown>): Promise<OrtSession>
  }
  env: { versions: Record<string, string | undefined>; wasm: { numThreads?: number; proxy?: boolean } }
}

/** Converts named feeds to ONNX Runtime tensors, in the order of `names`. */
export function toOrt(ort: OrtModule, names: readonly string[], feeds: Feeds): Record<string, OrtTensor> {
  const out: Record<string, OrtTensor> = {}
  for (const name of names) {
    const { dtype, data, dims } = feeds[name]
    out[name] = toOrtTensor(ort, dtype, dims, data)
  }
  return out
}

export function toOrtTensor(
  ort: OrtModule,
  dtype: DType,
  dims: readonly number[],
  data: TensorData,
): OrtTensor {
  const value = new ort.Tensor(dtype, data, dims)
  // On Node 24 and later, which has Float16Array, the OrtTensor constructor converts raw float16 bits to a
  // Float16Array, which the native binding reads as empty. Put the raw bits back.
  if (dtype === 'float16' && value.data !== data) Object.defineProperty(value, 'cpuData', { value: data })
  return value
}

/**
 * Converts an ONNX Runtime tensor to ours. Where the runtime returns float16 as a Float16Array, the result holds its
 * raw bits.
 */
export function fromOrt(value: OrtTensor): Tensor {
  const dtype = value.type as DType
  const data = value.data as TensorData
  const { array } = dtypes[dtype]
  const same = data instanceof array
  return {
    dtype,
    dims: [...value.dims],
    data: same
      ? data
      : new array(
          (data as Uint16Array).buffer,
          (data as Uint16Array).byteOffset,
          (data as Uint16Array).length,
        ),
  }
}

/** Converts our session options to ONNX Runtime's. Values under `extra` must be strings. */
export function ortOptions(options: SessionOptions, provider: 'cpu' | 'wasm'): Record<string, unknown> {
  const { threads = 1, optimization = 'all', prepacking = true, spinning = false, externalFolder } = options
  if (!Number.isInteger(threads) || threads < 1 || threads > 1024) {
    throw new InputError({
      where: 'session options: threads',
      expected: 'an integer in 1..1024',
      found: String(threads),
    })
  }
  // Two separate objects: onnxruntime-web rejects an object that appears twice as a cycle.
  const spin = { allow_spinning: spinning ? '1' : '0' }
  return {
    executionProviders: [provider],
    executionMode: 'sequential',
    intraOpNumThreads: provider === 'wasm' ? 1 : threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: optimization,
    logSeverityLevel: 3,
    extra: {
      session: {
        intra_op: { ...spin },
        inter_op: { ...spin },
        disable_prepacking: prepacking ? '0' : '1',
        ...(externalFolder !== undefined && provider === 'cpu'
          ? { model_external_initializers_file_folder_path: resolve(externalFolder) }
          : {}),
      },
    },
  }
}

/** The InputError for a model that ONNX Runtime could not load. */
export function loadProblem(model: Uint8Array | string, error: unknown): InputError {
  return new InputError(
    {
      where: typeof model === 'string' ? model : 'model bytes',
      expected: 'an ONNX model that ONNX Runtime loads',
      found: error instanceof Error ? error.message : String(error),
    },
    { cause: error },
  )
}
