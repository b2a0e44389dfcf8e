/** One line of the decision log; `kind` tells which. Times are seconds since the log's `header`. */
export type LogRecord =
  | HeaderRecord
  | ArrivalRecord
  | DecisionRecord
  | TransferRecord
  | HeartbeatRecord
  | LoadRecord
  | EventRecord
  | OutcomeRecord

/** First of every file: what the numbers mean. */
export interface HeaderRecord {
  readonly kind: 'header'
  readonly version: 1
  readonly software: string
  readonly model: { readonly id: string; readonly fingerprint: string }
  /** Names the observation's layout (src/observe/observation.ts). */
  readonly observationVersion: number
  /** SHA-256 of the bundle's manifest; null without a bundle. */
  readonly bundle: string | null
  /** ISO 8601. */
  readonly startedAt: string
}

export interface ArrivalRecord {
  readonly kind: 'arrival'
  readonly atSeconds: number
  readonly request: number
  readonly promptTokens: number
  readonly maxNewTokens: number
}

export type DecisionSource = 'policy' | 'shield' | 'fallback' | 'forced'
export type DecisionReason = 'dispatch' | 'outage' | 'return' | 'better'

export interface DecisionRecord {
  readonly kind: 'decision'
  readonly atSeconds: number
  readonly request: number
  readonly reason: DecisionReason
  readonly source: DecisionSource
  /** Probability of this action under what decided; 1 where it is deterministic. */
  readonly propensity: number
  /** Unnormalised, as encodeObservation writes it; null where no bundle is loaded. */
  readonly observation: readonly number[] | null
  /** Edgewise's plan format with heads by name (src/plan/json.ts); null: the present plan stays. */
  readonly plan: unknown
  readonly fromToken: number
  readonly rebuild: 'start' | 'boundary' | 'ids' | null
  readonly decideSeconds: number
}

/** A stretch of bytes that had one direction of the link to itself. */
export interface TransferRecord {
  readonly kind: 'transfer'
  readonly atSeconds: number
  readonly direction: 'up' | 'down'
  readonly bytes: number
  readonly seconds: number
}

export interface HeartbeatRecord {
  readonly kind: 'heartbeat'
  readonly atSeconds: number
  readonly rttSeconds: number
}

export interface LoadRecord {
  readonly kind: 'load'
  readonly atSeconds: number
  /** Other tenants' sequences. */
  readonly tenants: number
}

/** A transition: link down, up, retry, a request resumed or switched, a shield, a fallback. */
export interface EventRecord {
  readonly kind: 'event'
  readonly atSeconds: number
  readonly name: string
  readonly request: number | null
  readonly detail: string
}

export interface OutcomeRecord {
  readonly kind: 'outcome'
  readonly atSeconds: number
  readonly request: number
  /** `error` with the code in `detail`. */
  readonly end: 'stop' | 'length' | 'cancelled' | 'error'
  readonly detail: string
  readonly outputTokens: number
  readonly queueSeconds: number
  readonly ttftSeconds: number | null
  readonly tpotSeconds: number | null
  readonly endToEndSeconds: number
  readonly upBytes: number
  readonly downBytes: number
  /** Measured busy seconds of the edge's engine; null where not recorded. */
  readonly edgeSeconds: number | null
}
