import type { NetworkTerms } from '../plan/price/network.ts'
import type { Program } from '../plan/price/program.ts'
import type { Direction, Link, RequestArrival, StepSeries } from '../trace/types.ts'

/** One episode's world. Both simulators take it and give the same answer (1e-9). */
export interface EpisodeInputs {
  readonly link: Link
  /** Sequences of other tenants active in the cloud's batch; right-continuous. */
  readonly tenants: StepSeries
  /** In order of arrival. */
  readonly arrivals: readonly RequestArrival[]
  /** Requests dispatched and not yet delivered in full. */
  readonly maxInFlight: number
  /** Sequences the cloud runs at once; further ones share time. */
  readonly cloudSlots: number
  /** Step time over that of a batch of one, at batch 1..cloudSlots. */
  readonly batchFactors: readonly number[]
  readonly network: NetworkTerms
  /** Tokens a reader takes per second; a later token is a stall. */
  readonly readingTokensPerSecond: number
  /**
   * Once the link has been out (its up or its down rate 0) for this long, requests in flight that need it are
   * offered for re-planning, once an outage; null: never.
   */
  readonly outageSeconds: number | null
}

/** What happened to one request. Times are absolute episode seconds; NaN until they happen. */
export interface RequestOutcome {
  readonly request: number
  dispatchSeconds: number
  firstTokenSeconds: number
  lastTokenSeconds: number
  /** Sum of the waits of a reader at readingTokensPerSecond: the largest lateness of any token against first + (i - 1) / rate, floored at 0. */
  stallSeconds: number
  edgeBusySeconds: number
  /** Slot-seconds, slowdown included. */
  cloudBusySeconds: number
  upBytes: number
  downBytes: number
  messages: number
  /** Mean over its tokens of the loss of the plan that each came (or, if nothing changes, will come) from. */
  accuracyLoss: number
}

/**
 * Running totals up to the present moment. Busy seconds and bytes count when a stage completes (a transfer: when
 * it is sent). A transfer broken off by a re-plan counts the time it held the link, but neither bytes nor message.
 */
export interface Totals {
  edgeBusySeconds: number
  cloudBusySeconds: number
  upBytes: number
  downBytes: number
  messages: number
  /** Time each link direction was occupied by queued (not express) transfers. */
  upBusySeconds: number
  downBusySeconds: number
  /** Integral over time of the number of requests that have arrived and lack their last token. */
  inSystemSeconds: number
  /** Integral over time of the number of requests that have arrived and lack their first token. */
  awaitingFirstTokenSeconds: number
  /** Stalls of all requests so far, counted as tokens are delivered. */
  stallSeconds: number
  /** Integral over time of the number of requests waiting at the edge (not dispatched). */
  waitingSeconds: number
  finished: number
  /** Stage completions: the simulator's unit of work (a stretch advanced in closed form counts its stages). */
  stageEvents: number
}

/** What a device can see while it runs; the estimators listen. */
export interface SimulationListener {
  /** A queued transfer ended: it held the link over [start, sent] and arrived at `arrived`. */
  transfer?(
    direction: Direction,
    bytes: number,
    startSeconds: number,
    sentSeconds: number,
    arrivedSeconds: number,
  ): void
  /** A compute stage ended (or a stretch of equal stages): profiled and actual seconds of work. */
  compute?(side: 0 | 1, profiledSeconds: number, actualSeconds: number, atSeconds: number): void
  finished?(request: number, atSeconds: number): void
}

/** What advance() asks for: the program of a request that waits, or another one for a request in flight. */
export type DecisionKind = 'dispatch' | 'replan'

/**
 * A simulation between decisions. `advance` runs until the head of the FIFO may be dispatched, or an outage is
 * detected: at the first time t at which the link was out over all of [t - outageSeconds, t], after all that
 * completes at t and before a dispatch, each request in flight whose program needs the network is offered for
 * re-planning, in index order: those with a transfer or a cloud stage in a cycle, or left of their prefill.
 */
export interface Simulation {
  /** Present time in seconds. */
  readonly now: number
  /** Which decision the request that advance() named is due. */
  readonly decision: DecisionKind
  /** Runs on; returns the index of the request under decision, or -1 when all is drained. */
  advance(): number
  /**
   * Dispatches the request that advance() named, now. In a re-plan with j tokens delivered the program is for a
   * prompt of promptTokens + j; its prefill yields token j + 1, and tokens keep their numbers and contexts. What
   * the old program has queued or on its way is dropped and its transfer in service is broken off (the link is
   * free at once); its compute stage in service runs to its end and counts, but nothing follows from it.
   */
  dispatch(program: Program): void
  /** Answers a re-plan: the request goes on as it is. */
  keep(): void
  /** Tokens that the user has of the request under decision (0 at a dispatch). */
  deliveredTokens(): number
  readonly totals: Totals
  readonly outcomes: readonly RequestOutcome[]
  /** Requests that have arrived and are not dispatched (the one under decision included). */
  waiting(): number
  inFlight(): number
  /** Bytes queued for the uplink and not yet sent (the transfer under way counts whole). */
  uplinkQueuedBytes(): number
  /** Profiled cloud seconds left of dispatched requests' started or waiting cloud stages (not future tokens). */
  cloudQueuedSeconds(): number
}

export type SimulationFactory = (world: EpisodeInputs, listener?: SimulationListener) => Simulation
