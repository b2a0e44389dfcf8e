import type { Plan } from '../../plan/plan.ts'
import type { MemoryUse } from '../../plan/price/memory.ts'
import type { Situation } from '../../plan/price/situation.ts'

/** The facts about a request when its plan is decided. */
export interface RequestSnapshot {
  /** The caller's number of the request, constant during its life. */
  readonly request: number
  /** Tokens of the prefill: the prompt, and in a re-plan also the delivered tokens. */
  readonly promptTokens: number
  /** Largest number of tokens still to come. */
  readonly maxNewTokens: number
  readonly deliveredTokens: number
  readonly waitedSeconds: number
  /** Requests waiting at the edge, including this one. */
  readonly waitingRequests: number
  /** Requests in flight, not including this one. */
  readonly inFlight: number
  readonly uplinkQueuedBytes: number
  /** Edge memory available to a new plan for weights and K/V cache, whatever plan it is, and in total; bytes. */
  readonly freeMemoryBytes: number
  readonly memoryBytes: number
  /**
   * What the other requests need of it: by this a plan may be chosen that shares weights with them. Absent: nothing
   * is known of them but `freeMemoryBytes`.
   */
  readonly memoryUse?: MemoryUse
  readonly residentBytes: number
}

/** What the caller knows about its connection now, in addition to the events. */
export interface LinkHint {
  /** True if there is no connection: an outage, however recent the last heartbeat. */
  readonly linkDown?: boolean
}

/** A decided plan with its source and observation. */
export interface ControllerDecision {
  readonly plan: Plan
  readonly source: 'policy' | 'shield' | 'fallback'
  /** Probability with which `plan` was drawn; 1 if the source is deterministic. */
  readonly propensity: number
  /** Unnormalised [OBSERVATION_SIZE]; null for a fallback. */
  readonly observation: Float32Array | null
  readonly situation: Situation | null
  /** Tokens expected from now on. */
  readonly predictedOutputTokens: number
  readonly decideSeconds: number
}

/** A request in flight that may be switched to another plan. */
export interface RunningRequest extends RequestSnapshot {
  readonly plan: Plan
}

/**
 * Another plan for a running request with its reason; `gainShare` is the expected saving as a share of the remaining
 * cost.
 */
export interface ControllerChange extends ControllerDecision {
  readonly reason: 'outage' | 'return' | 'better'
  /** The cheaper way to restore keys and values for the new plan, according to the cost model. */
  readonly rebuild: 'boundary' | 'ids'
  /** Null if costs were not compared. */
  readonly gainShare: number | null
}

/**
 * Measurements of a finished request. The counts of the link are optional: without them virtual queues count its radio's
 * energy as 0, and its use says that the energy is not measured.
 */
export interface FinishedRequestStats {
  /** From arrival to the last token. */
  readonly seconds: number
  readonly outputTokens: number
  readonly upBytes?: number
  readonly downBytes?: number
  readonly messages?: number
}
