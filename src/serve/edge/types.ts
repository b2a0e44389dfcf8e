import type { Plan } from '../../plan/plan.ts'
import type { BudgetUses, MeasuredUse } from '../../plan/price/budgets.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import type { ResolvedPlan } from '../../run/executor/messages.ts'
import type { RecoveryEvent } from '../../run/executor/recoveryTypes.ts'
import type { TrafficCounts } from '../../run/executor/requestTraffic.ts'
import type { DecisionReason, DecisionSource } from '../../core/journal/types.ts'
import type { RequestSnapshot } from '../../policy/controller/planControllerTypes.ts'
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
interface RunningSnapshot extends RequestSnapshot {
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
  /** The plans with the least on the edge that it may choose: a request that fits under none of them never will. */
  readonly leastPlans: readonly Plan[]
  decide(ask: RequestSnapshot, link: LinkStatus): PlanDecision
  /** Null: the request goes on as it is. */
  reconsider(request: RunningSnapshot, link: LinkStatus): PlanChange | null
  /** What it decides on: figures of both sides, budgets. Absent where it decides on no figures. */
  readonly problem?: DecisionProblem
  /**
   * Called once for each request, when it ends. What the request used of each resource that can have a budget, modelled
   * from what was measured; null where nothing is known of it. Absent: it models no use.
   */
  ended?(request: number, stats: ServedStats): MeasuredUse | null
  /** Mean modelled use a request of each budget that it holds to; null before a request finished. Absent: no budgets. */
  budgetUses?(): BudgetUses | null
  /** Hears every event of the service before anyone else does. */
  onEvent(event: ServiceEvent): void
}

/** A recovery event under the service's number of the request; null: the request is not running any more. */
type WithServiceNumber<Event> = Event extends { readonly request: number }
  ? Omit<Event, 'request'> & { readonly request: number | null }
  : Event

/** What happened to the link, or to a request's way through it. */
export type ServedRecoveryEvent = WithServiceNumber<RecoveryEvent>

/** What a request took, told when it ends. */
export interface ServedStats extends TrafficCounts {
  /** The plan that it ended with, or null where none was decided. */
  readonly placed: ResolvedPlan | null
  /** Tokens that this process generated; those of an earlier process are not counted. */
  readonly generatedTokens: number
  readonly queueSeconds: number
  /** Null without a token. */
  readonly ttftSeconds: number | null
  /** Null with fewer than two tokens. */
  readonly tpotSeconds: number | null
  readonly endToEndSeconds: number
  /** Busy seconds of the edge's engine. */
  readonly edgeSeconds: number
}

/** A change of state: of the link, of a request, or of the service. Times are by the device's clock. */
export type TransitionEvent =
  | ServedRecoveryEvent
  | {
      readonly kind: 'request-queued'
      readonly atSeconds: number
      readonly request: number
      readonly promptTokens: number
      readonly maxNewTokens: number
    }
  /** A plan was decided: for a request whose turn has come, or another plan for one that runs. */
  | {
      readonly kind: 'decision'
      readonly atSeconds: number
      readonly request: number
      readonly reason: DecisionReason
      readonly source: DecisionSource
      readonly placed: ResolvedPlan
      readonly decideSeconds: number
      /** Probability of this plan under what decided; 1 where it is deterministic. */
      readonly propensity: number
      /** Unnormalised; null where no policy is loaded. */
      readonly observation: Float32Array | null
      /** The plan brings the tokens from this one (0-based) on. */
      readonly fromToken: number
      /** How the keys and values of earlier tokens come about. */
      readonly rebuild: 'start' | 'boundary' | 'ids'
      readonly snapshot: RequestSnapshot
    }
  | {
      readonly kind: 'request-ended'
      readonly atSeconds: number
      readonly request: number
      readonly end: 'stop' | 'length' | 'cancelled' | 'error'
      /** The error's code, or empty. */
      readonly detail: string
      /** Of the whole answer. */
      readonly tokens: number
      readonly stats: ServedStats
      /** Of resources that can have a budget, modelled; null where no policy decided, and without a token. */
      readonly use: MeasuredUse | null
    }
  /** Something that the service goes on without: the bundle, the log, a replan. */
  | { readonly kind: 'degraded'; readonly atSeconds: number; readonly part: string; readonly reason: string }

/** A measurement, or a token: frequent, and no change of state. */
type MeasurementEvent =
  | { readonly kind: 'token'; readonly atSeconds: number; readonly request: number; readonly tokens: number }
  /** One pass on the edge's engine. */
  | {
      readonly kind: 'edge-pass'
      readonly atSeconds: number
      readonly request: number
      readonly position: number
      readonly rows: number
      readonly seconds: number
    }
  /** The first measurement of a link. */
  | { readonly kind: 'link-probed'; readonly atSeconds: number; readonly link: LinkProbe }
  | { readonly kind: 'heartbeat'; readonly atSeconds: number; readonly rttSeconds: number }
  /** Bytes that had one direction of the link to themselves, from which a rate follows; told when they are over. */
  | {
      readonly kind: 'transfer'
      readonly atSeconds: number
      readonly direction: 'up' | 'down'
      readonly bytes: number
      readonly startSeconds: number
    }
  /** Sequences of other tenants in the cloud's batch. */
  | { readonly kind: 'load'; readonly atSeconds: number; readonly tenants: number }

/**
 * All that happens in a service, as it happens: one stream, to which the plan selector, the log, the metrics and whoever
 * watches listen.
 */
export type ServiceEvent = TransitionEvent | MeasurementEvent

const MEASUREMENTS: ReadonlySet<ServiceEvent['kind']> = new Set<MeasurementEvent['kind']>([
  'token',
  'edge-pass',
  'link-probed',
  'heartbeat',
  'transfer',
  'load',
])

/** Whether an event is a change of state, and no measurement or token. */
export function isTransition(event: ServiceEvent): event is TransitionEvent {
  return !MEASUREMENTS.has(event.kind)
}

/** How many requests a service takes, and how long it waits for what. */
export interface ServiceLimits {
  /** Requests that are carried out at once. */
  readonly maxInFlight: number
  /** Requests that wait; further ones are refused. */
  readonly maxQueued: number
  /** How long a request may wait for a cloud that it cannot do without. */
  readonly recoverySeconds: number
  /** The deadline of a request: from arrival to the last token. */
  readonly totalSeconds: number
  /** Failure detection (StallLimits): from its turn to the first token, and from one token to the next. */
  readonly firstTokenSeconds: number
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
