import { EdgewiseError } from '../../core/errors.ts'
import type { SamplingParams } from '../../run/executor/types.ts'

/** One completion that an application asks for, in tokens: what RequestState carries to its end. */
export interface CompletionRequest {
  /** At least one token id; prompt and output fit the context. */
  readonly prompt: readonly number[]
  readonly maxNewTokens: number
  readonly sampling: SamplingParams
  /**
   * The application's name for this request (`Idempotency-Key`): asked for again, it goes on where it was. Keys of two
   * principals are two keys.
   */
  readonly key: string | null
  /** When it came in, by the clock of the service; its deadline counts from then. */
  readonly arrivedSeconds: number
  /** Seconds from its arrival after which it is given up; null: the service's own deadline alone. */
  readonly deadlineSeconds: number | null
  /** Whose it is: the name of an API key, or `anonymous`. */
  readonly principal: string
}

/** A whole answer in tokens, and why it ended. */
export interface CompletionOutput {
  /** All tokens in order, a stop token included. */
  readonly ids: readonly number[]
  readonly finish: 'stop' | 'length'
}

/** Who asked for a completion: takes its tokens, and may give it up. */
export interface CompletionStreamListener {
  /** Each token as it comes, from the first; one that was generated before a restart comes again. */
  onToken(id: number): void
  /** Aborted when the application left, has all that it wanted, or its time is over. */
  readonly signal: AbortSignal
}

/** What stands behind the API. It knows tokens and nothing of HTTP. */
export interface Backend {
  readonly model: ServedModel
  /**
   * Rejects with BackendError, at the latest when the request's deadline passes; the tokens so far went to the
   * listener.
   */
  complete(request: CompletionRequest, listener: CompletionStreamListener): Promise<CompletionOutput>
  readonly readiness: Readiness
}

/** The one model that a backend serves. */
export interface ServedModel {
  readonly id: string
  /** Unix seconds; 0 where unknown. */
  readonly createdSeconds: number
  readonly contextTokens: number
  /** What tokens depend on beyond the request: weights and their precision. Applications see its beginning. */
  readonly fingerprint: string
}

/** Whether requests are taken, and what a person would want to know of it. */
export interface Readiness {
  readonly ready: boolean
  /** Why not; or how, e.g. `cloud away: the edge goes on alone`. */
  readonly reason: string
}

/**
 * E_BUSY: the queue is full (429). E_DRAINING: about to end (503). E_UNAVAILABLE: nothing can carry it out now (503).
 * E_TOO_LARGE: no plan can ever carry it out in the memory that there is (400). E_DEADLINE: a deadline has passed
 * (504). E_CANCELLED: the application left. E_KEY_REUSED: the key belongs to another request (409).
 */
export type BackendCode =
  'E_BUSY' | 'E_DRAINING' | 'E_UNAVAILABLE' | 'E_TOO_LARGE' | 'E_DEADLINE' | 'E_CANCELLED' | 'E_KEY_REUSED'

/** A completion that was refused or failed, with what the API tells its application by. */
export class BackendError extends EdgewiseError {
  declare readonly code: BackendCode

  constructor(code: BackendCode, message: string, cause?: unknown) {
    super(code, message, { cause })
  }
}
