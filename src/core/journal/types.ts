import type { Clock } from '../clock.ts'
import type { Timers } from '../timers.ts'
import type { Disk } from './disk.ts'

/** How an AppendFile writes, syncs, rotates and recovers. */
export interface AppendOptions {
  readonly clock: Clock
  readonly timers: Timers
  readonly disk?: Disk
  /** Shortest time between two syncs; 0 syncs after every write. Default 1. */
  readonly syncSeconds?: number
  /**
   * If given, the log rotates: `decisions.jsonl` is stored as `decisions.00001.jsonl`, and a new file begins before one
   * would exceed this size.
   */
  readonly maxBytes?: number
  /** How many files are kept, the current one included. Default 10. */
  readonly keepFiles?: number
  /** A longer line is dropped. Default 1 MiB. */
  readonly maxLineBytes?: number
  /** With rotation: begin a new file on opening instead of continuing the last one. */
  readonly startAnew?: boolean
  /** Records written at the start of every file and after every opening. */
  readonly head?: () => Iterable<object>
  /** Runs before every opening, for example to take a lock. Its errors count as disk errors, except InputError. */
  readonly prepare?: () => Promise<void>
  /** Runs before lines are written; throws if the file is no longer this process's to write. */
  readonly verify?: () => void
  /** Seconds from a disk error until the file is reopened. Default 5. */
  readonly retrySeconds?: number
  /** Called once when the disk fails, and again only after a recovery in between. */
  readonly onError?: (error: Error) => void
}

/** Whether the log reaches the disk. */
export interface AppendHealth {
  /** False from a disk error until something was written and synced again. */
  readonly ok: boolean
  /** Records that were not written, or may not have been. */
  readonly dropped: number
  /** Error code of the system (`ENOSPC`) or message; null if there never was one. Kept after a recovery. */
  readonly lastError: string | null
}

/** One line of the decision log, distinguished by `kind`. Times are seconds since the last `header` record. */
export type LogRecord =
  | HeaderRecord
  | ArrivalRecord
  | DecisionRecord
  | TransferRecord
  | HeartbeatRecord
  | LoadRecord
  | EventRecord
  | OutcomeRecord

/**
 * Budgets of one request, or what one request used of them: joules of the edge device, added log-perplexity, busy seconds
 * of cloud slots. Null: no budget, or not measured.
 */
interface BudgetFigures {
  readonly energyJoules: number | null
  readonly accuracyLoss: number | null
  readonly cloudSeconds: number | null
}

/** First record of every file and of every start of the device: versions, and the origin of the times. */
export interface HeaderRecord {
  readonly kind: 'header'
  /** Version 1 has no budgets, and outcomes without messages and use. */
  readonly version: 1 | 2
  readonly software: string
  readonly model: { readonly id: string; readonly fingerprint: string }
  /** Version of the observation's layout (src/policy/observation/observation.ts). */
  readonly observationVersion: number
  /** SHA-256 of the bundle's manifest; null without a bundle. */
  readonly bundle: string | null
  /** Of the bundle, all null where there are none; absent in version 1. */
  readonly budgets?: BudgetFigures
  /**
   * Origin of `atSeconds`, ISO 8601. Two headers with the same value belong to one start, continued in a second file.
   */
  readonly startedAt: string
}

interface ArrivalRecord {
  readonly kind: 'arrival'
  readonly atSeconds: number
  readonly request: number
  readonly promptTokens: number
  readonly maxNewTokens: number
}

/** What selected the plan: the policy, the shield, the fallback, or a forced plan. */
export type DecisionSource = 'policy' | 'shield' | 'fallback' | 'forced'
/**
 * Why a plan was decided: the request was dispatched, the link went down, it came back, or another plan became better.
 */
export type DecisionReason = 'dispatch' | 'outage' | 'return' | 'better'

export interface DecisionRecord {
  readonly kind: 'decision'
  readonly atSeconds: number
  readonly request: number
  readonly reason: DecisionReason
  readonly source: DecisionSource
  /** Probability with which the policy draws this action; 1 if the source is deterministic. */
  readonly propensity: number
  /** Unnormalised, as encodeObservation writes it; null where no bundle is loaded. */
  readonly observation: readonly number[] | null // NaN where an element was not finite
  /** Edgewise's plan format with heads by name (src/plan/json.ts); null: the current plan is kept. */
  readonly plan: unknown
  readonly fromToken: number
  readonly rebuild: 'start' | 'boundary' | 'ids' | null
  readonly decideSeconds: number
}

/**
 * Bytes that had one direction of the link to themselves, from which a rate follows; written at the end of the transfer
 * (`atSeconds`).
 */
interface TransferRecord {
  readonly kind: 'transfer'
  readonly atSeconds: number
  readonly direction: 'up' | 'down'
  readonly bytes: number
  readonly seconds: number
}

interface HeartbeatRecord {
  readonly kind: 'heartbeat'
  readonly atSeconds: number
  readonly rttSeconds: number
}

interface LoadRecord {
  readonly kind: 'load'
  readonly atSeconds: number
  /** Sequences of other tenants in the cloud's batch. */
  readonly tenants: number
}

/** A change of state: link down or up, retry, request resumed or switched, shield, fallback. */
interface EventRecord {
  readonly kind: 'event'
  readonly atSeconds: number
  readonly name: string
  readonly request: number | null
  readonly detail: string
}

/** The use is absent in version 1 of the log, and null where it was not measured. */
export interface OutcomeRecord extends Partial<BudgetFigures> {
  readonly kind: 'outcome'
  readonly atSeconds: number
  readonly request: number
  /** `error` comes with its code in `detail`. */
  readonly end: 'stop' | 'length' | 'cancelled' | 'error'
  readonly detail: string
  readonly outputTokens: number
  readonly queueSeconds: number
  readonly ttftSeconds: number | null
  readonly tpotSeconds: number | null
  readonly endToEndSeconds: number
  readonly upBytes: number
  readonly downBytes: number
  /** In both directions; absent in version 1. */
  readonly messages?: number
  /** Measured busy seconds of the edge's engine; null if not measured. */
  readonly edgeSeconds: number | null
}
