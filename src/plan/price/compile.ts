import type { BlockCosts } from '../profile/costs.ts'
import { boundaryBytes, tokenIdBytes } from './boundary.ts'
import {
  bitsOfLayer,
  CLOUD,
  EDGE,
  sideAfterFfn,
  sideOfFfnInput,
  type EarlyExit,
  type Plan,
  type Side,
} from '../plan.ts'
import { edgeMemory } from './memory.ts'
import { callCosts, pairUnits, type DevicePair } from './pair.ts'
import { RESOURCE, type Program, type StageList } from './program.ts'
import { exitEntryOf } from '../profile/accuracy.ts'
import { planAccuracyLoss } from './loss.ts'
import { StageBuilder, type ComputeWork } from './stages.ts'

/** What the program of a plan depends on besides the plan. */
export interface CompileInput {
  readonly promptTokens: number
  /** Weights to be loaded from storage first; if any are, the sessions of the plan are made with them. */
  readonly loadBytes: number
  /** The policy's own run time. */
  readonly decisionSeconds: number
}

/** Compiles a plan for one request. Throws RangeError if the plan does not have this model's shape. */
export function compileProgram(pair: DevicePair, plan: Plan, input: CompileInput): Program {
  checkShape(pair, plan)
  const lists = plan.exit === null ? splitLists(pair, plan, input) : exitLists(pair, plan, plan.exit, input)
  const memory = edgeMemory(pair, plan)
  return {
    ...lists,
    edgeKnots: pair.edge.contextKnots,
    cloudKnots: pair.cloud.contextKnots,
    accuracyLoss: planAccuracyLoss(pair.accuracy, pairUnits(pair), plan),
    edgeWeightBytes: memory.weightBytes,
    edgeKvBytesPerToken: memory.kvBytesPerToken,
  }
}

type Lists = Pick<Program, 'prefill' | 'cycles' | 'askShare'>

function splitLists(pair: DevicePair, plan: Plan, input: CompileInput): Lists {
  const cycle = tokenPass(pair, plan, 0, 0)
  const start = startSeconds(pair, edgeCalls(cycle), input)
  return { prefill: tokenPass(pair, plan, input.promptTokens, start), cycles: [cycle], askShare: 0 }
}

/** Decision and loading. `segments`: sessions that the plan needs on the edge. */
function startSeconds(
  pair: DevicePair,
  segments: number,
  { decisionSeconds, loadBytes }: CompileInput,
): number {
  if (loadBytes <= 0) return decisionSeconds
  return decisionSeconds + (segments * pair.edgeSegmentSeconds + loadBytes / pair.edgeLoadBytesPerSecond)
}

/** Calls of edge sessions in one decode cycle: each is of a session of its own, which serves the prompt too. */
function edgeCalls({ stages }: StageList): number {
  return stages.filter(({ resource }) => resource === RESOURCE.edge).length
}

/** One pass through all layers: the prompt's (`prompt` > 0 tokens) or one token's of the decode cycle (`prompt` = 0). */
function tokenPass(pair: DevicePair, plan: Plan, prompt: number, edgeStartSeconds: number): StageList {
  const { model, network } = pair
  const decode = prompt === 0
  const tokens = decode ? 1 : prompt
  // A further token begins with a pause where it comes over the network.
  const build = new StageBuilder(callCosts(pair), !decode || plan.embed !== plan.head)
  if (edgeStartSeconds > 0) build.prepare(EDGE, edgeStartSeconds)
  if (plan.embed === CLOUD) {
    // In decode a cloud-side sampler already has the token; an edge-side one sends its id up.
    if (!decode) build.transfer(EDGE, tokenIdBytes(network, tokens))
    else if (plan.head === EDGE) build.transfer(EDGE, tokenIdBytes(network, 1), true)
  }
  build.compute(plan.embed, device(pair, plan.embed).embedSeconds(tokens), null)
  let side: Side = plan.embed
  for (let layer = 0; layer < model.layers; layer++) {
    const bits = bitsOfLayer(plan, layer)
    const bytes = boundaryBytes(network, tokens, model.width, bits)
    attention(pair, build, side, plan.unitsOnCloud[layer], sideOfFfnInput(plan.ffn[layer]), prompt, bytes)
    feedForward(pair, build, plan.ffn[layer], tokens, bits)
    side = sideAfterFfn(plan.ffn[layer])
  }
  // The LM head needs the last position only.
  if (side !== plan.head) build.transfer(side, boundaryBytes(network, 1, model.width, plan.boundaryBits))
  build.compute(plan.head, device(pair, plan.head).headSeconds(), null)
  return closePass(pair, plan, build)
}

function closePass(pair: DevicePair, plan: Plan, build: StageBuilder): StageList {
  const sampled = build.last()
  if (plan.head === EDGE) return build.finish(sampled, sampled)
  const delivered = build.aside(CLOUD, tokenIdBytes(pair.network, 1), true)
  return build.finish(plan.embed === CLOUD ? sampled : delivered, delivered)
}

function attention(
  pair: DevicePair,
  build: StageBuilder,
  side: Side,
  onCloud: number,
  sumAt: Side,
  prompt: number,
  bytes: number,
): void {
  const units = pairUnits(pair)
  const far: Side = side === EDGE ? CLOUD : EDGE
  const nearUnits = side === EDGE ? units - onCloud : onCloud
  const farUnits = units - nearUnits
  if (nearUnits > 0 && farUnits > 0) {
    build.fork(
      side,
      attentionWork(pair, side, nearUnits, prompt),
      attentionWork(pair, far, farUnits, prompt),
      bytes,
      sumAt,
    )
    return
  }
  const at = farUnits > 0 ? far : side
  if (at !== side) build.transfer(side, bytes)
  const work = attentionWork(pair, at, units, prompt)
  build.compute(at, work.seconds, work.curve)
  if (at !== sumAt) build.transfer(at, bytes)
}

function attentionWork(pair: DevicePair, side: Side, units: number, prompt: number): ComputeWork {
  const costs = device(pair, side)
  return prompt === 0
    ? { seconds: 0, curve: costs.attentionDecodeCurve(units) }
    : { seconds: costs.attentionPrefillSeconds(prompt, units), curve: null }
}

function feedForward(
  pair: DevicePair,
  build: StageBuilder,
  mode: number,
  tokens: number,
  bits: number,
): void {
  if (mode !== 2) {
    const side: Side = mode === 0 ? EDGE : CLOUD
    build.compute(side, device(pair, side).ffnSeconds('whole', tokens), null)
    return
  }
  build.compute(EDGE, pair.edge.ffnSeconds('first', tokens), null)
  // The inner activations travel with the residual.
  build.transfer(EDGE, boundaryBytes(pair.network, tokens, pair.model.ffnWidth + pair.model.width, bits))
  build.compute(CLOUD, pair.cloud.ffnSeconds('second', tokens), null)
}

/** CE-CoLLM: the first layers and an exit head on the edge; the rest in the cloud, asked for some tokens or never. */
function exitLists(pair: DevicePair, plan: Plan, exit: EarlyExit, input: CompileInput): Lists {
  const below = (prompt: number): ComputeWork => exitWork(pair, exit.layer, prompt)
  const first = below(input.promptTokens)
  const calls = callCosts(pair)
  const prefill = new StageBuilder(calls, true)
  prefill.prepare(EDGE, startSeconds(pair, 1, input))
  prefill.compute(EDGE, first.seconds, null)
  const cycle = new StageBuilder(calls, false)
  const step = below(0)
  cycle.compute(EDGE, step.seconds, step.curve)
  const left = cycle.last()
  const ready = prefill.last()
  if (exit.mode === 'standalone') {
    return { prefill: prefill.finish(ready, ready), cycles: [cycle.finish(left, left)], askShare: 0 }
  }
  const askShare = 1 - exitEntryOf(pair.accuracy, exit.layer, exit.threshold).leaveShare.value
  upload(pair, prefill, input.promptTokens, plan.boundaryBits)
  prefill.compute(CLOUD, upperSeconds(pair, exit.layer, input.promptTokens).seconds, null)
  upload(pair, cycle, 1, plan.boundaryBits)
  const lists = { prefill: prefill.finish(ready, ready), cycles: [cycle.finish(left, left)], askShare }
  return askShare === 0
    ? lists
    : { ...lists, cycles: [lists.cycles[0], askCycle(pair, plan, exit, askShare)] }
}

function upload(pair: DevicePair, build: StageBuilder, tokens: number, bits: number): void {
  build.transfer(EDGE, boundaryBytes(pair.network, tokens, pair.model.width, bits))
}

/** A token asked of the cloud: its hidden state goes up, the cloud catches up on the tokens since the last ask, an id comes back. */
function askCycle(pair: DevicePair, plan: Plan, exit: EarlyExit, askShare: number): StageList {
  // The edge waits once for each answer; it is charged with the question.
  const build = new StageBuilder(callCosts(pair), true)
  const step = exitWork(pair, exit.layer, 0)
  build.compute(EDGE, step.seconds, step.curve)
  upload(pair, build, 1, plan.boundaryBits)
  const upper = upperSeconds(pair, exit.layer, 0)
  const catchUp = (1 / askShare - 1) * upperMarginalSeconds(pair, exit.layer)
  build.compute(CLOUD, upper.seconds + catchUp + pair.cloud.headSeconds(), upper.curve)
  build.transfer(CLOUD, tokenIdBytes(pair.network, 1), true)
  const answered = build.last()
  return build.finish(answered, answered)
}

/** Edge work of the embedding, the first `layers` layers and the exit head. */
function exitWork(pair: DevicePair, layers: number, prompt: number): ComputeWork {
  const work = layersWork(pair.edge, layers, prompt, pairUnits(pair))
  const fixed = pair.edge.embedSeconds(Math.max(1, prompt)) + pair.edge.headSeconds()
  return { seconds: work.seconds + fixed, curve: work.curve }
}

/** Cloud work of the layers above an exit. */
function upperSeconds(pair: DevicePair, exitLayer: number, prompt: number): ComputeWork {
  return layersWork(pair.cloud, pair.model.layers - exitLayer, prompt, pairUnits(pair))
}

/** Cloud seconds that one more token adds to a pass through the layers above an exit. */
export function upperMarginalSeconds(pair: DevicePair, exitLayer: number): number {
  const many = Math.min(128, pair.model.contextTokens)
  const pass = (tokens: number): number => upperSeconds(pair, exitLayer, tokens).seconds
  return Math.max(0, (pass(many) - pass(1)) / (many - 1))
}

function layersWork(costs: BlockCosts, layers: number, prompt: number, units: number): ComputeWork {
  if (prompt > 0) {
    return {
      seconds: layers * (costs.attentionPrefillSeconds(prompt, units) + costs.ffnSeconds('whole', prompt)),
      curve: null,
    }
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
