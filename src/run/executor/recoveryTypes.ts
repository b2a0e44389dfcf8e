import type { Connection } from '../wire/types.ts'
import type { ResolvedPlan } from './messages.ts'
import type { TrafficCounts } from './requestTraffic.ts'
import type { OutputToken, RequestOutput } from './types.ts'

/**
 * How lost keys and values are restored.
 * `replay`: the same plan on a new connection; the edge sends the kept boundary tensors, and the cloud runs all passes
 * again in the original chunks, with bit-identical results.
 * `boundary`: the edge takes over the layers above its cut and fills their caches from the kept tensors, in one chunk.
 * `ids`: a new prefill from all token ids, in one chunk.
 */
type KvRebuild = 'replay' | 'boundary' | 'ids'

/** One plan switch: the plan that runs from token `fromToken` (0-based) on. */
export interface PlanSwitch extends ResolvedPlan {
  readonly fromToken: number
  /**
   * `start` at token 0; later, how the caches were restored. A replay is not a switch, because the plan stays the same.
   */
  readonly rebuild: 'start' | 'boundary' | 'ids'
}

/** A running request. */
export interface GeneratorHandle {
  /** Number of the request in its executor, from 1. */
  readonly number: number
  /** Rejects with ExecutionError; tokens generated until then stay in `tokens`. */
  readonly result: Promise<RequestOutput>
  readonly tokens: readonly OutputToken[]
  /** The current plan. */
  readonly resolvedPlan: ResolvedPlan
  readonly planSwitches: readonly PlanSwitch[]
  /** Whether the current plan needs the cloud. */
  readonly needsCloud: boolean
  /** Since when it has been waiting for a message from the cloud; null if it is not waiting. */
  readonly waitingSinceSeconds: number | null
  /** What its messages took of the link so far. */
  readonly traffic: TrafficCounts
  /** Bytes of boundary tensors kept for it. */
  readonly retransmitBytes: number
  /**
   * Continues with another plan after the delivered tokens: immediately if it is waiting for the cloud, otherwise at
   * the next token. `boundary` falls back to `ids` if the plans do not allow it. Has no effect after the end.
   */
  switchPlan(to: ResolvedPlan, rebuild?: 'boundary' | 'ids'): void
}

/** Waits between attempts: base x factor^n up to the cap, each multiplied by a random number in [1 - jitter, 1]. */
export interface Backoff {
  readonly baseSeconds: number
  readonly factor: number
  readonly capSeconds: number
  readonly jitter: number
}

/** State of the link to the cloud. */
export type ConnectionState = 'connecting' | 'up' | 'down' | 'closed'

/** Every transition of the link and of requests. */
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
  /** The cloud refuses this edge (another model, no credential); dialling continues at the backoff's cap. */
  | { readonly kind: 'link-refused'; readonly atSeconds: number; readonly reason: string }
  /** The cloud refused or ended one request, which waits and is then replayed or switched. */
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
      /** Tokens delivered before. */
      readonly tokens: number
      /** Bytes sent again. */
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
  /** The cloud's tokens after a replay differed from the delivered ones: the replay was replaced by `ids`. */
  | {
      readonly kind: 'replay-diverged'
      readonly atSeconds: number
      readonly request: number
      readonly position: number
    }

/** Creates a CloudLink's connections. */
export type Dial = (signal: AbortSignal) => Promise<Connection>
