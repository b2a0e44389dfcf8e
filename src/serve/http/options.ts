import type { Registry } from 'prom-client'
import type { Clock } from '../../core/clock.ts'
import type { RandomStream } from '../../core/random.ts'
import type { Timers } from '../../core/timers.ts'
import type { ChatTemplate, TextTokenizer } from '../../model/tokenizers/types.ts'
import type { ApiKeys } from './keys.ts'
import type { Route } from './routes.ts'
import type { Backend } from './types.ts'

/** PEM texts. Certificates of clients are not asked for: an application shows an API key. */
export interface ApiTls {
  readonly key: string
  readonly cert: string
}

/** What the API server is started with. */
export interface ApiOptions {
  readonly backend: Backend
  readonly tokenizer: TextTokenizer
  readonly chat: ChatTemplate
  /** Loopback; any other only with `tls` and at least one key. */
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  readonly tls?: ApiTls
  /** Null or empty: anyone who reaches the port is `anonymous`. */
  readonly keys: ApiKeys | null
  /** What is left out is as in DEFAULT_API_LIMITS. */
  readonly limits?: Partial<ApiLimits>
  readonly clock: Clock
  readonly timers: Timers
  /** Metrics are registered here, once: a registry serves one server. */
  readonly registry: Registry
  /** Draws seeds that were not asked for, and the names of requests. */
  readonly random: RandomStream
  /** Hears of every request that is over. */
  readonly onRequest?: (record: RequestRecord) => void
  /** Hears of what was answered with 500; the application is told only that, and the request's id. */
  readonly onDefect?: (error: unknown, requestId: string) => void
}

/**
 * Limits of HTTP: bodies, sockets, rates and slow clients. How many requests are taken and how long one may take, the
 * backend decides (ServiceLimits).
 */
export interface ApiLimits {
  /** Of a request's body. */
  readonly bodyBytes: number
  readonly headerBytes: number
  /** Open sockets; further ones are closed at once. */
  readonly connections: number
  /** Of one API key, as a token bucket of that many; null: no limit. */
  readonly requestsPerMinute: number | null
  /** For a client to send all headers, and to send all of a request. */
  readonly headerSeconds: number
  readonly uploadSeconds: number
  /** An idle connection is kept for the next request. */
  readonly keepAliveSeconds: number
  /** Of an answer that the client has not taken yet. */
  readonly unreadBytes: number
  /** For a client to take what it was sent; then it is given up. */
  readonly unreadSeconds: number
  /** A stream that has nothing to say for so long says so, lest proxies close it. */
  readonly heartbeatSeconds: number
  /** `Retry-After` of a full queue and of a server that is not ready. */
  readonly retrySeconds: number
  /** For answers under way to reach their clients when the server closes. */
  readonly closingSeconds: number
}

export const DEFAULT_API_LIMITS: ApiLimits = {
  bodyBytes: 1024 * 1024,
  headerBytes: 16 * 1024,
  connections: 1024,
  requestsPerMinute: null,
  headerSeconds: 10,
  uploadSeconds: 30,
  keepAliveSeconds: 75,
  unreadBytes: 256 * 1024,
  unreadSeconds: 30,
  heartbeatSeconds: 15,
  retrySeconds: 1,
  closingSeconds: 5,
}

/** One request as it ended; no text of it. */
export interface RequestRecord {
  /** As in the `x-request-id` header. */
  readonly id: string
  readonly route: Route
  /** Whose key it was; null: none that is known. */
  readonly principal: string | null
  /** HTTP's, or what it would have been had the stream not begun; 499: the client left. */
  readonly status: number
  /** The error's code, where it failed. */
  readonly error: string | null
  readonly streamed: boolean
  /** Null where it did not get as far as tokens. */
  readonly promptTokens: number | null
  readonly completionTokens: number | null
  readonly finish: 'stop' | 'length' | null
  readonly seconds: number
  /** From the arrival of its headers to the first token; null: there was none. */
  readonly ttftSeconds: number | null
  /** Mean from token to token after the first; null: there were fewer than two. */
  readonly tpotSeconds: number | null
}

/** A running API server. */
export interface ApiServer {
  readonly address: string
  readonly port: number
  /** `http://...` or `https://...`, without `/v1`. */
  readonly url: string
  /** Gives up what is under way, with a clear error and what was generated, and stops listening. */
  close(): Promise<void>
  /**
   * Takes no more completions (503) and is not ready; after at most `seconds`, or once the last one has ended,
   * closes. Resolves with how many were given up.
   */
  drain(seconds: number): Promise<{ readonly givenUp: number }>
}
