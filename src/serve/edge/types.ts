import type { Clock } from '../../core/clock.ts'
import type { ResolvedPlan } from '../../run/executor/messages.ts'
import type { RecoveryEvent } from '../../run/executor/recoveryTypes.ts'
import type { DecisionReason, DecisionSource } from '../../core/journal/types.ts'
import type { RequestSnapshot } from '../../policy/controller/planControllerTypes.ts'
import type { Timers } from '../../core/timers.ts'
import type { LinkProbe } from './probe.ts'

/** The link to the cloud as a decision sees it. */
export interface LinkStatus {
  readonly up: boolean
  /** Since when it is as it is; seconds. */
  readonly sinceSeconds: number
  /** Since the last sign of life; Infinity where there never was one. */
  readonly silentSeconds: number
}

/** Which plan, from whom, and what it was decided on. */
export interface PlanDecision {
  readonly placed: ResolvedPlan
  readonly source: DecisionSource
  /** Probability of this plan under what decided; 1 where it is deterministic. */
  readonly propensity: number
  /** Unnormalised; null where no policy is loaded. */
  readonly observation: Float32Array | null
}

/** A choice, and how long it took, observation and shield included. */
export type Timed<T extends PlanDecision = PlanDecision> = T & { readonly decideSeconds: number }

/** Another plan for a request in flight. */
export interface PlanChange extends PlanDecision {
  readonly reason: Exclude<DecisionReason, 'dispatch'>
  /** How its keys and values are to come about. */
  readonly rebuild: 'boundary' | 'ids'
}

/** A request in flight, as who decides sees it. */
export interface RunningSnapshot extends RequestSnapshot {
  readonly placed: ResolvedPlan
}

/** What a request took, told when it ends. */
export interface ServedStats {
  readonly seconds: number
  readonly outputTokens: number
  readonly placed: ResolvedPlan
}

/**
 * Decides: a policy, a forced plan, or the static fallback. It is told what happens, so that it can estimate; it never
 * looks at a clock or a socket by itself.
 */
export interface PlanSelector {
  readonly name: string
  /** Whether requests are carried out while the cloud is away. */
  readonly worksOffline: boolean
  decide(ask: RequestSnapshot, link: LinkStatus): PlanDecision
  /** Null: the request goes on as it is. */
  reconsider(request: RunningSnapshot, link: LinkStatus): PlanChange | null
  readonly telemetry: TelemetryListener
}

/** What happens on the device, as it happens. All times by the device's clock. */
export interface TelemetryListener {
  arrived(atSeconds: number): void
  dispatched(ask: RequestSnapshot, placed: ResolvedPlan): void
  replanned(ask: RequestSnapshot, placed: ResolvedPlan): void
  finished(request: number, took: ServedStats): void
  /** The link's first measurement. */
  probed(link: LinkProbe): void
  heartbeat(atSeconds: number, rttSeconds: number): void
  transfer(direction: 'up' | 'down', bytes: number, startSeconds: number, endSeconds: number): void
  /** Sequences of other tenants in the cloud. */
  load(tenants: number, atSeconds: number): void
  /** One pass on the edge's engine. */
  edgeBusy(request: number, pass: { position: number; rows: number; seconds: number }): void
}

/** All that a service tells the outside, as it happens. */
export type ServiceEvent =
  | RecoveryEvent
  | {
      readonly kind: 'request-queued'
      readonly atSeconds: number
      readonly request: number
    }
  | {
      readonly kind: 'decision'
      readonly atSeconds: number
      readonly request: number
      readonly reason: DecisionReason
      readonly source: DecisionSource
      readonly placed: ResolvedPlan
      readonly decideSeconds: number
    }
  | { readonly kind: 'token'; readonly atSeconds: number; readonly request: number; readonly tokens: number }
  | {
      readonly kind: 'request-ended'
      readonly atSeconds: number
      readonly request: number
      readonly end: 'stop' | 'length' | 'cancelled' | 'error'
      readonly detail: string
      readonly tokens: number
    }
  /** Something that serves on without: the bundle, the log, the journal. */
  | { readonly kind: 'degraded'; readonly atSeconds: number; readonly part: string; readonly reason: string }

export interface ServiceLimits {
  /** Requests that are carried out at once. */
  readonly maxInFlight: number
  /** Requests that wait; further ones are refused. */
  readonly maxQueued: number
  /** How long a request may wait for a cloud that it cannot do without. */
  readonly recoverySeconds: number
  /** From arrival to the last token. */
  readonly totalSeconds: number
  /** From its turn to the first token. */
  readonly firstTokenSeconds: number
  /** From one token to the next. */
  readonly tokenSeconds: number
  /** An edge whose cloud is silent for so long goes on alone. */
  readonly outageSeconds: number
}

export const DEFAULT_LIMITS: ServiceLimits = {
  maxInFlight: 4,
  maxQueued: 64,
  recoverySeconds: 60,
  totalSeconds: 600,
  firstTokenSeconds: 300,
  tokenSeconds: 120,
  outageSeconds: 3,
}

export interface TimeSource {
  readonly clock: Clock
  readonly timers: Timers
}
