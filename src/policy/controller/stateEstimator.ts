import { Observer } from '../observation/observer.ts'
import type { BudgetUses, MeasuredUse } from '../../plan/price/budgets.ts'
import type { InitialProbe } from '../observation/observer.ts'
import { NO_WORK, type Work } from '../observation/work.ts'
import { CLOUD, type Plan } from '../../plan/plan.ts'
import { edgeJoules, type EnergyUse } from '../../plan/price/energy.ts'
import { OUTAGE_SECONDS, type DecisionProblem } from '../../plan/price/problem.ts'
import type { Situation } from '../../plan/price/situation.ts'
import { queueStateOf, requestTokens, clamp } from './queueState.ts'
import { RequestTracker } from './requestTracker.ts'
import type { EdgePass, PassSpeed } from './requestTracker.ts'
import type { RequestSnapshot, FinishedRequestStats } from './planControllerTypes.ts'
import { LengthPredictor, MOST_TOKENS } from './lengths.ts'
import type { LengthPrior } from './lengths.ts'

/** Used until the link was measured. No decision depends on it, because without a heartbeat the link counts as out. */
const UNMEASURED: InitialProbe = { upBitsPerSecond: 10e6, downBitsPerSecond: 10e6, rttSeconds: 0.05 }

/** Rates outside this range come from a faulty clock, not from a link. */
const RATES = { low: 1, high: 1e12 } as const
const MOST_SECONDS = 1e5
const MOST_BYTES = 1e12
const MOST_TENANTS = 1e6

/**
 * Passes events of a device to the Observer that the simulator uses too. Times are seconds since the controller was
 * created. Values that are not numbers are ignored.
 */
export class StateEstimator {
  private readonly problem: DecisionProblem
  private readonly observer: Observer
  private readonly lengths: LengthPredictor
  private readonly trackers = new Map<number, RequestTracker>()
  private lastArrivalSeconds = 0
  private readonly done = (request: number): Work => this.trackers.get(request)?.done() ?? NO_WORK

  constructor(problem: DecisionProblem, prior?: LengthPrior) {
    this.problem = problem
    this.observer = new Observer(UNMEASURED, problem.budgets)
    this.lengths = new LengthPredictor(prior)
  }

  probe({ upBitsPerSecond, downBitsPerSecond, rttSeconds }: InitialProbe, atSeconds: number): void {
    this.observer.probe(
      {
        upBitsPerSecond: clamp(upBitsPerSecond, RATES.low, RATES.high),
        downBitsPerSecond: clamp(downBitsPerSecond, RATES.low, RATES.high),
        rttSeconds: clamp(rttSeconds, 0, MOST_SECONDS),
      },
      atSeconds,
    )
  }

  arrived(atSeconds: number): void {
    this.lastArrivalSeconds = Math.max(this.lastArrivalSeconds, atSeconds)
    this.observer.arrival(this.lastArrivalSeconds)
  }

  heartbeat(atSeconds: number, rttSeconds: number): void {
    if (rttSeconds >= 0) this.observer.heartbeat(atSeconds, Math.min(rttSeconds, MOST_SECONDS))
  }

  /** A message that occupied the link for `seconds` until `endSeconds`. */
  transfer(direction: 'up' | 'down', bytes: number, seconds: number, endSeconds: number): void {
    if (!(bytes > 0 && bytes < MOST_BYTES) || !(seconds > 0 && seconds < MOST_SECONDS)) return
    const bitsPerSecond = clamp((8 * bytes) / seconds, RATES.low, RATES.high)
    this.observer.transfer(direction, bytes, endSeconds - (8 * bytes) / bitsPerSecond, endSeconds)
  }

  load(tenants: number, atSeconds: number): void {
    if (tenants >= 0) this.observer.loadReport(Math.min(tenants, MOST_TENANTS), atSeconds)
  }

  edgeBusy(request: number, pass: EdgePass, atSeconds: number): void {
    const flight = this.trackers.get(request)
    if (flight === undefined || !(pass.seconds >= 0)) return
    this.hearSpeed(flight.ran({ ...pass, seconds: Math.min(pass.seconds, MOST_SECONDS) }), atSeconds)
  }

  /** A request got its plan: its first, or (`again`) another one. */
  began(
    ask: RequestSnapshot,
    plan: Plan,
    why: { readonly alone: boolean; readonly explored: boolean },
    again: boolean,
    atSeconds: number,
  ): void {
    const before = this.trackers.get(ask.request)
    if (before !== undefined) this.hearSpeed(before.ended(), atSeconds)
    // The tokens that the former plan brought are its work in the cloud.
    this.seen(ask)
    const { promptTokens, predictedOutputTokens } = queueStateOf(this.problem, this.lengths, ask, again)
    const had = before?.done() ?? NO_WORK
    const flight = new RequestTracker(this.problem.pair, {
      plan,
      promptTokens,
      requestTokens: requestTokens(ask),
      ...why,
      atSeconds,
      deliveredTokens: ask.deliveredTokens,
      had,
      hadLosses: before?.losses ?? [],
    })
    this.trackers.set(ask.request, flight)
    if (again) this.observer.replanned(ask.request, flight.program, promptTokens, predictedOutputTokens, had)
    else this.observer.dispatched(ask.request, flight.program, promptTokens, predictedOutputTokens)
  }

  /** Returns what the request used; null for one that is not known, and for one without a token. */
  finished(request: number, served: FinishedRequestStats, atSeconds: number): MeasuredUse | null {
    const flight = this.trackers.get(request)
    if (flight === undefined) return null
    this.hearSpeed(flight.ended(), atSeconds)
    this.trackers.delete(request)
    const { seconds, outputTokens } = served
    if (!(outputTokens >= 1 && outputTokens <= MOST_TOKENS) || !(seconds >= 0)) {
      this.observer.dropped(request)
      return null
    }
    this.lengths.add(flight.requestTokens, outputTokens)
    const brought = outputTokens - (flight.promptTokens - flight.requestTokens)
    const joules = this.marginalJoules(flight, served)
    const cloudSeconds = flight.cloudSeconds(brought)
    const accuracyLoss = flight.accuracyLoss(outputTokens)
    this.observer.finished(request, flight.plan.head === CLOUD, {
      seconds: Math.min(seconds, MOST_SECONDS),
      outputTokens,
      edgeJoules: joules,
      cloudSeconds,
      accuracyLoss,
    })
    const energyJoules = isRadioMeasured(served) ? joules : null
    return { energyJoules, accuracyLoss, cloudSeconds }
  }

  budgetUses(): BudgetUses | null {
    return this.observer.budgetUses()
  }

  tracker(request: number): RequestTracker | null {
    return this.trackers.get(request) ?? null
  }

  /** Updates the progress of a request. */
  seen(ask: RequestSnapshot): void {
    const flight = this.trackers.get(ask.request)
    flight?.brought(clamp(ask.promptTokens - flight.promptTokens, 0, MOST_TOKENS))
  }

  /** The current situation. `replanning`: the decision is for a request in flight during an outage. */
  situation(ask: RequestSnapshot, now: number, isOut: boolean, replanning: boolean): Situation {
    const circumstances = queueStateOf(this.problem, this.lengths, ask, replanning)
    const inFlightHere = this.trackers.has(ask.request) ? ask.request : -1
    const situation = this.observer.situation(now, circumstances, this.done, inFlightHere)
    if (!isOut || situation.sinceHeartbeatSeconds > OUTAGE_SECONDS) return situation
    // The connection is known to be lost although no heartbeat is overdue yet.
    return { ...situation, sinceHeartbeatSeconds: OUTAGE_SECONDS + 1 }
  }

  private hearSpeed(speed: PassSpeed | null, atSeconds: number): void {
    if (speed !== null) this.observer.compute(0, speed.profiledSeconds, speed.seconds, atSeconds)
  }

  /** Modelled from measured busy seconds and bytes, as for simulated requests. */
  private marginalJoules(
    { edgeSeconds }: RequestTracker,
    { upBytes = 0, downBytes = 0, messages = 0 }: FinishedRequestStats,
  ): number {
    const use: EnergyUse = {
      edgeSeconds,
      upBytes: clamp(upBytes, 0, MOST_BYTES),
      downBytes: clamp(downBytes, 0, MOST_BYTES),
      messages: clamp(messages, 0, MOST_BYTES),
    }
    return edgeJoules(this.problem.pair.power, use, 0)
  }
}

/** Without all three counts the energy of the request's radio is not known. */
function isRadioMeasured({ upBytes, downBytes, messages }: FinishedRequestStats): boolean {
  return [upBytes, downBytes, messages].every((count) => count !== undefined && count >= 0)
}
