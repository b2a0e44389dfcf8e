import type { ExecutionEvent } from '../../run/executor/types.ts'
import type { ResolvedPlan } from '../../run/executor/messages.ts'
import type { PlanJson } from '../../plan/price/json.ts'
import type { Profile } from '../../plan/profile/types.ts'
import type { LinkSeries } from '../../trace/types.ts'

/** What is predicted and measured, in seconds; of a request, or the mean over a group of requests. */
export const TERMS = [
  'ttft',
  'tpot',
  'endToEnd',
  'edgeCompute',
  'cloudCompute',
  'transferUp',
  'transferDown',
  'load',
] as const
export type Term = (typeof TERMS)[number]

/** Null where a term does not apply (TPOT of a single token) or is not looked at (transfers under load). */
export type TermValues = Readonly<Record<Term, number | null>>

export const NO_TERM_VALUES: TermValues = {
  ...{ ttft: null, tpot: null, endToEnd: null, edgeCompute: null },
  ...{ cloudCompute: null, transferUp: null, transferDown: null, load: null },
}

/** Bytes of requests' frames, headers included. Data: tensors and ids. Control: plan, open and close. */
export interface WireBytes {
  readonly upData: number
  readonly downData: number
  readonly upControl: number
}

export interface PlanCase {
  readonly id: string
  readonly placed: ResolvedPlan
}

export interface LinkCase {
  readonly id: string
  readonly series: LinkSeries
  /** Where in the recording a request begins, seconds. */
  readonly phaseSeconds: number
}

export interface Lengths {
  readonly promptTokens: number
  readonly outputTokens: number
}

/** One combination that is predicted, and measured several times. */
export interface Cell extends Lengths {
  readonly id: string
  readonly plan: string
  readonly link: string
  readonly load: 'alone' | 'poisson'
  /** One arrival, or several: after the cell's start, seconds. */
  readonly arrivalSeconds: readonly number[]
}

/** A session of requests on the edge, as it is told to the edge's process. */
export interface RunTask {
  readonly link: string
  readonly plan: PlanJson
  readonly outputTokens: number
  /** On the machine's clock. */
  readonly startSeconds: number
  readonly requests: readonly { readonly prompt: readonly number[]; readonly arrivalSeconds: number }[]
  readonly maxInFlight: number
}

export interface RequestRecord {
  readonly arrivalSeconds: number
  readonly dispatchSeconds: number
  /** When each token was delivered. */
  readonly tokenSeconds: readonly number[]
  /** Both sides', on one clock. */
  readonly events: readonly ExecutionEvent[]
}

export interface RunRecord {
  readonly requests: readonly RequestRecord[]
  readonly bytes: WireBytes
}

export interface ProfileTask {
  readonly quick: boolean
  readonly messageSeconds: number
}

/** The edge's process. */
export interface EdgeProcess {
  /** Opens the connection of a link; several may be open. */
  connect(link: string, host: string, port: number): Promise<void>
  /** Round trips of frames of the sizes that decode sends, seconds each. */
  roundTrips(link: string, count: number): Promise<number[]>
  profile(task: ProfileTask): Promise<Profile>
  /** Ends when every token is delivered. */
  run(task: RunTask): Promise<void>
  /** What the last run was like, once the cloud has reported. */
  collect(): Promise<RunRecord>
  /** Seconds in which an engine of its own, fresh, loads all sessions of a plan. */
  load(plan: PlanJson): Promise<number>
  close(): Promise<void>
}

/** The cloud's process. */
export interface CloudProcess {
  /** Where it listens, on loopback. */
  address(): Promise<{ readonly host: string; readonly port: number }>
  /** Held reports do not travel beside tensors; releasing sends them. */
  holdReports(held: boolean): Promise<void>
  close(): Promise<void>
}
