import type { LoweredPlan, RunStep, SendStep } from '../../plan/lower.ts'
import { CLOUD, EDGE, type EarlyExit, type Side } from '../../plan/plan.ts'
import { FLAG } from '../wire/types.ts'
import { confidence } from './sampling.ts'
import { tensorFrame, tensorOf, tokenFrame, tokenOf } from './frames.ts'
import type { SampledToken } from './frames.ts'
import { runStep, sampled, sendFrame, startOf, takeFrame } from './executePlan.ts'
import type { ExecutionContext } from './executePlan.ts'

/**
 * The edge's part of CE-CoLLM (arXiv 2411.02829). Standalone: every token leaves at the exit. Collaborative: hidden
 * states go up while the edge continues; a token whose confidence reaches the threshold leaves here, and the cloud is
 * asked for the others.
 */
export async function executeExitOnEdge(
  context: ExecutionContext,
  exit: EarlyExit,
  lowered: LoweredPlan,
): Promise<void> {
  const below = runOf(lowered, EDGE)
  const messages = messagesOf(lowered)
  let { ids, position } = startOf(context)
  for (let rows = position === 0 ? context.promptTokens : 1; ; rows = 1) {
    const { x, logits } = await runStep(context, below, { ids }, position, rows)
    const asks = messages !== null && confidence(logits!) < exit.threshold
    if (messages !== null) sendHiddenStates(context, messages.upload, x!, rows, position, asks)
    const token = asks
      ? await receiveAnswer(context, messages.answer, position + rows)
      : sampled(context, logits!, position + rows)
    context.onToken(token)
    if (token.last) return
    ids = [token.id]
    position += rows
  }
}

/** The run of a side, which is the same in every pass. */
function runOf({ prefill }: LoweredPlan, side: Side): RunStep {
  return prefill.steps.find((step): step is RunStep => step.kind === 'run' && step.side === side)!
}

/** The messages of a token that is asked for; null where the exit asks for none. */
function messagesOf({ ask }: LoweredPlan): { upload: SendStep; answer: SendStep } | null {
  if (ask === null) return null
  const [upload, answer] = ask.steps.filter((step): step is SendStep => step.kind === 'send')
  return { upload, answer }
}

/** Sends hidden states; a flag tells the cloud whether it is asked for the token that follows. */
function sendHiddenStates(
  context: ExecutionContext,
  { number }: SendStep,
  x: Float32Array,
  rows: number,
  position: number,
  asks: boolean,
): void {
  const frame = tensorFrame(x, rows, context.boundaryBits, number, position)
  sendFrame(context, asks ? { ...frame, flags: FLAG.ask } : frame, number)
}

async function receiveAnswer(
  context: ExecutionContext,
  { number }: SendStep,
  position: number,
): Promise<SampledToken> {
  return tokenOf(context.model, await takeFrame(context, position, number))
}

/** Hidden states that the upper layers have not processed yet. */
interface Backlog {
  rows: Float32Array[]
  position: number
  count: number
}

/**
 * The cloud's part of CE-CoLLM: runs the prompt's hidden states through the upper layers immediately, and those of
 * further tokens when it is asked, in one chunk after its cache. Ends when the peer closes the request.
 */
export async function executeExitOnCloud(context: ExecutionContext, lowered: LoweredPlan): Promise<void> {
  // A cloud takes no request of a plan that never asks it.
  const { upload, answer } = messagesOf(lowered)!
  const above = runOf(lowered, CLOUD)
  const backlog: Backlog = { rows: [], position: 0, count: 0 }
  let logits: Float32Array | undefined
  for (let position = 0, rows = context.promptTokens; ; position += rows, rows = 1) {
    const asked = await takeHiddenStates(context, upload, position, rows, backlog)
    if (position === 0 || asked) logits = await catchUp(context, above, backlog)
    if (asked) {
      const token = sampled(context, logits!, position + rows)
      sendFrame(context, tokenFrame(token, answer.number), answer.number)
    }
  }
}

/** Adds the next rows to the backlog; true if the cloud is asked for the token after them. */
async function takeHiddenStates(
  context: ExecutionContext,
  { number }: SendStep,
  position: number,
  rows: number,
  backlog: Backlog,
): Promise<boolean> {
  const frame = await takeFrame(context, position, number)
  backlog.rows.push(tensorOf(frame, rows, context.model.width, context.boundaryBits))
  backlog.count += rows
  return (frame.flags & FLAG.ask) !== 0
}

async function catchUp(context: ExecutionContext, above: RunStep, backlog: Backlog): Promise<Float32Array> {
  const { position, count } = backlog
  const x = new Float32Array(count * context.model.width)
  let at = 0
  for (const part of backlog.rows) {
    x.set(part, at)
    at += part.length
  }
  Object.assign(backlog, { rows: [], position: position + count, count: 0 })
  const { logits } = await runStep(context, above, { x }, position, count)
  return logits!
}
