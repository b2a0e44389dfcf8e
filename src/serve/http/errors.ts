import { EdgewiseError } from '../../core/errors.ts'
import { BackendError } from './types.ts'
import type { BackendCode } from './types.ts'

/** OpenAI's kinds of errors. */
type ApiErrorType =
  | 'invalid_request_error'
  | 'authentication_error'
  | 'permission_error'
  | 'rate_limit_error'
  | 'timeout_error'
  | 'server_error'

interface ApiProblem {
  readonly status: number
  readonly type: ApiErrorType
  /** Stable; applications tell errors by it. */
  readonly code: string
  readonly message: string
  /** The parameter that is wrong. */
  readonly param?: string
  /** Seconds, of the `Retry-After` header. */
  readonly retryAfterSeconds?: number
  /** Further headers. */
  readonly headers?: Readonly<Record<string, string>>
}

/** An error that an application is told, in OpenAI's form. */
export class ApiError extends EdgewiseError {
  readonly problem: ApiProblem

  constructor(problem: ApiProblem, cause?: unknown) {
    super('E_API', problem.message, { cause })
    this.problem = problem
  }
}

/** 400: something in the request is not as it should be. */
export function badRequest(
  code: string,
  message: string,
  param?: string,
  status: 400 | 413 | 415 = 400,
): ApiError {
  const where = param === undefined ? {} : { param }
  return new ApiError({ status, type: 'invalid_request_error', code, message, ...where })
}

/** What was generated before a request failed. */
export interface PartialOutput {
  readonly text: string
  /** How many. */
  readonly tokens: number
}

interface ErrorBody {
  readonly error: {
    readonly message: string
    readonly type: string
    readonly param: string | null
    readonly code: string
    /** Within `error`: that is what OpenAI's clients hand on. */
    readonly partial?: PartialOutput
  }
}

/** `partial` only where there is something to keep. */
export function errorBody({ problem }: ApiError, partial?: PartialOutput): ErrorBody {
  const { message, type, param = null, code } = problem
  const kept = partial === undefined || partial.tokens === 0 ? {} : { partial }
  return { error: { message, type, param, code, ...kept } }
}

/** Headers of an answer that reports an error: when to try again, and what else the problem names. */
export function errorHeaders({ problem }: ApiError): Record<string, string> {
  const { retryAfterSeconds, headers } = problem
  if (retryAfterSeconds === undefined) return { ...headers }
  return { 'retry-after': String(retryAfterSeconds), ...headers }
}

type Described = Pick<ApiProblem, 'status' | 'type' | 'code'> & { readonly again: boolean }

const OF_BACKEND: Readonly<Record<BackendCode, Described>> = {
  E_BUSY: { status: 429, type: 'rate_limit_error', code: 'queue_full', again: true },
  E_DRAINING: { status: 503, type: 'server_error', code: 'draining', again: true },
  E_UNAVAILABLE: { status: 503, type: 'server_error', code: 'unavailable', again: true },
  E_TOO_LARGE: { status: 400, type: 'invalid_request_error', code: 'edge_memory_exceeded', again: false },
  E_DEADLINE: { status: 504, type: 'timeout_error', code: 'deadline_exceeded', again: false },
  E_CANCELLED: { status: 503, type: 'server_error', code: 'cancelled', again: false },
  E_KEY_REUSED: { status: 409, type: 'invalid_request_error', code: 'idempotency_key_reused', again: false },
}

/** What an application is told of a failure; of one that nobody foresaw (500) nothing but that. */
export function asApiError(error: unknown, retrySeconds: number): ApiError {
  if (error instanceof ApiError) return error
  if (error instanceof BackendError && Object.hasOwn(OF_BACKEND, error.code)) {
    const { again, ...described } = OF_BACKEND[error.code]
    const retry = again ? { retryAfterSeconds: retrySeconds } : NEVER_AGAIN
    return new ApiError({ ...described, message: error.message, ...retry }, error)
  }
  const message = 'internal error; the server keeps its cause under the id of this request'
  return new ApiError({ status: 500, type: 'server_error', code: 'internal_error', message }, error)
}

/** OpenAI's clients try 409 and 5xx again unless they are told not to: here the same would come out. */
const NEVER_AGAIN = { headers: { 'x-should-retry': 'false' } }
