import { EdgewiseError } from '../errors.ts'
import type { Tensor } from '../onnx/tensor.ts'

/**
 * Which ONNX Runtime build runs the graphs. `native` blocks the event loop during a run; `worker` does not, and a run
 * on it can time out.
 */
export type EngineKind = 'native' | 'worker' | 'wasm'

/** Name and version of the runtime, for provenance. */
export interface EngineInfo {
  readonly kind: EngineKind
  /** The npm package that runs the graphs. */
  readonly name: 'onnxruntime-node' | 'onnxruntime-web'
  readonly version: string
}

/** How a session is loaded. */
export interface SessionOptions {
  /** Threads inside one operator. Default 1; always 1 on WASM. */
  threads?: number
  /** Graph optimisation level. Default 'all'. */
  optimization?: 'disabled' | 'basic' | 'extended' | 'all'
  /**
   * Repacks weights at load time: faster matrix products, but each session holds a private copy. Default true. Without
   * it, native sessions map external weights, and all sessions on the same file share one copy in memory.
   */
  prepacking?: boolean
  /** Only for a model passed as bytes: the folder of its external data. InputError together with a path. */
  externalFolder?: string
  /** Lets idle threads busy-wait for work. Default false: busy-waiting slows every other session on the machine. */
  spinning?: boolean
}

/** Options of one run. */
export interface RunOptions {
  /** Names of the outputs to return; default all that are not inserted. May be empty if something is inserted. */
  fetches?: readonly string[]
  /**
   * Worker only: reject after this time and abandon the worker with every session in it. The run itself cannot be
   * cancelled and occupies a core until it ends.
   */
  timeoutSeconds?: number
  /** Worker only: transfer the feeds' buffers instead of copying them; the caller's arrays become empty. */
  transferFeeds?: boolean
  /** Inputs to read from residents, by input name. Feeds must not give the same names. */
  residents?: Readonly<Record<string, Resident>>
  /** Outputs to write into residents instead of returning them; their names must not be in `fetches`. */
  inserts?: readonly Insert[]
}

/**
 * A float32 tensor [rows, capacity, columns] that stays in the engine's thread between runs, initially zero. A
 * head-major K/V cache kept here never crosses threads.
 * Methods and runs take effect in call order: `dims` changes immediately, and a `grow`, `write` or run need not be
 * awaited before the next run. Use after `dispose`, or with another engine, is an InputError. Use after the engine was
 * closed or its worker abandoned is an EngineError: the contents are lost.
 */
export interface Resident {
  readonly dims: readonly [rows: number, capacity: number, columns: number]
  /** Enlarges the capacity and keeps the contents at their positions. Throws InputError for a smaller capacity. */
  grow(capacity: number): Promise<void>
  /** Reads positions [from, to): a copy, float32 [rows, to - from, columns]. */
  read(from: number, to: number): Promise<Tensor>
  /** Writes float32 [rows, n, columns] to positions [at, at + n). */
  write(at: number, value: Tensor): Promise<void>
  dispose(): Promise<void>
}

/**
 * After the run, write output float32 [rows, n, columns] to positions [at, at + n) of `into`. If any insert of a run
 * does not fit, none is made and the run is an InputError.
 */
export interface Insert {
  readonly output: string
  readonly into: Resident
  readonly at: number
}

/** Input tensors of a run, by name. */
export type Feeds = Readonly<Record<string, Tensor>>
/** Output tensors of a run, by name. */
export type Fetched = Record<string, Tensor>

/** A loaded ONNX graph. */
export interface Session {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  /**
   * Runs the graph once. Throws InputError for wrong names, residents or inserts, EngineError if the runtime refuses.
   */
  run(feeds: Feeds, options?: RunOptions): Promise<Fetched>
  /** Frees the session; running it afterwards is an EngineError. */
  dispose(): Promise<void>
}

/** Loads and runs ONNX graphs with one runtime. */
export interface Engine {
  readonly info: EngineInfo
  /**
   * Loads a model from bytes, or from a file with its external data beside it. Throws InputError if it does not load.
   */
  create(model: Uint8Array | string, options?: SessionOptions): Promise<Session>
  /** Allocates a zeroed resident for `residents` and `inserts` of this engine's runs. Throws InputError above 2 GiB. */
  allocate(dims: readonly [rows: number, capacity: number, columns: number]): Promise<Resident>
  /** Frees the engine with its sessions and residents. */
  close(): Promise<void>
}

/** The runtime failed for a reason other than the caller's model or names. */
export class EngineError extends EdgewiseError {
  constructor(message: string, options: { cause?: unknown } = {}) {
    super('E_ENGINE', message, options)
  }
}

/** Converts `error`, which occurred during `what`, to what the engine throws. */
export function asEngineError(error: unknown, what: string): EdgewiseError {
  if (error instanceof EdgewiseError) return error
  return new EngineError(`${what}: ${error instanceof Error ? error.message : String(error)}`, {
    cause: error,
  })
}
