import { EdgewiseError } from '../base/errors.ts'
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
  /** Rearranges weights at load time for faster products, at the price of a private copy. Default true. */
  prepacking?: boolean
  /** Lets idle threads spin. Default false: it slows every other session on the machine. */
  spinning?: boolean
}

export interface RunOptions {
  /** Names of the outputs wanted; default all. */
  fetches?: readonly string[]
  /**
   * Worker only: stop waiting after this long and give up on the worker and every session in it. The run
   * itself cannot be cancelled: it uses its core until it is over.
   */
  timeoutSeconds?: number
  /** Worker only: hand the feeds' buffers over instead of copying them; the caller's arrays become empty. */
  transferFeeds?: boolean
}

export type Feeds = Readonly<Record<string, Tensor>>
export type Fetched = Record<string, Tensor>

export interface Session {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  /** Runs once. Throws InputError for wrong names, EngineError for anything the runtime refuses. */
  run(feeds: Feeds, options?: RunOptions): Promise<Fetched>
  /** Frees the session; running it afterwards is an EngineError. */
  dispose(): Promise<void>
}

export interface Engine {
  readonly info: EngineInfo
  /** Loads a model from its bytes, or from a file with any external data beside it. Throws InputError where it does not load. */
  create(model: Uint8Array | string, options?: SessionOptions): Promise<Session>
  /** Frees the engine and what it still holds. */
  close(): Promise<void>
}

/** The runtime failed at something that is not a mistake in the caller's model or names. */
export class EngineError extends EdgewiseError {
  constructor(message: string, options: { cause?: unknown } = {}) {
    super('E_ENGINE', message, options)
  }
}
