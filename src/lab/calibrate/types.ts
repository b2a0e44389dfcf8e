import type { ExecutionEvent } from '../../run/executor/types.ts'
import type { ResolvedPlan } from '../../run/executor/messages.ts'
import type { PlanJson } from '../../plan/price/json.ts'
import type { Profile } from '../../plan/profile/types.ts'
import type { LinkSeries } from '../../trace/types.ts'

/** The terms that are predicted and measured, in seconds; of one request, or the mean over several. */
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
/** Name of a term. */
export type Term = (typeof TERMS)[number]

/** Null where a term does not apply (TPOT of a single token) or is not evaluated (transfers under load). */
export type TermValues = Readonly<Record<Term, number | null>>

/** All terms null. */
export const NO_TERM_VALUES: TermValues = {
  ttft: null,
  tpot: null,
  endToEnd: null,
  edgeCompute: null,
  cloudCompute: null,
  transferUp: null,
  transferDown: null,
  load: null,
}

/** Bytes of requests' frames, including headers. Data: tensors and ids. Control: plan, open and close. */
export interface WireBytes {
  readonly upData: number
  readonly downData: number
  readonly upControl: number
}

/** One plan of the grid. */
export interface PlanCase {
  readonly id: string
  readonly placed: ResolvedPlan
}

/** One link of the grid. */
export interface LinkCase {
  readonly id: string
  readonly series: LinkSeries
  /** Position in the recording at which a request begins, seconds. */
  readonly phaseSeconds: number
}

/** Prompt and output tokens. */
export interface Lengths {
  readonly promptTokens: number
  readonly outputTokens: number
}

/** One combination of plan, link and lengths that is predicted, and measured several times. */
export interface Cell extends Lengths {
  readonly id: string
  readonly plan: string
  readonly link: string
  readonly load: 'alone' | 'poisson'
  /** One or several arrivals, seconds after the cell's start. */
  readonly arrivalSeconds: readonly number[]
}

/** Requests for one run, as sent to the edge's process. */
export interface RunTask {
  readonly link: string
  readonly plan: PlanJson
  readonly outputTokens: number
  /** Time on the machine's clock. */
  readonly startSeconds: number
  readonly requests: readonly { readonly prompt: readonly number[]; readonly arrivalSeconds: number }[]
  readonly maxInFlight: number
}

/** Measurements of one request. */
export interface RequestRecord {
  readonly arrivalSeconds: number
  readonly dispatchSeconds: number
  /** Time of each token's delivery. */
  readonly tokenSeconds: readonly number[]
  /** Events of both sides, on one clock. */
  readonly events: readonly ExecutionEvent[]
}

/** Measurements of one run. */
export interface RunRecord {
  readonly requests: readonly RequestRecord[]
  readonly bytes: WireBytes
}

/** What the edge's process profiles. */
export interface ProfileTask {
  readonly quick: boolean
  readonly messageSeconds: number
}

/** The edge's process of a calibration. */
export interface EdgeProcess {
  /** Opens the connection of a link; several may be open. */
  connect(link: string, host: string, port: number): Promise<void>
  /** Times of round trips with frames of the sizes that decode sends, seconds each. */
  roundTrips(link: string, count: number): Promise<number[]>
  profile(task: ProfileTask): Promise<Profile>
  /** Runs a task; resolves when every token is delivered. */
  run(task: RunTask): Promise<void>
  /** The measurements of the last run, once the cloud has reported. */
  collect(): Promise<RunRecord>
  /** Seconds in which a new engine loads all sessions of a plan. */
  load(plan: PlanJson): Promise<number>
  close(): Promise<void>
}

/** The cloud's process of a calibration. */
export interface CloudProcess {
  /** Where it listens, on loopback. */
  address(): Promise<{ readonly host: string; readonly port: number }>
  /** Holds reports back (true), so that they do not delay tensors, or sends them (false). */
  holdReports(held: boolean): Promise<void>
  close(): Promise<void>
}
