import type { Plan } from '../plan.ts'
import type { VirtualQueues } from './budgets.ts'

/**
 * Everything that a planner or policy may use for a decision: estimates from what the device has measured, never the
 * trace's future values. Created by src/policy/observation, in the same way for training and service.
 */
export interface Situation {
  /** Episode seconds. */
  readonly nowSeconds: number
  /** True if the decision is for a request in flight during an outage, which otherwise keeps its plan. */
  readonly replanning: boolean
  /** Tokens already delivered to its user; 0 at a dispatch. */
  readonly deliveredTokens: number
  /** Tokens of the prefill: in a re-plan, including those delivered. */
  readonly promptTokens: number
  /** Tokens expected from now on. */
  readonly predictedOutputTokens: number
  readonly predictedOutputSd: number
  /** Time since the request arrived. */
  readonly waitedSeconds: number
  /** Requests waiting at the edge, including the one that is decided. */
  readonly waitingRequests: number
  /** Requests in flight, not including the one that is decided. */
  readonly inFlight: number
  /** Recent arrival rate per second. */
  readonly arrivalsPerSecond: number
  /** Remaining work of the requests in flight, profiled seconds. */
  readonly edgeBacklogSeconds: number
  readonly cloudBacklogSeconds: number
  /** Edge seconds of a recent request, moving average. */
  readonly edgeSecondsPerRequest: number
  readonly uplinkQueuedBytes: number
  readonly up: RateEstimate
  readonly down: RateEstimate
  readonly rttSeconds: number
  readonly rttSpreadSeconds: number
  /** Since the last answered heartbeat: large in an outage. */
  readonly sinceHeartbeatSeconds: number
  readonly sinceTransferSeconds: number
  /** Other tenants' sequences in the last load report, and the report's age. */
  readonly tenantsHeard: number
  readonly tenantsAgeSeconds: number
  /** Measured over profiled time of recent stages; 1 until observed. */
  readonly edgeSlowdown: number
  readonly cloudSlowdown: number
  readonly cloudSlowdownAgeSeconds: number
  /** Recent seconds per output token of whole requests, by the side on which their plan ended; NaN until observed. */
  readonly recentEdgeSecondsPerToken: number
  readonly recentCloudSecondsPerToken: number
  /** Edge memory available to a new plan for weights and K/V cache, bytes, and the total. */
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
  /** Mean absolute deviation divided by the long mean. */
  readonly relativeSpread: number
}

/** Maps a situation to a plan: planners and learned policies. */
export interface Policy {
  readonly name: string
  decide(situation: Situation): Plan
  /**
   * What a fixed planner may run on the edge, and without which it is another planner: where it does not fit, the
   * request goes to the cloud. Absent: the policy chooses among what fits.
   */
  readonly edgePlan?: Plan
  /** Called at the start of an episode with the policy's own seed. */
  reset?(seed: number): void
}
