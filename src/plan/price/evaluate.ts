import { curveIn, segmentAt } from './curves.ts'
import { RESOURCE, askedOfCloud, isTransfer, type Program, type Stage, type StageList } from './program.ts'
import { edgeJoules } from './energy.ts'
import { latencyTerm, requestCost, type Objective } from './objective.ts'
import { latencySeconds, type NetworkTerms } from './network.ts'
import { serialisationSeconds, type LinkState } from './boundary.ts'
import type { DevicePair } from './pair.ts'

/** What a plan takes for one unloaded request on a constant, warm link. */
export interface PlanCost {
  readonly cost: number
  readonly ttftSeconds: number
  /** Seconds per output token after the first; null for a single token. */
  readonly tpotSeconds: number | null
  readonly e2eSeconds: number
  readonly stallSeconds: number
  readonly edgeJoules: number
  readonly edgeSeconds: number
  readonly cloudSeconds: number
  readonly upBytes: number
  readonly downBytes: number
  readonly messages: number
  readonly accuracyLoss: number
}

/** Inputs of evaluateProgram. */
export interface EvaluateInput {
  readonly pair: DevicePair
  readonly link: LinkState
  readonly promptTokens: number
  readonly outputTokens: number
  readonly objective: Objective
  readonly readingTokensPerSecond: number
}

/** What one request takes with both sides and the link to itself. Seconds since its start. */
export interface RequestUse {
  readonly ttftSeconds: number
  readonly e2eSeconds: number
  readonly stallSeconds: number
  readonly edgeSeconds: number
  readonly cloudSeconds: number
  readonly upBytes: number
  readonly downBytes: number
  readonly messages: number
}

/** The part of a request's use that adds up stage by stage. */
export type BusyUse = Omit<RequestUse, 'ttftSeconds' | 'e2eSeconds' | 'stallSeconds'>

/** When a message that begins at a time has left its sender, and how long it then takes to arrive. */
export interface TransferTimes {
  sentSeconds(stage: Stage, beginSeconds: number): number
  latencySeconds(stage: Stage, beginSeconds: number, sentSeconds: number): number
}

/** Is told of each stage of an evaluation in turn. */
export interface EvaluationRecorder {
  /** The stages of a list follow: of the prefill, or of the next token. `before`: what was used until here. */
  list(list: StageList, before: BusyUse): void
  /**
   * A stage is ready when all that it waits for is complete, begins when its resource is free, leaves it, and is complete
   * (a message: arrived).
   */
  stage(stage: Stage, ready: number, begin: number, left: number, end: number): void
}

/**
 * The cost of a program for one request alone on a constant, warm link: token by token, with every resource free. The
 * oracle, its sums of early exits and both simulators are other algorithms, and tests hold them to this one to 1e-9.
 */
export function evaluateProgram(
  program: Program,
  input: EvaluateInput,
  recorder: EvaluationRecorder | null = null,
): PlanCost {
  const transfers = new ConstantLink(input.pair.network, input.link)
  return planCostOf(input, requestUse(program, input, transfers, 0, recorder), program.accuracyLoss)
}

/** What a program takes, stage by stage, from `startSeconds` on. */
export function requestUse(
  program: Program,
  {
    promptTokens,
    outputTokens,
    readingTokensPerSecond,
  }: Pick<EvaluateInput, 'promptTokens' | 'outputTokens' | 'readingTokensPerSecond'>,
  transfers: TransferTimes,
  startSeconds: number,
  recorder: EvaluationRecorder | null,
): RequestUse {
  const evaluation = new Evaluation(program, transfers, startSeconds, recorder)
  evaluation.list(program.prefill, startSeconds, -1)
  let { loop } = evaluation
  const first = evaluation.deliver
  let delivered = first
  let stall = 0
  for (let token = 2; token <= outputTokens; token++) {
    const asked = askedOfCloud(program.askShare, token) ? program.cycles.length - 1 : 0
    evaluation.list(program.cycles[asked], loop, promptTokens + token - 1)
    loop = evaluation.loop
    delivered = Math.max(delivered, evaluation.deliver)
    stall = Math.max(stall, delivered - first - (token - 1) / readingTokensPerSecond)
  }
  const { edgeSeconds, cloudSeconds, upBytes, downBytes, messages } = evaluation
  return {
    ttftSeconds: first - startSeconds,
    e2eSeconds: delivered - startSeconds,
    stallSeconds: stall,
    edgeSeconds,
    cloudSeconds,
    upBytes,
    downBytes,
    messages,
  }
}

/** What a request's use costs; it pays for the idle power of its own duration. */
export function planCostOf(
  { pair, objective, outputTokens }: Pick<EvaluateInput, 'pair' | 'objective' | 'outputTokens'>,
  use: RequestUse,
  accuracyLoss: number,
): PlanCost {
  const { ttftSeconds, e2eSeconds, stallSeconds, cloudSeconds, upBytes } = use
  const joules = edgeJoules(pair.power, use, e2eSeconds)
  const latency = latencyTerm(objective.latency, ttftSeconds, e2eSeconds, stallSeconds)
  return {
    cost: requestCost(objective.weights, {
      latencySeconds: latency,
      edgeJoules: joules,
      cloudSeconds,
      upBytes,
      accuracyLoss,
    }),
    ttftSeconds,
    tpotSeconds: outputTokens > 1 ? (e2eSeconds - ttftSeconds) / (outputTokens - 1) : null,
    e2eSeconds,
    stallSeconds,
    edgeJoules: joules,
    edgeSeconds: use.edgeSeconds,
    cloudSeconds,
    upBytes,
    downBytes: use.downBytes,
    messages: use.messages,
    accuracyLoss,
  }
}

/** A warm link whose rates and RTT do not change. */
class ConstantLink implements TransferTimes {
  private readonly network: NetworkTerms
  private readonly link: LinkState

  constructor(network: NetworkTerms, link: LinkState) {
    this.network = network
    this.link = link
  }

  sentSeconds({ resource, bytes }: Stage, beginSeconds: number): number {
    const { upBitsPerSecond, downBitsPerSecond } = this.link
    return (
      beginSeconds +
      serialisationSeconds(resource === RESOURCE.up ? upBitsPerSecond : downBitsPerSecond, bytes)
    )
  }

  latencySeconds({ bytes }: Stage): number {
    return latencySeconds(this.network, bytes, this.link.rttSeconds, false)
  }
}

/** Times of one request's stages; each resource serves them in order. */
class Evaluation implements BusyUse {
  edgeSeconds = 0
  cloudSeconds = 0
  upBytes = 0
  downBytes = 0
  messages = 0
  /** Of the last list: when the next can begin, and when the user has its token. */
  loop = 0
  deliver = 0
  private readonly free: Float64Array
  private readonly program: Program
  private readonly transfers: TransferTimes
  private readonly recorder: EvaluationRecorder | null
  private ends = new Float64Array(0)
  /** Segments of the curves in which the context lies. */
  private edgeSegment = -1
  private cloudSegment = -1

  constructor(
    program: Program,
    transfers: TransferTimes,
    startSeconds: number,
    recorder: EvaluationRecorder | null,
  ) {
    this.program = program
    this.transfers = transfers
    this.recorder = recorder
    this.free = new Float64Array(4).fill(startSeconds)
  }

  list(list: StageList, start: number, context: number): void {
    const { stages } = list
    if (this.ends.length < stages.length) this.ends = new Float64Array(stages.length)
    const { ends, program } = this
    // Contexts rise from list to list.
    this.edgeSegment = segmentAt(program.edgeKnots, this.edgeSegment, context)
    this.cloudSegment = segmentAt(program.cloudKnots, this.cloudSegment, context)
    this.recorder?.list(list, this)
    for (let i = 0; i < stages.length; i++) {
      const stage = stages[i]
      let ready = start
      for (const before of stage.after) if (ends[before] > ready) ready = ends[before]
      ends[i] = isTransfer(stage) ? this.transfer(stage, ready) : this.compute(stage, ready, context)
    }
    this.loop = ends[list.loop]
    this.deliver = ends[list.deliver]
  }

  private compute(stage: Stage, ready: number, context: number): number {
    const { resource } = stage
    const seconds = stage.seconds + this.curveSeconds(stage, context)
    const begin = Math.max(ready, this.free[resource])
    const end = begin + seconds
    this.free[resource] = end
    if (resource === RESOURCE.edge) this.edgeSeconds += seconds
    else this.cloudSeconds += seconds
    this.recorder?.stage(stage, ready, begin, end, end)
    return end
  }

  private curveSeconds({ resource, curve }: Stage, context: number): number {
    if (curve === null) return 0
    const { edgeKnots, cloudKnots } = this.program
    return resource === RESOURCE.edge
      ? curveIn(edgeKnots, curve, this.edgeSegment, context)
      : curveIn(cloudKnots, curve, this.cloudSegment, context)
  }

  private transfer(stage: Stage, ready: number): number {
    const { resource, bytes, express } = stage
    const begin = express ? ready : Math.max(ready, this.free[resource])
    const sent = this.transfers.sentSeconds(stage, begin)
    if (!express) this.free[resource] = sent
    if (resource === RESOURCE.up) this.upBytes += bytes
    else this.downBytes += bytes
    this.messages++
    const end = sent + this.transfers.latencySeconds(stage, begin, sent)
    this.recorder?.stage(stage, ready, begin, sent, end)
    return end
  }
}
