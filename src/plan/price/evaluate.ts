import { RESOURCE, askedOfCloud, curveAt, type Program, type Stage, type StageList } from './program.ts'
import { edgeJoules } from './energy.ts'
import { latencyTerm, requestCost, type Objective } from './objective.ts'
import { latencySeconds } from './network.ts'
import type { LinkState } from './boundary.ts'
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

/**
 * Evaluates a program token by token with every resource free. It is the analytic reference: the oracle's optimum and
 * both simulators must agree with it to 1e-9.
 */
export function evaluateProgram(program: Program, input: EvaluateInput): PlanCost {
  const evaluation = new Evaluation(program, input)
  const first = evaluation.list(program.prefill, 0, -1)
  let loop = first.loop
  let delivered = first.deliver
  let stall = 0
  for (let token = 2; token <= input.outputTokens; token++) {
    const asked = askedOfCloud(program.askShare, token) ? program.cycles.length - 1 : 0
    const next = evaluation.list(program.cycles[asked], loop, input.promptTokens + token - 1)
    loop = next.loop
    delivered = Math.max(delivered, next.deliver)
    stall = Math.max(stall, delivered - first.deliver - (token - 1) / input.readingTokensPerSecond)
  }
  return summarise(evaluation, program, input, first.deliver, delivered, stall)
}

function summarise(
  evaluation: Evaluation,
  program: Program,
  input: EvaluateInput,
  ttft: number,
  e2e: number,
  stall: number,
): PlanCost {
  const { edgeSeconds, cloudSeconds, upBytes, downBytes, messages } = evaluation
  // An unloaded request pays for the idle power of its own duration.
  const joules = edgeJoules(input.pair.power, { edgeSeconds, upBytes, downBytes, messages }, e2e)
  const latencySeconds = latencyTerm(input.objective.latency, ttft, e2e, stall)
  const { accuracyLoss } = program
  return {
    cost: requestCost(input.objective.weights, {
      latencySeconds,
      edgeJoules: joules,
      cloudSeconds,
      upBytes,
      accuracyLoss,
    }),
    ttftSeconds: ttft,
    tpotSeconds: input.outputTokens > 1 ? (e2e - ttft) / (input.outputTokens - 1) : null,
    e2eSeconds: e2e,
    stallSeconds: stall,
    edgeJoules: joules,
    edgeSeconds: evaluation.edgeSeconds,
    cloudSeconds,
    upBytes,
    downBytes: evaluation.downBytes,
    messages: evaluation.messages,
    accuracyLoss,
  }
}

/** Times of one request's stages; each resource serves them in order. */
class Evaluation {
  edgeSeconds = 0
  cloudSeconds = 0
  upBytes = 0
  downBytes = 0
  messages = 0
  private readonly free = new Float64Array(4)
  private readonly program: Program
  private readonly input: EvaluateInput
  private ends = new Float64Array(0)

  constructor(program: Program, input: EvaluateInput) {
    this.program = program
    this.input = input
  }

  list(list: StageList, start: number, context: number): { loop: number; deliver: number } {
    const { stages } = list
    if (this.ends.length < stages.length) this.ends = new Float64Array(stages.length)
    for (let i = 0; i < stages.length; i++) {
      let ready = start
      for (const before of stages[i].after) ready = Math.max(ready, this.ends[before])
      this.ends[i] = this.stage(stages[i], ready, context)
    }
    return { loop: this.ends[list.loop], deliver: this.ends[list.deliver] }
  }

  private stage(stage: Stage, ready: number, context: number): number {
    const { resource } = stage
    if (resource === RESOURCE.up || resource === RESOURCE.down) return this.transfer(stage, ready)
    const knots = resource === RESOURCE.edge ? this.program.edgeKnots : this.program.cloudKnots
    const seconds = stage.seconds + (stage.curve === null ? 0 : curveAt(knots, stage.curve, context))
    const end = Math.max(ready, this.free[resource]) + seconds
    this.free[resource] = end
    if (resource === RESOURCE.edge) this.edgeSeconds += seconds
    else this.cloudSeconds += seconds
    return end
  }

  private transfer(stage: Stage, ready: number): number {
    const { link, pair } = this.input
    const up = stage.resource === RESOURCE.up
    const begin = stage.express ? ready : Math.max(ready, this.free[stage.resource])
    const sent = begin + (8 * stage.bytes) / (up ? link.upBitsPerSecond : link.downBitsPerSecond)
    if (!stage.express) this.free[stage.resource] = sent
    if (up) this.upBytes += stage.bytes
    else this.downBytes += stage.bytes
    this.messages++
    return sent + latencySeconds(pair.network, stage.bytes, link.rttSeconds, false)
  }
}
