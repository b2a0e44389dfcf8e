import { latencySeconds } from './network.ts'
import type { LinkState } from './boundary.ts'
import { compileProgram } from './compile.ts'
import { evaluateProgram } from './evaluate.ts'
import { DEFAULT_OBJECTIVE } from './objective.ts'
import { callCosts, pairUnits, type DevicePair } from './pair.ts'
import { CLOUD, EDGE, samePlan, needsCloud, type Plan } from '../plan.ts'
import { RESOURCE, askedOfCloud, curveAt, type Program, type StageList } from './program.ts'
import { slowProgram } from './program.ts'

/**
 * How a request's keys and values are restored.
 * `replay`: under the same plan, from the boundary tensors that the edge kept; the cloud runs the prompt and every
 * token again.
 * `boundary`: the edge fills the caches of the layers above its cut from the tensors that it kept, in one chunk.
 * `ids`: a prefill of all tokens so far under the new plan.
 */
const KV_REBUILDS = ['replay', 'boundary', 'ids'] as const
/** One way of restoring keys and values. */
export type KvRebuild = (typeof KV_REBUILDS)[number]

/** A request whose keys and values are lost, or of no use to the plan that continues it. */
export interface KvRebuildInput {
  readonly pair: DevicePair
  readonly link: LinkState
  /** The plan that produced the tokens so far, and the one that continues. */
  readonly from: Plan
  readonly to: Plan
  /** Length of the prompt, without generated tokens. */
  readonly promptTokens: number
  readonly deliveredTokens: number
  /** Measured over profiled time of each side. */
  readonly edgeSlowdown: number
  readonly cloudSlowdown: number
  /** Weights of the new plan that must be read from storage first. */
  readonly loadBytes: number
}

/**
 * Seconds until the next token is delivered: the rebuild, and that token's own pass. Null if the plans do not allow
 * this way; Infinity if it needs a link that is out.
 */
export function kvRebuildSeconds(input: KvRebuildInput, way: KvRebuild): number | null {
  if (way === 'ids') return prefillSeconds(input)
  // No token yet, so no kept tensor is known to be complete: the prompt starts again.
  if (input.deliveredTokens === 0) return null
  return way === 'replay' ? replaySeconds(input) : boundarySeconds(input)
}

/** The fastest of `ways`; null if none is possible with these plans and this link. */
export function cheapestKvRebuild(
  input: KvRebuildInput,
  ways: readonly KvRebuild[] = KV_REBUILDS,
): { readonly way: KvRebuild; readonly seconds: number } | null {
  let best: { way: KvRebuild; seconds: number } | null = null
  for (const way of ways) {
    const seconds = kvRebuildSeconds(input, way)
    if (seconds !== null && seconds < (best?.seconds ?? Infinity)) best = { way, seconds }
  }
  return best
}

/**
 * The program for a request that continues with its caches: its first token comes from an ordinary cycle, after
 * `contextTokens` tokens (prompt and generated).
 */
export function goOnProgram(pair: DevicePair, plan: Plan, contextTokens: number): Program {
  const program = compileProgram(pair, plan, {
    promptTokens: contextTokens,
    loadBytes: 0,
    decisionSeconds: 0,
  })
  const asked = program.cycles.length > 1 && program.askShare >= 0.5 ? 1 : 0
  return { ...program, prefill: atContext(program, program.cycles[asked], contextTokens) }
}

/** A decode cycle with its curves evaluated at one context. */
function atContext(program: Program, list: StageList, context: number): StageList {
  const stages = list.stages.map((stage) => {
    if (stage.curve === null) return stage
    const knots = stage.resource === RESOURCE.edge ? program.edgeKnots : program.cloudKnots
    return { ...stage, seconds: stage.seconds + curveAt(knots, stage.curve, context), curve: null }
  })
  return { ...list, stages }
}

function slowed(program: Program, { edgeSlowdown, cloudSlowdown }: KvRebuildInput): Program {
  return slowProgram(program, edgeSlowdown, cloudSlowdown)
}

/** Seconds until a program's first token, with the link to itself. */
function firstTokenSeconds(program: Program, { pair, link }: KvRebuildInput): number {
  return evaluateProgram(program, {
    pair,
    link,
    promptTokens: 0,
    outputTokens: 1,
    objective: DEFAULT_OBJECTIVE,
    readingTokensPerSecond: 1,
  }).ttftSeconds
}

function prefillSeconds(input: KvRebuildInput): number {
  const promptTokens = input.promptTokens + input.deliveredTokens
  const { loadBytes } = input
  const program = compileProgram(input.pair, input.to, { promptTokens, loadBytes, decisionSeconds: 0 })
  return firstTokenSeconds(slowed(program, input), input)
}

function nextTokenSeconds(input: KvRebuildInput): number {
  const context = input.promptTokens + input.deliveredTokens
  return firstTokenSeconds(slowed(goOnProgram(input.pair, input.to, context), input), input)
}

/**
 * Kept messages go up back to back, and the cloud processes them as they arrive: two servers in a row. What the cloud
 * sends down meanwhile is dropped, and uses the other direction only.
 */
function replaySeconds(input: KvRebuildInput): number | null {
  const { pair, from, to, promptTokens, deliveredTokens } = input
  if (!samePlan(from, to) || !needsCloud(to)) return null
  const compiled = compileProgram(pair, to, { promptTokens, loadBytes: 0, decisionSeconds: 0 })
  const program = slowed(compiled, input)
  const line = new ReplayLine(input, program)
  line.pass(program.prefill, promptTokens)
  for (let token = 2; token <= deliveredTokens; token++) {
    const asked = askedOfCloud(program.askShare, token) ? program.cycles.length - 1 : 0
    line.pass(program.cycles[asked], promptTokens + token - 1)
  }
  return line.cloudSeconds + nextTokenSeconds(input)
}

class ReplayLine {
  /** When the cloud has processed what it was sent. */
  cloudSeconds = 0
  private sentSeconds = 0
  private arrivedSeconds = 0
  private readonly input: KvRebuildInput
  private readonly program: Program

  constructor(input: KvRebuildInput, program: Program) {
    this.input = input
    this.program = program
  }

  pass({ stages }: StageList, context: number): void {
    const { link, pair } = this.input
    let work = 0
    for (const { resource, bytes, seconds, curve } of stages) {
      if (resource === RESOURCE.cloud) {
        work += seconds + (curve === null ? 0 : curveAt(this.program.cloudKnots, curve, context))
      } else if (resource === RESOURCE.up) {
        this.sentSeconds += (8 * bytes) / link.upBitsPerSecond
        this.arrivedSeconds = this.sentSeconds + latencySeconds(pair.network, bytes, link.rttSeconds, false)
      }
    }
    this.cloudSeconds = Math.max(this.cloudSeconds, this.arrivedSeconds) + work
  }
}

/** One chunk over all positions except the last, then the last one's ordinary pass. */
function boundarySeconds(input: KvRebuildInput): number | null {
  const { pair, from, to, promptTokens, deliveredTokens, edgeSlowdown, loadBytes } = input
  const cut = keptCut(from, pairUnits(pair))
  if (cut === null || needsCloud(to)) return null
  const top = to.exit?.layer ?? pair.model.layers
  const next = nextTokenSeconds(input)
  if (top <= cut) return next
  const rows = promptTokens + deliveredTokens - 1
  const layer = pair.edge.attentionPrefillSeconds(rows, pairUnits(pair)) + pair.edge.ffnSeconds('whole', rows)
  const { dispatch, wake } = callCosts(pair)
  const chunk = dispatch[EDGE] + wake[EDGE] + (top - cut) * layer + pair.edge.headSeconds()
  const load = loadBytes > 0 ? pair.edgeSegmentSeconds + loadBytes / pair.edgeLoadBytesPerSecond : 0
  return load + edgeSlowdown * chunk + next
}

/** The layer from which on a plan's kept boundary tensors fill the caches; null if they do not form one cut. */
export function keptCut({ embed, exit, unitsOnCloud, ffn }: Plan, units: number): number | null {
  if (exit !== null) return exit.mode === 'collaborative' ? exit.layer : null
  if (embed === CLOUD) return null
  const layers = ffn.length
  let cut = 0
  while (cut < layers && unitsOnCloud[cut] === 0 && ffn[cut] === 0) cut++
  for (let layer = cut; layer < layers; layer++) {
    if (unitsOnCloud[layer] !== units || ffn[layer] !== 1) return null
  }
  return cut === layers ? null : cut
}
