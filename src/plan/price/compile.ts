import type { Subgraph } from '../../model/graphs/subgraphTypes.ts'
import { exitEntryOf } from '../profile/accuracy.ts'
import type { BlockCosts } from '../profile/costs.ts'
import { lowerPlan, type LoweredPass, type LoweredPlan, type RunStep, type SendStep } from '../lower.ts'
import { EDGE, type Plan, type Side } from '../plan.ts'
import { messageBytes } from './boundary.ts'
import { edgeMemory } from './memory.ts'
import { callCosts, pairUnits, type CallCosts, type DevicePair } from './pair.ts'
import { isTransfer, RESOURCE, type Program, type Stage, type StageList } from './program.ts'
import { planAccuracyLoss } from './loss.ts'

/** What a plan's program depends on besides the plan. */
export interface CompileInput {
  readonly promptTokens: number
  /** Weights to load from storage first; if there are any, the plan's sessions are created with them. */
  readonly loadBytes: number
  /** The policy's own run time. */
  readonly decisionSeconds: number
}

/** Prices the steps of a plan for one request. Throws RangeError if the plan does not have this model's shape. */
export function compileProgram(pair: DevicePair, plan: Plan, input: CompileInput): Program {
  checkShape(pair, plan)
  const lowered = lowerPlan(pair.model, plan)
  const memory = edgeMemory(pair, plan)
  const askShare = askShareOf(pair, plan)
  const { prefill, decode, ask } = lowered
  const cycles = [new PassPrice(pair, plan, decode, 0).list()]
  if (ask !== null && askShare > 0) {
    cycles.push(new PassPrice(pair, plan, ask, 0, 0, catchUpSeconds(pair, plan, askShare)).list())
  }
  const start = startSeconds(pair, lowered, input)
  return {
    prefill: new PassPrice(pair, plan, prefill, input.promptTokens, start).list(),
    cycles,
    askShare,
    edgeKnots: pair.edge.contextKnots,
    cloudKnots: pair.cloud.contextKnots,
    accuracyLoss: planAccuracyLoss(pair.accuracy, pairUnits(pair), plan),
    edgeWeightBytes: memory.weightBytes,
    edgeKvBytesPerToken: memory.kvBytesPerToken,
  }
}

/** Share of tokens for which the cloud is asked. */
function askShareOf(pair: DevicePair, { exit }: Plan): number {
  if (exit?.mode !== 'collaborative') return 0
  return 1 - exitEntryOf(pair.accuracy, exit.layer, exit.threshold).leaveShare.value
}

/** Cloud seconds of an asked token for the tokens since the previous question. */
function catchUpSeconds(pair: DevicePair, { exit }: Plan, askShare: number): number {
  return exit === null ? 0 : (1 / askShare - 1) * upperMarginalSeconds(pair, exit.layer)
}

/**
 * Decision and loading: docs/model.md (11). Each edge run of a pass has a session of its own, which must be created
 * first.
 */
function startSeconds(
  pair: DevicePair,
  { decode }: LoweredPlan,
  { decisionSeconds, loadBytes }: CompileInput,
): number {
  if (loadBytes <= 0) return decisionSeconds
  const sessions = decode.steps.filter((step) => step.kind === 'run' && step.side === EDGE).length
  return decisionSeconds + (sessions * pair.edgeSegmentSeconds + loadBytes / pair.edgeLoadBytesPerSecond)
}

/**
 * Prices one pass: each run and each message is one stage. A run costs the dispatch of its side besides its blocks; one
 * that waits for a message must also wake its core, as must a pass's first run after a pause.
 */
class PassPrice {
  private readonly pair: DevicePair
  private readonly plan: Plan
  private readonly pass: LoweredPass
  /** 0 in a decode pass. */
  private readonly promptTokens: number
  private readonly tokens: number
  private readonly startSeconds: number
  private readonly catchUpSeconds: number
  private readonly calls: CallCosts
  private readonly stages: Stage[] = []
  /** The stage with which each step is complete. */
  private readonly stageOf: number[] = []

  /** `startSeconds`: before the first run. `catchUpSeconds`: of the cloud's run, for earlier tokens. */
  constructor(
    pair: DevicePair,
    plan: Plan,
    pass: LoweredPass,
    promptTokens: number,
    startSeconds = 0,
    catchUpSeconds = 0,
  ) {
    this.pair = pair
    this.plan = plan
    this.pass = pass
    this.promptTokens = promptTokens
    this.tokens = Math.max(1, promptTokens)
    this.startSeconds = startSeconds
    this.catchUpSeconds = catchUpSeconds
    this.calls = callCosts(pair)
  }

  list(): StageList {
    const { steps, loop, deliver } = this.pass
    const isEdgeFirst = steps[0].kind === 'run' && steps[0].side === EDGE
    // If the edge does not compute first, its preparation is a stage of its own.
    if (this.startSeconds > 0 && !isEdgeFirst) {
      this.stages.push(computeStage(EDGE, this.startSeconds, null, []))
    }
    for (const step of steps) {
      if (step.kind === 'sample') {
        this.stageOf.push(this.stageOf[step.after[0]])
        continue
      }
      const after = this.stagesBefore(step.after)
      const stage = step.kind === 'run' ? this.run(step, after) : this.send(step, after)
      this.stageOf.push(this.stages.push(stage) - 1)
    }
    return { stages: this.stages, loop: this.stageOf[loop], deliver: this.stageOf[deliver] }
  }

  private stagesBefore(steps: readonly number[]): readonly number[] {
    // A step without predecessors waits for the preparation, if that is a stage.
    if (steps.length === 0) return this.stageOf.length === 0 && this.stages.length > 0 ? [0] : steps
    let isSame = true
    for (const step of steps) isSame &&= this.stageOf[step] === step
    return isSame ? steps : steps.map((step) => this.stageOf[step])
  }

  private send(step: SendStep, after: readonly number[]): Stage {
    const { pair, tokens } = this
    const resource = step.from === EDGE ? RESOURCE.up : RESOURCE.down
    const bytes = messageBytes(pair.network, pair.model, step, tokens)
    const isOneId = step.carries === 'token' || (step.carries === 'ids' && this.promptTokens === 0)
    return { resource, after, seconds: 0, curve: null, bytes, express: isOneId }
  }

  private run(step: RunStep, after: readonly number[]): Stage {
    const { side, subgraph } = step
    const call = this.calls.dispatch[side] + (this.isPaused(after) ? this.calls.wake[side] : 0)
    const start = this.stages.length === 0 && side === EDGE ? this.startSeconds : 0
    const costs = device(this.pair, side)
    const sum = new RunSum(costs, start + call, this.tokens, this.promptTokens)
    if (this.plan.exit === null) sum.addParts(subgraph)
    else sum.addExit(subgraph, pairUnits(this.pair), this.catchUpSeconds)
    return computeStage(side, sum.seconds, sum.curve, after)
  }

  private isPaused(after: readonly number[]): boolean {
    if (after.length === 0) return this.pass.beginsAfterPause
    for (const stage of after) if (isTransfer(this.stages[stage])) return true
    return false
  }
}

/** Sums one run: fixed seconds, and a curve over the context for attention in decode. */
class RunSum {
  seconds: number
  curve: Float64Array | null = null
  private readonly costs: BlockCosts
  private readonly tokens: number
  private readonly promptTokens: number
  /** True if the curve belongs to this run and may be modified; otherwise it is the profile's. */
  private ownsCurve = false

  constructor(costs: BlockCosts, seconds: number, tokens: number, promptTokens: number) {
    this.costs = costs
    this.seconds = seconds
    this.tokens = tokens
    this.promptTokens = promptTokens
  }

  addParts({ parts }: Subgraph): void {
    const { costs, tokens, promptTokens } = this
    for (const part of parts) {
      if (part.kind === 'attention') {
        const units = part.units.length
        // Without units only the output bias is left, which takes no time.
        if (units === 0) continue
        if (promptTokens === 0) this.addCurve(costs.attentionDecodeCurve(units))
        else this.seconds += costs.attentionPrefillSeconds(promptTokens, units)
      } else if (part.kind === 'ffn') this.seconds += costs.ffnSeconds(part.part, tokens)
      else if (part.kind === 'embed') this.seconds += costs.embedSeconds(tokens)
      else this.seconds += costs.headSeconds()
    }
  }

  /**
   * The run of an early exit, whose layers are whole and equal: embedding, layers and exit head below it, or layers and
   * lm_head above it. The prompt's pass runs the lm_head, too, though none of its logits is sampled: a pass has one
   * session.
   */
  addExit({ parts }: Subgraph, units: number, catchUpSeconds: number): void {
    const { costs, tokens, promptTokens } = this
    const layers = parts.filter(({ kind }) => kind === 'attention').length
    const work = layersWork(costs, layers, promptTokens, units)
    const isBelow = parts[0].kind === 'embed'
    if (isBelow) this.seconds += work.seconds + (costs.embedSeconds(tokens) + costs.headSeconds())
    else this.seconds += work.seconds + catchUpSeconds + costs.headSeconds()
    this.curve = work.curve
  }

  private addCurve(curve: Float64Array): void {
    if (this.curve === null) {
      this.curve = curve
      return
    }
    if (!this.ownsCurve) this.curve = this.curve.slice()
    this.ownsCurve = true
    for (let i = 0; i < curve.length; i++) this.curve[i] += curve[i]
  }
}

function computeStage(
  side: Side,
  seconds: number,
  curve: Float64Array | null,
  after: readonly number[],
): Stage {
  const resource = side === EDGE ? RESOURCE.edge : RESOURCE.cloud
  return { resource, after, seconds, curve, bytes: 0, express: false }
}

/** Profiled seconds of a subgraph over `tokens` tokens of a prompt, without its call. */
export function promptSeconds(costs: BlockCosts, subgraph: Subgraph, tokens: number): number {
  const sum = new RunSum(costs, 0, tokens, tokens)
  sum.addParts(subgraph)
  return sum.seconds
}

/** Cloud seconds that one more token adds to a pass through the layers above an exit. */
export function upperMarginalSeconds(pair: DevicePair, exitLayer: number): number {
  const many = Math.min(128, pair.model.contextTokens)
  const upper = pair.model.layers - exitLayer
  const pass = (tokens: number): number => layersWork(pair.cloud, upper, tokens, pairUnits(pair)).seconds
  return Math.max(0, (pass(many) - pass(1)) / (many - 1))
}

/** Whole layers, all equal, so one is multiplied. */
function layersWork(
  costs: BlockCosts,
  layers: number,
  promptTokens: number,
  units: number,
): { seconds: number; curve: Float64Array | null } {
  if (promptTokens > 0) {
    const layer = costs.attentionPrefillSeconds(promptTokens, units) + costs.ffnSeconds('whole', promptTokens)
    return { seconds: layers * layer, curve: null }
  }
  return {
    seconds: layers * costs.ffnSeconds('whole', 1),
    curve: costs.attentionDecodeCurve(units).map((seconds) => layers * seconds),
  }
}

function device(pair: DevicePair, side: Side): BlockCosts {
  return side === EDGE ? pair.edge : pair.cloud
}

function checkShape(pair: DevicePair, plan: Plan): void {
  const { layers } = pair.model
  if (plan.unitsOnCloud.length !== layers || plan.ffn.length !== layers) {
    throw new RangeError(
      `plan: expected ${layers} layers, found ${plan.unitsOnCloud.length} and ${plan.ffn.length}`,
    )
  }
  if (plan.layerBits !== undefined && (plan.layerBits.length !== layers || plan.exit !== null)) {
    throw new RangeError(
      `plan: expected bits of ${layers} layers and no early exit, found ${plan.layerBits.length} and ${plan.exit === null ? 'none' : 'one'}`,
    )
  }
  const units = pairUnits(pair)
  for (let layer = 0; layer < layers; layer++) {
    if (plan.unitsOnCloud[layer] > units || plan.ffn[layer] > 2) {
      throw new RangeError(
        `plan: layer ${layer}: expected units 0..${units} and FFN mode 0..2, found ${plan.unitsOnCloud[layer]} and ${plan.ffn[layer]}`,
      )
    }
  }
}
