import { EdgewiseError } from '../errors.ts'
import type { Tensor } from '../onnx/tensor.ts'

/** Which implementation runs the graphs. `native` blocks the event loop while it runs; `worker` does not and can be given up on. */
export type EngineKind = 'native' | 'worker' | 'wasm'

/** For provenance: what ran, and its version. */
export interface EngineInfo {
  readonly kind: EngineKind
  /** npm package that ran the graphs. */
  readonly name: 'onnxruntime-node' | 'onnxruntime-web'
  readonly version: string
}

export interface SessionOptions {
  /** Threads inside one operator. Default 1; WASM always has 1. */
  threads?: number
  /** Graph optimisation level. Default 'all'. */
  optimization?: 'disabled' | 'basic' | 'extended' | 'all'
  /**
   * Rearranges weights at load time for faster products, at the price of a private copy. Default true. Without it,
   * native sessions map external weights: all that name the same file share one copy of it in memory.
   */
  prepacking?: boolean
  /** For a model given by its bytes: the folder in which its external data lies. Beside a path it is an InputError. */
  externalFolder?: string
  /** Lets idle threads spin. Default false: it slows every other session on the machine. */
  spinning?: boolean
}

export interface RunOptions {
  /** Names of the outputs wanted; default all that are not inserted. May be empty where something is inserted. */
  fetches?: readonly string[]
  /**
   * Worker only: stop waiting after this long and give up on the worker and every session in it. The run
   * itself cannot be cancelled: it uses its core until it is over.
   */
  timeoutSeconds?: number
  /** Worker only: hand the feeds' buffers over instead of copying them; the caller's arrays become empty. */
  transferFeeds?: boolean
  /** Inputs that are read from tensors which stay with the engine. Names beside the feeds'. */
  residents?: Readonly<Record<string, Resident>>
  /** Outputs that go into residents instead of coming back; none of them may be in `fetches`. */
  inserts?: readonly Insert[]
}

/**
 * A float32 tensor [rows, capacity, columns] that stays with the engine between runs, where the graphs run: a
 * head-major K/V cache never crosses a thread. Zeros at first. What is asked of residents, by these methods and
 * by runs, happens in the order it was asked: `dims` change at once, and a `grow`, `write` or run need not be
 * awaited before the next run. Once disposed of, or with another engine, its use is an InputError; once its
 * engine is closed or its worker was given up on, what it held is lost and its use is an EngineError.
 */
export interface Resident {
  readonly dims: readonly [rows: number, capacity: number, columns: number]
  /** Enlarges the capacity; what is held stays at its place along it. Throws InputError for a smaller one. */
  grow(capacity: number): Promise<void>
  /** A copy of positions [from, to): float32 [rows, to - from, columns]. */
  read(from: number, to: number): Promise<Tensor>
  /** Puts float32 [rows, n, columns] at positions [at, at + n). */
  write(at: number, value: Tensor): Promise<void>
  dispose(): Promise<void>
}

/**
 * Output float32 [rows, n, columns] goes to positions [at, at + n) of `into`, after the run. Where one of a run's
 * inserts does not fit, none is made, and the run is an InputError.
 */
export interface Insert {
  readonly output: string
  readonly into: Resident
  readonly at: number
}

export type Feeds = Readonly<Record<string, Tensor>>
export type Fetched = Record<string, Tensor>

export interface Session {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  /** Runs once. Throws InputError for wrong names, residents or inserts, EngineError for anything the runtime refuses. */
  run(feeds: Feeds, options?: RunOptions): Promise<Fetched>
  /** Frees the session; running it afterwards is an EngineError. */
  dispose(): Promise<void>
}

export interface Engine {
  readonly info: EngineInfo
  /** Loads a model from its bytes, or from a file with any external data beside it. Throws InputError where it does not load. */
  create(model: Uint8Array | string, options?: SessionOptions): Promise<Session>
  /** A tensor of zeros that stays with the engine, for `residents` and `inserts` of this engine's runs. Throws InputError past 2 GiB. */
  allocate(dims: readonly [rows: number, capacity: number, columns: number]): Promise<Resident>
  /** Frees the engine and what it still holds. */
  close(): Promise<void>
}

/** The runtime failed at something that is not a mistake in the caller's model or names. */
export class EngineError extends EdgewiseError {
  constructor(message: string, options: { cause?: unknown } = {}) {
    super('E_ENGINE', message, options)
  }
}

/** What the engine throws for `error`, which befell it while doing `what`. */
export function asEngineError(error: unknown, what: string): EdgewiseError {
  if (error instanceof EdgewiseError) return error
  return new EngineError(`${what}: ${error instanceof Error ? error.message : String(error)}`, {
    cause: error,
  })
}
