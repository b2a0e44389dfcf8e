import type { Subgraph, SubgraphPart } from '../../model/graphs/subgraphTypes.ts'
import { attentionUnits, type ModelSpec } from '../../model/spec.ts'
import type { EarlyExit } from '../../plan/plan.ts'
import { FLAG } from '../wire/types.ts'
import type { Activations } from './subgraphRunner.ts'
import { confidence } from './sampling.ts'
import { tensorFrame, tensorOf, tokenFrame, tokenOf } from './frames.ts'
import type { SampledToken } from './frames.ts'
import { recordReceipt, recordRun, sampled, sendFrame, startOf } from './executePlan.ts'
import type { ExecutionContext } from './executePlan.ts'

/** Steps of an early exit, as frames name them. */
export const UPLOAD = 0
const ANSWER = 1

/** Embedding, the first layers and the exit's head. */
export function belowExit(model: ModelSpec, exit: EarlyExit): Subgraph {
  const parts = layersOf(model, 0, exit.layer)
  return { input: 'ids', parts: [{ kind: 'embed' }, ...parts, { kind: 'exit', layer: exit.layer }] }
}

/** The layers above the exit and the model's head. */
export function aboveExit(model: ModelSpec, exit: EarlyExit): Subgraph {
  return { input: 'x', parts: [...layersOf(model, exit.layer, model.layers), { kind: 'head' }] }
}

export function layersOf(model: ModelSpec, from: number, to: number): SubgraphPart[] {
  const units = Array.from({ length: attentionUnits(model) }, (_, unit) => unit)
  return Array.from({ length: to - from }, (_, i): SubgraphPart[] => [
    { kind: 'attention', layer: from + i, units, residual: true },
    { kind: 'ffn', layer: from + i, part: 'whole' },
  ]).flat()
}

/**
 * The edge of CE-CoLLM (arXiv 2411.02829). Standalone: every token leaves at the exit. Collaborative: hidden states
 * go up beside the edge's work; a token whose confidence reaches the threshold leaves here, another is asked for.
 */
export async function executeExitOnEdge(w: ExecutionContext, exit: EarlyExit): Promise<void> {
  const segment = belowExit(w.model, exit)
  let { ids, position } = startOf(w)
  for (let rows = position === 0 ? w.promptTokens : 1; ; rows = 1) {
    const result = await w.runner.run({ segment, caches: w.caches, values: { ids }, position, rows })
    recordRun(w, result, 0, position, rows)
    const { x, logits } = result.values
    const asks = exit.mode === 'collaborative' && confidence(logits!) < exit.threshold
    if (exit.mode === 'collaborative') upload(w, x!, rows, position, asks)
    const token = asks ? await answer(w, position + rows) : sampled(w, logits!, position + rows)
    w.onToken(token)
    if (token.last) return
    ids = [token.id]
    position += rows
  }
}

/** The hidden states, and with them, as a flag, the question for the token that follows. */
function upload(w: ExecutionContext, x: Float32Array, rows: number, position: number, asks: boolean): void {
  const frame = tensorFrame(x, rows, w.boundaryBits, UPLOAD, position)
  sendFrame(w, asks ? { ...frame, flags: FLAG.ask } : frame, UPLOAD)
}

async function answer(w: ExecutionContext, position: number): Promise<SampledToken> {
  const askedSeconds = w.clock.nowSeconds()
  const { frame, atSeconds } = await w.peer.take(position, ANSWER)
  recordReceipt(w, frame, ANSWER, askedSeconds, atSeconds)
  return tokenOf(w.model, frame)
}

/** Hidden states that the layers above have not seen yet. */
interface Backlog {
  rows: Float32Array[]
  position: number
  count: number
}

/**
 * The cloud of CE-CoLLM: takes the prompt's hidden states through the upper layers at once, and those of further
 * tokens when it is asked: all that came meanwhile in one chunk on top of its cache. Ends when the peer closes.
 */
export async function executeExitOnCloud(w: ExecutionContext, exit: EarlyExit): Promise<void> {
  const segment = aboveExit(w.model, exit)
  const backlog: Backlog = { rows: [], position: 0, count: 0 }
  let logits: Float32Array | undefined
  for (let position = 0, rows = w.promptTokens; ; position += rows, rows = 1) {
    const asked = await takeHiddenStates(w, position, rows, backlog)
    if (position === 0 || asked) logits = await catchUp(w, segment, backlog)
    if (asked) sendFrame(w, tokenFrame(sampled(w, logits!, position + rows), ANSWER), ANSWER)
  }
}

/** Adds the next rows to the backlog; true where the token after them is asked for. */
async function takeHiddenStates(
  w: ExecutionContext,
  position: number,
  rows: number,
  backlog: Backlog,
): Promise<boolean> {
  const askedSeconds = w.clock.nowSeconds()
  const { frame, atSeconds } = await w.peer.take(position, UPLOAD)
  recordReceipt(w, frame, UPLOAD, askedSeconds, atSeconds)
  backlog.rows.push(tensorOf(frame, rows, w.model.width, w.boundaryBits))
  backlog.count += rows
  return (frame.flags & FLAG.ask) !== 0
}

async function catchUp(w: ExecutionContext, segment: Subgraph, backlog: Backlog): Promise<Float32Array> {
  const { position, count } = backlog
  const x = new Float32Array(count * w.model.width)
  let at = 0
  for (const part of backlog.rows) {
    x.set(part, at)
    at += part.length
  }
  Object.assign(backlog, { rows: [], position: position + count, count: 0 })
  const values: Activations = { x }
  const result = await w.runner.run({ segment, caches: w.caches, values, position, rows: count })
  recordRun(w, result, ANSWER, position, count)
  return result.values.logits!
}
