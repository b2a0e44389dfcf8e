import type { Clock } from '../../core/clock.ts'
import type { RandomStream } from '../../core/random.ts'
import type { BudgetUses, MeasuredUse } from '../../plan/price/budgets.ts'
import type { InitialProbe } from '../observation/observer.ts'
import { samePlan, needsCloud, type Plan } from '../../plan/plan.ts'
import { InputError } from '../../core/errors.ts'
import { fitsBeside, sharedFreeBytes } from '../../plan/price/memory.ts'
import { cheapestKvRebuild } from '../../plan/price/rebuild.ts'
import { oracleInput } from '../../plan/price/problem.ts'
import type { Situation } from '../../plan/price/situation.ts'
import { clamp } from './queueState.ts'
import type { KernelBundle } from './edge.ts'
import type { EdgePass } from './requestTracker.ts'
import type {
  RequestSnapshot,
  ControllerChange,
  ControllerDecision,
  LinkHint,
  RunningRequest,
  FinishedRequestStats,
} from './planControllerTypes.ts'
import { DEFAULT_HYSTERESIS, LinkUptime, costToRestart, costToContinue } from './hysteresis.ts'
import type { HysteresisOptions } from './hysteresis.ts'
import type { LengthPrior } from './lengths.ts'
import { StateEstimator } from './stateEstimator.ts'
import { Shield } from './shield.ts'
import type { ShieldOptions } from './shield.ts'

/** The part of a bundle that the plan controller needs. */
export type ControllerPolicy = Pick<KernelBundle, 'problem' | 'act'>

/** Options of a plan controller. */
export interface PlanControllerOptions {
  /** Null if it is missing or invalid: `fallback` is used. */
  readonly bundle: ControllerPolicy | null
  readonly fallback: Plan
  /**
   * The plan for outages without a bundle, which must not need the network; null or absent if the model does not fit
   * the edge.
   */
  readonly offlinePlan?: Plan | null
  readonly clock: Pick<Clock, 'nowSeconds'>
  /** Null: no shield. */
  readonly shield?: ShieldOptions | null
  readonly hysteresis?: HysteresisOptions
  /** If set, dispatches are drawn from the policy's distribution with this stream instead of greedily. */
  readonly explore?: RandomStream | null
  /**
   * Link measurements, if there are any already; otherwise `probe` provides them, and until then the link counts as
   * out.
   */
  readonly firstProbe?: InitialProbe
  readonly lengthPrior?: LengthPrior
}

type UntimedDecision = Omit<ControllerDecision, 'decideSeconds'>

/**
 * Controls the plans of a running device: estimates its state from events as the simulator does, decides each request's
 * plan with policy and shield, and says when a request in flight needs another plan. All times are seconds of the
 * clock. Never throws because of network or clock.
 */
export class PlanController {
  private readonly options: PlanControllerOptions
  private readonly hysteresis: Required<HysteresisOptions>
  private readonly shield: Shield | null
  private readonly estimator: StateEstimator | null
  private readonly watch = new LinkUptime()
  private readonly originSeconds: number
  private latestSeconds = 0
  /** What the next `dispatched` of a request refers to. */
  private readonly announced = new Map<number, { readonly alone: boolean; readonly explored: boolean }>()

  constructor(options: PlanControllerOptions) {
    const { bundle, shield, clock, firstProbe } = options
    this.options = options
    this.hysteresis = { ...DEFAULT_HYSTERESIS, ...options.hysteresis }
    this.shield = bundle === null || shield === null ? null : new Shield(bundle.problem, shield)
    this.estimator = bundle === null ? null : new StateEstimator(bundle.problem, options.lengthPrior)
    this.originSeconds = clock.nowSeconds()
    if (firstProbe !== undefined) this.probe(firstProbe)
  }

  /** Link measurements when the link first came up. */
  probe(probe: InitialProbe): void {
    const now = this.now()
    this.estimator?.probe(probe, now)
    this.watch.alive(now)
  }

  arrived(atSeconds: number): void {
    this.estimator?.arrived(this.sinceOrigin(atSeconds))
  }

  dispatched(ask: RequestSnapshot, plan: Plan): void {
    this.began(ask, plan, false)
  }

  replanned(ask: RequestSnapshot, plan: Plan): void {
    this.began(ask, plan, true)
  }

  /**
   * Also to be called for a request that was cancelled or failed; without a token it is only removed from the backlog.
   * Returns what it used of each resource that can have a budget, modelled from what was measured: null without a
   * bundle, for a request that was never dispatched, and for one without a token.
   */
  finished(request: number, served: FinishedRequestStats): MeasuredUse | null {
    this.announced.delete(request)
    return this.estimator?.finished(request, served, this.now()) ?? null
  }

  /**
   * Mean modelled use of each budget of the bundle by the requests that finished, for reports; null before the first, and
   * without a bundle.
   */
  budgetUses(): BudgetUses | null {
    return this.estimator?.budgetUses() ?? null
  }

  heartbeat(atSeconds: number, rttSeconds: number): void {
    if (!(rttSeconds >= 0)) return
    const at = this.sinceOrigin(atSeconds)
    this.watch.alive(at)
    this.estimator?.heartbeat(at, rttSeconds)
  }

  transfer(direction: 'up' | 'down', bytes: number, startSeconds: number, endSeconds: number): void {
    this.estimator?.transfer(direction, bytes, endSeconds - startSeconds, this.sinceOrigin(endSeconds))
  }

  /** Sequences of other tenants in the cloud, measured at `atSeconds`. */
  load(tenants: number, atSeconds: number): void {
    this.estimator?.load(tenants, this.sinceOrigin(atSeconds))
  }

  /** Measured engine seconds on the edge for one pass, possibly in several parts. */
  edgeBusy(request: number, pass: EdgePass): void {
    this.estimator?.edgeBusy(request, pass, this.now())
  }

  /** Decides the plan of a request that is about to be dispatched. */
  decide(ask: RequestSnapshot, link: LinkHint = {}): ControllerDecision {
    const began = this.options.clock.nowSeconds()
    const now = this.now()
    const isOut = this.isOut(now, link)
    const decided = this.choose(ask, now, isOut, false, this.options.explore ?? null)
    const explored = decided.source === 'policy' && (this.options.explore ?? null) !== null
    this.announced.set(ask.request, { alone: isOut && !needsCloud(decided.plan), explored })
    return this.timed(decided, began)
  }

  /** Decides another plan for a request in flight; null: it keeps its plan. */
  reconsider(present: RunningRequest, link: LinkHint = {}): ControllerChange | null {
    const began = this.options.clock.nowSeconds()
    const now = this.now()
    this.estimator?.seen(present)
    const isOut = this.isOut(now, link)
    if (isOut) return needsCloud(present.plan) ? this.goOffline(present, now, began) : null
    const flight = this.estimator?.tracker(present.request) ?? null
    if (this.estimator === null) return this.returnUnpriced(present, now, began)
    if (flight === null || now - flight.lookedAtSeconds < this.hysteresis.intervalSeconds) return null
    if (flight.alone) {
      if ((this.watch.upSeconds(now) ?? 0) < this.hysteresis.stableSeconds) return null
    } else if (flight.explored) return null
    flight.lookedAtSeconds = now
    return this.betterPlan(present, now, began, flight.alone ? 'return' : 'better')
  }

  private began(ask: RequestSnapshot, plan: Plan, again: boolean): void {
    const known = this.announced.get(ask.request) ?? { alone: false, explored: false }
    this.announced.delete(ask.request)
    const now = this.now()
    // The executor may have switched to the edge by itself; that counts as an outage too.
    const alone = !needsCloud(plan) && (known.alone || (again && this.watch.upSeconds(now) === null))
    if (this.options.bundle === null && alone) this.announced.set(ask.request, { alone, explored: false })
    this.estimator?.began(ask, plan, { alone, explored: known.explored && !again }, again, now)
  }

  private choose(
    ask: RequestSnapshot,
    now: number,
    isOut: boolean,
    replanning: boolean,
    explore: RandomStream | null,
  ): UntimedDecision {
    const { bundle } = this.options
    if (bundle === null || this.estimator === null) return this.unguided(ask, isOut)
    const situation = this.estimator.situation(ask, now, isOut, replanning)
    const { memoryUse: use } = ask
    // The free memory holds for every plan. One that shares weights with the requests in flight may take more: such a
    // plan is looked for first. A draw is not: its probability would be another if it did not fit.
    if (use !== undefined && explore === null) {
      const freeMemoryBytes = sharedFreeBytes(use)
      const shared = freeMemoryBytes > situation.freeMemoryBytes ? { ...situation, freeMemoryBytes } : null
      const decided = shared && this.chooseIn(shared, ask, isOut, null)
      if (decided !== null && decided.source !== 'fallback') {
        const { pair } = bundle.problem
        if (fitsBeside(pair, use, decided.plan, situation.reservedTokens)) return decided
      }
    }
    return this.chooseIn(situation, ask, isOut, explore)
  }

  /** Decides in one situation: the policy, the shield where a queue has passed its bound, or the fallback. */
  private chooseIn(
    situation: Situation,
    ask: RequestSnapshot,
    isOut: boolean,
    explore: RandomStream | null,
  ): UntimedDecision {
    const bundle = this.options.bundle!
    const { predictedOutputTokens } = situation
    const passed = this.shield?.passed(situation) ?? null
    try {
      // The observation is logged whatever selected the plan.
      const act = bundle.act(situation, passed === null ? explore : null)
      const { observation } = act
      if (passed === null || this.shield === null) {
        return { ...act, source: 'policy', situation, predictedOutputTokens }
      }
      const plan = this.shield.decide(situation)
      return { plan, source: 'shield', propensity: 1, observation, situation, predictedOutputTokens }
    } catch (error) {
      // No plan fits the remaining memory: the caller's own fallback plan is the best choice left.
      if (!(error instanceof InputError)) throw error
      return { ...this.unguided(ask, isOut), situation, predictedOutputTokens }
    }
  }

  private unguided(ask: RequestSnapshot, isOut: boolean): UntimedDecision {
    const { fallback, offlinePlan: alone } = this.options
    const plan = isOut && needsCloud(fallback) ? (alone ?? fallback) : fallback
    const predictedOutputTokens = Math.max(1, ask.maxNewTokens)
    return {
      plan,
      source: 'fallback',
      propensity: 1,
      observation: null,
      situation: null,
      predictedOutputTokens,
    }
  }

  private goOffline(present: RunningRequest, now: number, began: number): ControllerChange | null {
    const decided = this.choose(present, now, true, true, null)
    if (needsCloud(decided.plan)) return null
    this.announced.set(present.request, { alone: true, explored: false })
    const rebuild = this.rebuildOf(present, decided)
    return { ...this.timed(decided, began), reason: 'outage', rebuild, gainShare: null }
  }

  /** Without profiles there are no costs to compare: return once the link has been stable. */
  private returnUnpriced(present: RunningRequest, now: number, began: number): ControllerChange | null {
    const known = this.announced.get(present.request)
    if (known?.alone !== true || needsCloud(present.plan)) return null
    if ((this.watch.upSeconds(now) ?? 0) < this.hysteresis.stableSeconds) return null
    const decided = this.unguided(present, false)
    if (samePlan(decided.plan, present.plan)) return null
    return { ...this.timed(decided, began), reason: 'return', rebuild: 'ids', gainShare: null }
  }

  private betterPlan(
    present: RunningRequest,
    now: number,
    began: number,
    reason: 'return' | 'better',
  ): ControllerChange | null {
    const decided = this.choose(present, now, false, false, null)
    const { situation, plan } = decided
    const { bundle } = this.options
    // It is unknown whether the fallback fits into memory, so a request that can continue keeps its plan.
    if (decided.source === 'fallback') return null
    if (bundle === null || situation === null || samePlan(plan, present.plan)) return null
    const goingOn = costToContinue(bundle.problem, situation, present.plan)
    const anew = costToRestart(bundle.problem, situation, plan)
    const gainShare = goingOn > 0 ? 1 - anew / goingOn : 0
    if (!(gainShare > this.hysteresis.share)) return null
    this.announced.set(present.request, { alone: false, explored: false })
    return { ...this.timed(decided, began), reason, rebuild: 'ids', gainShare }
  }

  private rebuildOf(present: RunningRequest, { situation, plan }: UntimedDecision): 'boundary' | 'ids' {
    const { bundle } = this.options
    // Without costs, use the kept tensors: this never needs more passes than a prefill of all tokens.
    if (bundle === null || situation === null) return 'boundary'
    const { pair, state } = oracleInput(bundle.problem, situation)
    const { link, edgeSlowdown, cloudSlowdown } = state
    const deliveredTokens = situation.deliveredTokens
    const promptTokens = Math.max(1, situation.promptTokens - deliveredTokens)
    const input = { pair, link, from: present.plan, to: plan, promptTokens, deliveredTokens }
    const best = cheapestKvRebuild({ ...input, edgeSlowdown, cloudSlowdown, loadBytes: 0 }, [
      'boundary',
      'ids',
    ])
    return best?.way === 'boundary' ? 'boundary' : 'ids'
  }

  private isOut(now: number, { linkDown }: LinkHint): boolean {
    if (linkDown === true) this.watch.lost()
    return linkDown === true || this.watch.upSeconds(now) === null
  }

  private timed(decided: UntimedDecision, began: number): ControllerDecision {
    return { ...decided, decideSeconds: clamp(this.options.clock.nowSeconds() - began, 0, Infinity) }
  }

  /** Seconds since this controller was created; never decreases, whatever the clock does. */
  private now(): number {
    const now = this.options.clock.nowSeconds() - this.originSeconds
    if (now > this.latestSeconds && now < Infinity) this.latestSeconds = now
    return this.latestSeconds
  }

  /** An event's time, limited to between the controller's start and now. */
  private sinceOrigin(seconds: number): number {
    const at = seconds - this.originSeconds
    const now = this.now()
    return at <= now ? Math.max(0, at) : now
  }
}
