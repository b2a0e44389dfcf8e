import type { Plan } from '../plan.ts'
import type { VirtualQueues } from './budgets.ts'

/**
 * Everything a planner or policy may know when it decides: estimates made from what the device
 * has seen, never the trace's next value. Built by src/policy/observation, the same in training and at run time.
 */
export interface Situation {
  /** Episode seconds. */
  readonly nowSeconds: number
  /** Whether a request in flight was caught by an outage and may be given another plan (the present one goes on else). */
  readonly replanning: boolean
  /** Tokens of it that the user has; 0 at a dispatch. */
  readonly deliveredTokens: number
  /** Tokens that a prefill takes in: in a re-plan, those delivered too. */
  readonly promptTokens: number
  /** Tokens expected from here on. */
  readonly predictedOutputTokens: number
  readonly predictedOutputSd: number
  /** Time since the request under decision arrived. */
  readonly waitedSeconds: number
  /** Requests waiting at the edge, the one under decision included. */
  readonly waitingRequests: number
  /** Requests in flight, the one under decision not included. */
  readonly inFlight: number
  /** Seconds between recent arrivals, as a rate per second. */
  readonly arrivalsPerSecond: number
  /** Work of those requests in flight that is expected to be left, profiled seconds. */
  readonly edgeBacklogSeconds: number
  readonly cloudBacklogSeconds: number
  /** Edge seconds of a recent request, moving average. */
  readonly edgeSecondsPerRequest: number
  readonly uplinkQueuedBytes: number
  readonly up: RateEstimate
  readonly down: RateEstimate
  readonly rttSeconds: number
  readonly rttSpreadSeconds: number
  /** Since the last heartbeat came back: large in an outage. */
  readonly sinceHeartbeatSeconds: number
  readonly sinceTransferSeconds: number
  /** Other tenants' sequences in the cloud as last heard, and how old the report is. */
  readonly tenantsHeard: number
  readonly tenantsAgeSeconds: number
  /** Measured over profiled time of recent stages; 1 until seen. */
  readonly edgeSlowdown: number
  readonly cloudSlowdown: number
  readonly cloudSlowdownAgeSeconds: number
  /** Recent seconds per output token, whole requests, of plans that ended on each side; NaN until seen. */
  readonly recentEdgeSecondsPerToken: number
  readonly recentCloudSecondsPerToken: number
  /** Edge memory that a new plan may take for weights and K/V, bytes, and the whole. */
  readonly freeMemoryBytes: number
  readonly memoryBytes: number
  /** Weights now in edge memory, bytes. */
  readonly residentBytes: number
  /** K/V is reserved for this many tokens. */
  readonly reservedTokens: number
  /** Virtual queues of the time-average budgets, in units of one request's budget. */
  readonly virtual: VirtualQueues
}

/** Goodput estimates of one direction, bit/s. */
export interface RateEstimate {
  /** Over the last few transfers. */
  readonly shortBitsPerSecond: number
  /** Over many. */
  readonly longBitsPerSecond: number
  /** Mean absolute deviation over the long mean. */
  readonly relativeSpread: number
}

/** A way of deciding: planners and learned policies alike. */
export interface Policy {
  readonly name: string
  decide(situation: Situation): Plan
  /** Called at the start of an episode with a seed of its own. */
  reset?(seed: number): void
}
