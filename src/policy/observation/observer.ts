import {
  EMPTY_VIRTUAL_QUEUES,
  nextVirtualQueues,
  UseTally,
  type BudgetUses,
  type ConstraintBudgets,
  type VirtualQueues,
} from '../../plan/price/budgets.ts'
import type { Program } from '../../plan/price/program.ts'
import type { Situation } from '../../plan/price/situation.ts'
import type { Direction } from '../../trace/types.ts'
import { Level, MovingAverage } from './averages.ts'
import { WorkLedger, expectedWork, type Work } from './work.ts'

/** Smaller transfers measure latency rather than rate. */
const RATE_SAMPLE_BYTES = 1024
const ARRIVAL_GAIN = 0.1
const SPEED_GAIN = 0.2
const RESPONSE_GAIN = 0.2

/** Link measurements when the device connected, before any request. */
export interface InitialProbe {
  readonly upBitsPerSecond: number
  readonly downBitsPerSecond: number
  readonly rttSeconds: number
}

/** Measurements of a finished request. */
interface FinishedStats {
  readonly seconds: number
  readonly outputTokens: number
  readonly edgeJoules: number
  readonly cloudSeconds: number
  readonly accuracyLoss: number
}

/** The part of a situation that comes from queue and memory, not from estimators. */
export type QueueState = Pick<
  Situation,
  | 'replanning'
  | 'deliveredTokens'
  | 'promptTokens'
  | 'predictedOutputTokens'
  | 'predictedOutputSd'
  | 'waitedSeconds'
  | 'waitingRequests'
  | 'inFlight'
  | 'uplinkQueuedBytes'
  | 'freeMemoryBytes'
  | 'memoryBytes'
  | 'residentBytes'
  | 'reservedTokens'
>

/**
 * Turns events into estimates: transfers, heartbeats, stage times, arrivals, load reports. Simulator and runtime feed
 * it the same events; it never sees a trace.
 */
export class Observer {
  private up: Level
  private down: Level
  private rtt: Level
  private readonly arrivalGap = new MovingAverage(ARRIVAL_GAIN, 0)
  private readonly edgeSpeed = new MovingAverage(SPEED_GAIN, 1, true)
  private readonly cloudSpeed = new MovingAverage(SPEED_GAIN, 1, true)
  private readonly edgeResponse = new MovingAverage(RESPONSE_GAIN, NaN)
  private readonly cloudResponse = new MovingAverage(RESPONSE_GAIN, NaN)
  private readonly edgePerRequest = new MovingAverage(RESPONSE_GAIN, 0)
  private readonly ledger = new WorkLedger()
  private readonly budgets: ConstraintBudgets
  private lastArrival = NaN
  private lastHeartbeat = 0
  private lastTransfer = 0
  private lastCloudStage = -Infinity
  private tenants = 0
  private tenantsAt = -Infinity
  private virtual: VirtualQueues = EMPTY_VIRTUAL_QUEUES
  private finishedRequests = 0
  private readonly used = new UseTally()

  constructor(probe: InitialProbe, budgets: ConstraintBudgets) {
    this.up = new Level(probe.upBitsPerSecond)
    this.down = new Level(probe.downBitsPerSecond)
    this.rtt = new Level(probe.rttSeconds)
    this.budgets = budgets
  }

  /** Starts the link's estimates from a first measurement that came after the first events. */
  probe(probe: InitialProbe, atSeconds: number): void {
    this.up = new Level(probe.upBitsPerSecond)
    this.down = new Level(probe.downBitsPerSecond)
    this.rtt = new Level(probe.rttSeconds)
    this.lastHeartbeat = atSeconds
  }

  arrival(atSeconds: number): void {
    if (!Number.isNaN(this.lastArrival)) this.arrivalGap.add(atSeconds - this.lastArrival)
    this.lastArrival = atSeconds
  }

  /** An answered heartbeat. An unanswered one shows only by its absence. */
  heartbeat(atSeconds: number, rttSeconds: number): void {
    this.lastHeartbeat = atSeconds
    this.rtt.add(rttSeconds)
  }

  /** A message of `bytes` that occupied the link from `startSeconds` to `sentSeconds`. */
  transfer(direction: Direction, bytes: number, startSeconds: number, sentSeconds: number): void {
    if (bytes < RATE_SAMPLE_BYTES) return
    this.lastTransfer = sentSeconds
    if (sentSeconds > startSeconds)
      (direction === 'up' ? this.up : this.down).add((8 * bytes) / (sentSeconds - startSeconds))
  }

  compute(side: 0 | 1, profiledSeconds: number, actualSeconds: number, atSeconds: number): void {
    if (profiledSeconds <= 0) return
    const speed = side === 0 ? this.edgeSpeed : this.cloudSpeed
    speed.add(actualSeconds / profiledSeconds)
    if (side === 1) this.lastCloudStage = atSeconds
  }

  /** The cloud's load at `measuredAtSeconds`. */
  loadReport(tenants: number, measuredAtSeconds: number): void {
    this.tenants = tenants
    this.tenantsAt = measuredAtSeconds
  }

  dispatched(request: number, program: Program, promptTokens: number, predictedOutputTokens: number): void {
    const work = expectedWork(program, promptTokens, predictedOutputTokens)
    this.ledger.add(request, work)
    this.edgePerRequest.add(work.edgeSeconds)
  }

  /**
   * A new plan for a request in flight; `had` is the work done so far. Tokens and prompt as the new plan counts them.
   */
  replanned(
    request: number,
    program: Program,
    promptTokens: number,
    predictedOutputTokens: number,
    had: Work,
  ): void {
    this.ledger.add(request, expectedWork(program, promptTokens, predictedOutputTokens), had)
  }

  /** `cloudHead`: whether the plan ended in the cloud. */
  finished(request: number, cloudHead: boolean, stats: FinishedStats): void {
    this.ledger.remove(request)
    const response = cloudHead ? this.cloudResponse : this.edgeResponse
    response.add(stats.seconds / stats.outputTokens)
    const { edgeJoules: energyJoules, accuracyLoss, cloudSeconds } = stats
    const used = { energyJoules, accuracyLoss, cloudSeconds }
    this.virtual = nextVirtualQueues(this.virtual, this.budgets, used)
    this.used.add(used)
    this.finishedRequests++
  }

  /** A request ended without measurements: cancelled, or failed before its first token. */
  dropped(request: number): void {
    this.ledger.remove(request)
  }

  /** Mean use of each budget by the requests that finished; null before the first. */
  budgetUses(): BudgetUses | null {
    return this.finishedRequests === 0 ? null : this.used.against(this.budgets)
  }

  virtualQueues(): VirtualQueues {
    return this.virtual
  }

  backlog(done: (request: number) => Work): Work {
    return this.ledger.remaining(done)
  }

  /**
   * The situation at `nowSeconds`. `replanned`: the request in flight for which a new plan is decided; its work is
   * excluded.
   */
  situation(
    nowSeconds: number,
    circumstances: QueueState,
    done: (request: number) => Work,
    replanned = -1,
  ): Situation {
    const backlog = this.ledger.remaining(done, replanned)
    // Written out field by field: a spread is slow, and this runs at every decision.
    return {
      replanning: circumstances.replanning,
      deliveredTokens: circumstances.deliveredTokens,
      promptTokens: circumstances.promptTokens,
      predictedOutputTokens: circumstances.predictedOutputTokens,
      predictedOutputSd: circumstances.predictedOutputSd,
      waitedSeconds: circumstances.waitedSeconds,
      waitingRequests: circumstances.waitingRequests,
      inFlight: circumstances.inFlight,
      uplinkQueuedBytes: circumstances.uplinkQueuedBytes,
      freeMemoryBytes: circumstances.freeMemoryBytes,
      memoryBytes: circumstances.memoryBytes,
      residentBytes: circumstances.residentBytes,
      reservedTokens: circumstances.reservedTokens,
      nowSeconds,
      arrivalsPerSecond: this.arrivalGap.value > 0 ? 1 / this.arrivalGap.value : 0,
      edgeBacklogSeconds: backlog.edgeSeconds,
      cloudBacklogSeconds: backlog.cloudSeconds,
      edgeSecondsPerRequest: this.edgePerRequest.value,
      up: this.up.rate(),
      down: this.down.rate(),
      rttSeconds: this.rtt.shortValue,
      rttSpreadSeconds: this.rtt.spread,
      sinceHeartbeatSeconds: nowSeconds - this.lastHeartbeat,
      sinceTransferSeconds: nowSeconds - this.lastTransfer,
      tenantsHeard: this.tenants,
      tenantsAgeSeconds: Math.min(LONG_AGO_SECONDS, nowSeconds - this.tenantsAt),
      edgeSlowdown: this.edgeSpeed.value,
      cloudSlowdown: this.cloudSpeed.value,
      cloudSlowdownAgeSeconds: Math.min(LONG_AGO_SECONDS, nowSeconds - this.lastCloudStage),
      recentEdgeSecondsPerToken: this.edgeResponse.value,
      recentCloudSecondsPerToken: this.cloudResponse.value,
      virtual: this.virtualQueues(),
    }
  }
}

/** Ages are capped here: older values are equally stale. */
export const LONG_AGO_SECONDS = 600
