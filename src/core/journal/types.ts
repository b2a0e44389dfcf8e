import type { Clock } from '../clock.ts'
import type { Timers } from '../timers.ts'
import type { Disk } from './disk.ts'

export interface AppendOptions {
  readonly clock: Clock
  readonly timers: Timers
  readonly disk?: Disk
  /** Synced at most so often; 0: at once, all that waits together. Default 1. */
  readonly syncSeconds?: number
  /** Given: `decisions.jsonl` is `decisions.00001.jsonl` and goes on in a next file before it grows beyond. */
  readonly maxBytes?: number
  /** Files that stay, the present one included. Default 10. */
  readonly keepFiles?: number
  /** A longer line is dropped rather than written. Default 1 MiB. */
  readonly maxLineBytes?: number
  /** Where a file rotates: begins a new one rather than go on in the last. */
  readonly startAnew?: boolean
  /** What every file, and every opening of one, begins with. */
  readonly head?: () => Iterable<object>
  /** Before every opening: a lock, for instance. What it throws counts as an error of the disk, unless InputError. */
  readonly prepare?: () => Promise<void>
  /** How long after an error the file is opened anew. Default 5. */
  readonly retrySeconds?: number
  /** Told once when the disk fails, and again only after it had recovered. */
  readonly onError?: (error: Error) => void
}

export interface AppendHealth {
  /** False from an error of the disk until something was written and synced again. */
  readonly ok: boolean
  /** Records that are in no file, or may be in none. */
  readonly dropped: number
  /** The system's code (`ENOSPC`) or a message; null: never any. It stays after a recovery. */
  readonly lastError: string | null
}

/** One line of the decision log; `kind` tells which. Times are seconds since the `header` that came before. */
export type LogRecord =
  | HeaderRecord
  | ArrivalRecord
  | DecisionRecord
  | TransferRecord
  | HeartbeatRecord
  | LoadRecord
  | EventRecord
  | OutcomeRecord

/** First of every file and of every start of the device: what the numbers mean, and when time began. */
export interface HeaderRecord {
  readonly kind: 'header'
  readonly version: 1
  readonly software: string
  readonly model: { readonly id: string; readonly fingerprint: string }
  /** Names the observation's layout (src/policy/observation/observation.ts). */
  readonly observationVersion: number
  /** SHA-256 of the bundle's manifest; null without a bundle. */
  readonly bundle: string | null
  /** Where `atSeconds` counts from; ISO 8601. Two headers with one start are one session in two files. */
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
  readonly observation: readonly number[] | null // NaN where an element was not finite
  /** Edgewise's plan format with heads by name (src/plan/json.ts); null: the present plan stays. */
  readonly plan: unknown
  readonly fromToken: number
  readonly rebuild: 'start' | 'boundary' | 'ids' | null
  readonly decideSeconds: number
}

/** A stretch of bytes that had one direction of the link to itself; written when it ended, `atSeconds`. */
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
