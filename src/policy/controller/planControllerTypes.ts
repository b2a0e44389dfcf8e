import type { Plan } from '../../plan/plan.ts'
import type { Situation } from '../../plan/price/situation.ts'

/** What is known of a request when its plan is decided. */
export interface RequestSnapshot {
  /** A number of the caller's, the same through a request's life. */
  readonly request: number
  /** Tokens that a prefill takes in: the prompt, and in a re-plan what was delivered too. */
  readonly promptTokens: number
  /** Tokens that may still come. */
  readonly maxNewTokens: number
  readonly deliveredTokens: number
  readonly waitedSeconds: number
  /** Waiting at the edge, this one included. */
  readonly waitingRequests: number
  /** In flight, this one not included. */
  readonly inFlight: number
  readonly uplinkQueuedBytes: number
  /** Edge memory for weights and K/V that a new plan may take, and the whole; bytes. */
  readonly freeMemoryBytes: number
  readonly memoryBytes: number
  readonly residentBytes: number
}

/** What the caller knows of its connection at this moment, beside what was heard. */
export interface LinkHint {
  /** Whether there is none: an outage, however young the last heartbeat. */
  readonly linkDown?: boolean
}

export interface ControllerDecision {
  readonly plan: Plan
  readonly source: 'policy' | 'shield' | 'fallback'
  /** Of `plan` under what decided; 1 where it is deterministic. */
  readonly propensity: number
  /** Unnormalised [OBSERVATION_SIZE]; null for a fallback. */
  readonly observation: Float32Array | null
  readonly situation: Situation | null
  /** Tokens expected from here on. */
  readonly predictedOutputTokens: number
  readonly decideSeconds: number
}

/** A request in flight that may be given another plan. */
export interface RunningRequest extends RequestSnapshot {
  readonly plan: Plan
}

/** Another plan for it, and why; `gainShare` is what is expected to be saved of the cost that is left. */
export interface ControllerChange extends ControllerDecision {
  readonly reason: 'outage' | 'return' | 'better'
  /** The cheaper way to the new plan's keys and values, as modelled. */
  readonly rebuild: 'boundary' | 'ids'
  /** Null where it was no matter of cost. */
  readonly gainShare: number | null
}

/** What a request took. The counts of the link are optional: without them its radio energy is taken to be 0. */
export interface FinishedRequestStats {
  /** From arrival to the last token. */
  readonly seconds: number
  readonly outputTokens: number
  readonly upBytes?: number
  readonly downBytes?: number
  readonly messages?: number
}
