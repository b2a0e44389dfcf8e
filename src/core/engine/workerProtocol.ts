import type { InputProblem } from '../errors.ts'
import type { DType, TensorData } from '../onnx/tensor.ts'
import type { RunNames } from './names.ts'

/** What a worker is started with. */
export interface WorkerData {
  /** The file of onnxruntime-node. */
  readonly runtimePath: string
  /** Shared with the parent: [0] is 1 while the worker is inside native code, [1] asks it to start nothing more. */
  readonly flags: Int32Array
}

/** Type and dims of each feed, in order. */
export type Shapes = readonly (DType | readonly number[])[]

/** A session that the worker created. */
export interface Loaded {
  readonly session: number
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
}

interface Operation<Asked, Answered> {
  readonly asked: Asked
  readonly answered: Answered
}

/** What a worker can be asked for, with what it is given and what it answers. */
export interface Operations {
  version: Operation<Record<string, never>, string>
  create: Operation<{ model: Uint8Array | string; settings: Record<string, unknown> }, Loaded>
  run: Operation<
    {
      session: number
      /** RunNames.slot of the names and shapes, which come only where they changed. */
      slot: number
      names: RunNames | undefined
      shapes: Shapes | undefined
      feeds: readonly TensorData[]
      /** The residents' numbers, then each insert's resident and position. */
      numbers: Int32Array
    },
    /** Type, dims and data of each fetched output, in order. */
    readonly (DType | readonly number[] | TensorData)[]
  >
  dispose: Operation<{ session: number }, void>
  allocate: Operation<{ resident: number; rows: number; capacity: number; columns: number }, void>
  grow: Operation<{ resident: number; capacity: number }, void>
  read: Operation<{ resident: number; from: number; to: number }, Float32Array>
  write: Operation<{ resident: number; at: number; n: number; data: Float32Array }, void>
  free: Operation<{ resident: number }, void>
}

export type OperationName = keyof Operations

export interface Question<K extends OperationName> {
  readonly op: K
  readonly body: Operations[K]['asked']
}

/** The answer to question `id`: a value, or why there is none. */
export interface Answer {
  readonly id: number
  readonly value?: unknown
  readonly error?: string
  /** Set if the caller's input caused the error. */
  readonly problem?: InputProblem
}
