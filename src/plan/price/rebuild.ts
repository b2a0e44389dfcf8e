import type { LinkState } from './boundary.ts'
import { compileProgram, promptSeconds } from './compile.ts'
import { evaluateProgram } from './evaluate.ts'
import { DEFAULT_OBJECTIVE } from './objective.ts'
import { callCosts, type DevicePair } from './pair.ts'
import { lowerMigration } from '../lower.ts'
import { EDGE, samePlan, needsCloud, type Plan } from '../plan.ts'
import { RESOURCE, slowProgram, stageSeconds, type Program, type Stage, type StageList } from './program.ts'

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
  const stages = list.stages.map((stage) =>
    stage.curve === null ? stage : { ...stage, seconds: stageSeconds(program, stage, context), curve: null },
  )
  return { ...list, stages }
}

function slowed(program: Program, { edgeSlowdown, cloudSlowdown }: KvRebuildInput): Program {
  return slowProgram(program, edgeSlowdown, cloudSlowdown)
}

/** Seconds until a program's first token, with the link to itself. */
function firstTokenSeconds(program: Program, input: KvRebuildInput): number {
  const { ttftSeconds } = evaluateProgram(program, { ...evaluation(input), promptTokens: 0, outputTokens: 1 })
  return ttftSeconds
}

/** Only seconds are of interest. */
function evaluation({ pair, link }: KvRebuildInput) {
  return { pair, link, objective: DEFAULT_OBJECTIVE, readingTokensPerSecond: 1 }
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

/** Kept messages go up back to back, and the cloud runs each pass again as soon as it has them. */
function replaySeconds(input: KvRebuildInput): number | null {
  const { pair, from, to, promptTokens, deliveredTokens: outputTokens } = input
  if (!samePlan(from, to) || !needsCloud(to)) return null
  const program = compileProgram(pair, to, { promptTokens, loadBytes: 0, decisionSeconds: 0 })
  const again = replayProgram(slowed(program, input))
  const { e2eSeconds } = evaluateProgram(again, { ...evaluation(input), promptTokens, outputTokens })
  return e2eSeconds + nextTokenSeconds(input)
}

/** The stages of a program that a replay repeats: messages up, all there from the start on, and the cloud's runs. */
function replayProgram(program: Program): Program {
  const { prefill, cycles } = program
  return { ...program, prefill: replayList(prefill), cycles: cycles.map(replayList) }
}

/** What the edge computes and the cloud sends is left out: both are known already. */
function replayList({ stages }: StageList): StageList {
  // The next pass waits for nothing: its messages are kept, too.
  const kept: Stage[] = [
    { resource: RESOURCE.edge, after: [], seconds: 0, curve: null, bytes: 0, express: false },
  ]
  const placeOf: number[] = []
  for (const stage of stages) {
    const { resource } = stage
    const isKept = resource === RESOURCE.up || resource === RESOURCE.cloud
    const after =
      resource === RESOURCE.up ? [] : stage.after.map((i) => placeOf[i]).filter((place) => place >= 0)
    placeOf.push(isKept ? kept.push({ ...stage, after, express: false }) - 1 : -1)
  }
  return { stages: kept, loop: 0, deliver: kept.length - 1 }
}

/** The layers above the edge's over all positions except the last, in one run; then the last one's ordinary pass. */
function boundarySeconds(input: KvRebuildInput): number | null {
  const { pair, from, to, promptTokens, deliveredTokens, edgeSlowdown, loadBytes } = input
  const migration = lowerMigration(pair.model, from, to)
  if (migration === null) return null
  const { subgraph } = migration
  const load = loadBytes > 0 ? pair.edgeSegmentSeconds + loadBytes / pair.edgeLoadBytesPerSecond : 0
  const next = load + nextTokenSeconds(input)
  if (subgraph === null) return next
  const { dispatch, wake } = callCosts(pair)
  const run = promptSeconds(pair.edge, subgraph, promptTokens + deliveredTokens - 1)
  return edgeSlowdown * (dispatch[EDGE] + wake[EDGE] + run) + next
}
