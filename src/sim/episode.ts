import { compileProgram } from '../plan/price/compile.ts'
import { edgeJoules } from '../plan/price/energy.ts'
import { latencyTerm, requestCost } from '../plan/price/objective.ts'
import { Observer } from '../policy/observation/observer.ts'
import type { Work } from '../policy/observation/work.ts'
import { CLOUD, samePlan, type Plan } from '../plan/plan.ts'
import { pairUnits } from '../plan/price/pair.ts'
import type { DecisionProblem } from '../plan/price/problem.ts'
import type { Residency } from '../plan/price/residency.ts'
import type { Situation } from '../plan/price/situation.ts'
import { StepCursor } from '../trace/step.ts'
import { EdgeMemory } from './memory.ts'
import type { DecisionKind, RequestOutcome, Simulation, SimulationFactory, EpisodeInputs } from './types.ts'

/** What surrounds the queues: memory, and what is reported when. */
export interface EpisodeTerms {
  /** Edge memory for weights and K/V, bytes. */
  readonly memoryBytes: number
  /** K/V is reserved for the prompt and this many tokens. */
  readonly maxNewTokens: number
  readonly heartbeatSeconds: number
  /** The cloud reports its load this often, and the report takes this long. */
  readonly reportPeriodSeconds: number
  readonly reportDelaySeconds: number
  /** The policy's own run time, charged to the edge at each dispatch and change of plan. */
  readonly decisionSeconds: number
  /** Whether the whole model is in edge memory at the start (where it fits). */
  readonly preloaded: boolean
}

/** What one request took, as reported. Times are since arrival. */
export interface RequestMetrics {
  readonly ttftSeconds: number
  /** Null for a single token. */
  readonly tpotSeconds: number | null
  readonly e2eSeconds: number
  readonly stallSeconds: number
  /** Marginal edge joules: busy over idle, and radio. */
  readonly edgeJoules: number
  readonly cloudSeconds: number
  readonly upBytes: number
  readonly downBytes: number
  readonly accuracyLoss: number
  /** Cost with marginal energy. */
  readonly cost: number
  readonly mixedLayers: number
}

/**
 * One episode: the queues of a simulation, the estimators that listen to it, edge memory, and plans
 * compiled as they are dispatched. Policies and environments drive it alike:
 * while (episode.next()) episode.dispatch(policy.decide(episode.situation()))
 * Most decisions are dispatches; in an outage requests in flight may be given another plan (kind 'replan').
 */
export class Episode {
  readonly world: EpisodeInputs
  readonly simulation: Simulation
  readonly observer: Observer
  readonly residency: Residency
  /** Index of the request under decision. */
  request = -1
  /** Which decision it is due. */
  kind: DecisionKind = 'dispatch'
  /** Changes of plan inside a request so far. */
  replans = 0
  /** Most requests that ever waited at the edge. */
  mostWaiting = 0
  /** Called when a request has its last token. */
  onFinish: ((request: number) => void) | null = null
  readonly plans: (Plan | null)[]
  private readonly problem: DecisionProblem
  private readonly terms: EpisodeTerms
  private readonly memory: EdgeMemory
  private readonly tenants: StepCursor
  private arrivalsSeen = 0
  private heartbeats = 0
  private reports = 0

  constructor(
    problem: DecisionProblem,
    world: EpisodeInputs,
    terms: EpisodeTerms,
    create: SimulationFactory,
  ) {
    this.problem = problem
    this.world = world
    this.terms = terms
    const { link } = world
    this.observer = new Observer(
      {
        upBitsPerSecond: link.bitsPerSecond('up', 0),
        downBitsPerSecond: link.bitsPerSecond('down', 0),
        rttSeconds: link.rttSeconds(0),
      },
      problem.budgets,
    )
    this.memory = new EdgeMemory(problem, terms.memoryBytes, world.maxInFlight, terms.preloaded)
    this.residency = this.memory.residency
    this.tenants = new StepCursor(world.tenants)
    this.plans = world.arrivals.map(() => null)
    this.simulation = create(world, {
      transfer: (direction, bytes, start, sent) => {
        this.observer.transfer(direction, bytes, start, sent)
      },
      compute: (side, profiled, actual, at) => {
        this.observer.compute(side, profiled, actual, at)
      },
      finished: (request) => {
        this.finish(request)
      },
    })
  }

  /** Runs on to the next decision; false when all is done. */
  next(): boolean {
    this.request = this.simulation.advance()
    if (this.request < 0) return false
    this.kind = this.simulation.decision
    this.mostWaiting = Math.max(this.mostWaiting, this.simulation.waiting())
    this.listen(this.simulation.now)
    return true
  }

  /** What may be known now. */
  situation(): Situation {
    const { simulation, terms, kind } = this
    const arrival = this.world.arrivals[this.request]
    const replanning = kind === 'replan'
    const { promptTokens, predictedOutputTokens } = this.rest()
    const inFlightHere = replanning ? this.request : -1
    const reservedTokens = this.reservedTokens()
    return this.observer.situation(
      simulation.now,
      {
        replanning,
        deliveredTokens: simulation.deliveredTokens(),
        promptTokens,
        predictedOutputTokens,
        predictedOutputSd: arrival.predictedOutputSd,
        waitedSeconds: simulation.now - arrival.arrivalSeconds,
        waitingRequests: simulation.waiting() + (replanning ? 1 : 0),
        inFlight: simulation.inFlight() - (replanning ? 1 : 0),
        uplinkQueuedBytes: simulation.uplinkQueuedBytes(),
        freeMemoryBytes: this.memory.freeBytes(reservedTokens, inFlightHere),
        memoryBytes: terms.memoryBytes,
        residentBytes: this.residency.residentBytes(),
        reservedTokens,
      },
      (request) => this.workDone(request),
      inFlightHere,
    )
  }

  /**
   * Gives the request under decision its plan; one in flight goes on as it is if that is the plan it has.
   * Another one must fit situation().freeMemoryBytes.
   */
  dispatch(plan: Plan): void {
    const present = this.plans[this.request]
    if (this.kind === 'replan' && present !== null && samePlan(plan, present)) {
      this.simulation.keep()
      return
    }
    const { promptTokens, predictedOutputTokens } = this.rest()
    const loadBytes = this.memory.take(this.request, plan, this.reservedTokens())
    const program = compileProgram(this.problem.pair, plan, {
      promptTokens,
      loadBytes,
      decisionSeconds: this.terms.decisionSeconds,
    })
    this.plans[this.request] = plan
    if (this.kind === 'dispatch') {
      this.observer.dispatched(this.request, program, promptTokens, predictedOutputTokens)
    } else {
      const had = this.workDone(this.request)
      this.observer.replanned(this.request, program, promptTokens, predictedOutputTokens, had)
      this.replans++
    }
    this.simulation.dispatch(program)
  }

  /** What a finished request took. */
  result(request: number): RequestMetrics {
    const { arrivalSeconds, outputTokens } = this.world.arrivals[request]
    const outcome = this.simulation.outcomes[request]
    const plan = this.plans[request]
    const ttftSeconds = outcome.firstTokenSeconds - arrivalSeconds
    const e2eSeconds = outcome.lastTokenSeconds - arrivalSeconds
    const { weights, latency } = this.problem.objective
    const latencySeconds = latencyTerm(latency, ttftSeconds, e2eSeconds, outcome.stallSeconds)
    const edgeJoules = this.marginalJoules(outcome)
    const { upBytes, downBytes, accuracyLoss, cloudBusySeconds: cloudSeconds } = outcome
    return {
      ttftSeconds,
      tpotSeconds: outputTokens > 1 ? (e2eSeconds - ttftSeconds) / (outputTokens - 1) : null,
      e2eSeconds,
      stallSeconds: outcome.stallSeconds,
      edgeJoules,
      cloudSeconds,
      upBytes,
      downBytes,
      accuracyLoss,
      cost: requestCost(weights, { latencySeconds, edgeJoules, cloudSeconds, upBytes, accuracyLoss }),
      mixedLayers: plan === null ? 0 : countMixed(plan, pairUnits(this.problem.pair)),
    }
  }

  /** Edge joules of a request beyond the idle device's. */
  marginalJoules(outcome: RequestOutcome): number {
    const { edgeBusySeconds: edgeSeconds, upBytes, downBytes, messages } = outcome
    return edgeJoules(this.problem.pair.power, { edgeSeconds, upBytes, downBytes, messages }, 0)
  }

  /** What is left of the request under decision: tokens that the user has belong to the prompt. */
  private rest(): { promptTokens: number; predictedOutputTokens: number } {
    const { promptTokens, predictedOutputTokens } = this.world.arrivals[this.request]
    const delivered = this.simulation.deliveredTokens()
    if (delivered === 0) return { promptTokens, predictedOutputTokens }
    return {
      promptTokens: Math.min(this.problem.pair.model.contextTokens, promptTokens + delivered),
      predictedOutputTokens: Math.max(1, predictedOutputTokens - delivered),
    }
  }

  private workDone(request: number): Work {
    const { edgeBusySeconds, cloudBusySeconds } = this.simulation.outcomes[request]
    return { edgeSeconds: edgeBusySeconds, cloudSeconds: cloudBusySeconds }
  }

  /** Tokens for which the request under decision reserves K/V. */
  private reservedTokens(): number {
    const { promptTokens } = this.world.arrivals[this.request]
    return Math.min(this.problem.pair.model.contextTokens, promptTokens + this.terms.maxNewTokens)
  }

  /** Feeds the observer with what happened up to now outside the queues. */
  private listen(now: number): void {
    const { arrivals, link } = this.world
    while (this.arrivalsSeen < arrivals.length && arrivals[this.arrivalsSeen].arrivalSeconds <= now) {
      this.observer.arrival(arrivals[this.arrivalsSeen++].arrivalSeconds)
    }
    const { heartbeatSeconds, reportPeriodSeconds, reportDelaySeconds } = this.terms
    for (; this.heartbeats * heartbeatSeconds <= now; this.heartbeats++) {
      const at = this.heartbeats * heartbeatSeconds
      const alive = link.bitsPerSecond('up', at) > 0 && link.bitsPerSecond('down', at) > 0
      if (alive) this.observer.heartbeat(at, link.rttSeconds(at))
    }
    const due = Math.floor((now - reportDelaySeconds) / reportPeriodSeconds)
    if (due >= this.reports) {
      this.observer.loadReport(this.tenants.at(due * reportPeriodSeconds), due * reportPeriodSeconds)
      this.reports = due + 1
    }
  }

  private finish(request: number): void {
    this.memory.release(request)
    const outcome = this.simulation.outcomes[request]
    const { arrivalSeconds, outputTokens } = this.world.arrivals[request]
    this.observer.finished(request, this.plans[request]?.head === CLOUD, {
      seconds: outcome.lastTokenSeconds - arrivalSeconds,
      outputTokens,
      edgeJoules: this.marginalJoules(outcome),
      cloudSeconds: outcome.cloudBusySeconds,
      accuracyLoss: outcome.accuracyLoss,
    })
    this.onFinish?.(request)
  }
}

/** Layers with heads on both sides. */
function countMixed(plan: Plan, units: number): number {
  const layers = plan.exit?.layer ?? plan.unitsOnCloud.length
  return plan.unitsOnCloud.slice(0, layers).filter((k) => k > 0 && k < units).length
}
