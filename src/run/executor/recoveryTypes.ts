import type { Connection } from '../wire/types.ts'
import type { ResolvedPlan } from './messages.ts'
import type { OutputToken, RequestOutput } from './types.ts'

/**
 * How lost keys and values come back. `replay`: the same plan on a new connection; the edge sends the boundary
 * tensors that it kept, the cloud walks all passes again in their own chunks, to the bit. `boundary`: the edge takes
 * over the layers above its cut and fills their caches from the tensors it kept, in one chunk. `ids`: everything anew
 * from the token ids, in one chunk.
 */
export type KvRebuild = 'replay' | 'boundary' | 'ids'

/** One entry of a plan schedule: which plan brings the tokens from `fromToken` (0-based) on. */
export interface PlanSwitch extends ResolvedPlan {
  readonly fromToken: number
  /** `start` at token 0; how the caches came about at a later one. A replay is no switch: it changes nothing. */
  readonly rebuild: 'start' | 'boundary' | 'ids'
}

/** Deadlines in seconds; null: none. */
export interface Deadlines {
  /** From `start` to the first pass. */
  readonly queueSeconds: number | null
  /** From there to the first token. */
  readonly prefillSeconds: number | null
  /** From each token to the next. */
  readonly tokenSeconds: number | null
  /** From `start` to the last token. */
  readonly totalSeconds: number | null
}

/** A request that is being carried out. */
export interface GeneratorHandle {
  /** Counts requests of one executor, from 1. */
  readonly number: number
  /** Rejects with ExecutionError; what was generated until then stays in `tokens`. */
  readonly result: Promise<RequestOutput>
  readonly tokens: readonly OutputToken[]
  /** What it runs by now. */
  readonly resolvedPlan: ResolvedPlan
  readonly planSwitches: readonly PlanSwitch[]
  /** Whether the present plan needs the cloud. */
  readonly needsCloud: boolean
  /** Since when it has been waiting for a message of the cloud; null: it is not. */
  readonly waitingSinceSeconds: number | null
  /** Of its messages in either direction, headers and what was sent again included. */
  readonly upBytes: number
  readonly downBytes: number
  /** Bytes of boundary tensors kept for it. */
  readonly retransmitBytes: number
  /**
   * Goes on by another plan after the tokens that were delivered: at once where it waits for the cloud, else at the
   * next token. `boundary` falls back to `ids` where the plans do not allow it. Nothing happens once it is over.
   */
  switchPlan(to: ResolvedPlan, rebuild?: 'boundary' | 'ids'): void
}

/** Waits between attempts: base x factor^n up to the cap, each multiplied by a draw from [1 - jitter, 1]. */
export interface Backoff {
  readonly baseSeconds: number
  readonly factor: number
  readonly capSeconds: number
  readonly jitter: number
}

export type ConnectionState = 'connecting' | 'up' | 'down' | 'closed'

/** What happens to the link and to requests; every transition is one of these. */
export type RecoveryEvent =
  | {
      readonly kind: 'link-up'
      readonly atSeconds: number
      readonly attempts: number
      readonly awaySeconds: number
    }
  | { readonly kind: 'link-down'; readonly atSeconds: number; readonly reason: string }
  | {
      readonly kind: 'link-retry'
      readonly atSeconds: number
      readonly attempt: number
      readonly delaySeconds: number
    }
  /** The cloud is there and will not have us (another model, no credential): tried again at the cap. */
  | { readonly kind: 'link-refused'; readonly atSeconds: number; readonly reason: string }
  /** The cloud gave one request up; it waits, and is replayed or switched. */
  | {
      readonly kind: 'request-refused'
      readonly atSeconds: number
      readonly request: number
      readonly code: string
    }
  | {
      readonly kind: 'request-resumed'
      readonly atSeconds: number
      readonly request: number
      readonly rebuild: KvRebuild
      /** Tokens that were delivered before. */
      readonly tokens: number
      /** Sent again. */
      readonly bytes: number
    }
  | {
      readonly kind: 'request-switched'
      readonly atSeconds: number
      readonly request: number
      readonly fromToken: number
      readonly rebuild: 'boundary' | 'ids'
      readonly placed: ResolvedPlan
    }
  /** The cloud's tokens after a replay were not the delivered ones: the replay was given up for `ids`. */
  | {
      readonly kind: 'replay-diverged'
      readonly atSeconds: number
      readonly request: number
      readonly position: number
    }

/** Where a CloudLink gets its connections from. */
export type Dial = (signal: AbortSignal) => Promise<Connection>
