import type { Clock } from '../../core/clock.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { sideSteps, type LoweredPlan, type RunStep, type SendStep, type SideStep } from '../../plan/lower.ts'
import type { BoundaryBits, Side } from '../../plan/plan.ts'
import { frameBytes } from '../wire/forwarded.ts'
import { idsFrame } from '../wire/payloads.ts'
import type { Frame } from '../wire/types.ts'
import type { RequestKvCache } from './kvCache.ts'
import { boundaryFrame, boundaryOf, idsOf, tokenFrame, tokenOf } from './frames.ts'
import type { Message, SampledToken } from './frames.ts'
import type { ReceivedMessage } from './receiveBuffer.ts'
import { eventOf, NO_RECORD, type EventRecorder } from './record.ts'
import type { SubgraphRunResult, SubgraphRunner, Activations } from './subgraphRunner.ts'
import { sampleToken } from './sampling.ts'
import type { SamplingParams } from './types.ts'

/** One request's channel to the other side. */
export interface PeerChannel {
  /** Sends one message of this request. */
  send(frame: Message): void
  take(position: number, step: number): Promise<ReceivedMessage>
}

/** What the execution of a request needs, on either side. */
export interface ExecutionContext {
  readonly side: Side
  readonly model: ModelSpec
  readonly runner: SubgraphRunner
  readonly caches: RequestKvCache
  readonly clock: Clock
  readonly peer: PeerChannel
  readonly promptTokens: number
  /** On the edge only; the cloud is sent what it needs of the prompt. */
  readonly prompt: readonly number[]
  readonly maxNewTokens: number
  readonly sampling: SamplingParams
  readonly stopIds: readonly number[]
  readonly boundaryBits: BoundaryBits
  /**
   * Set if the caches hold everything before `position`: the first pass runs these ids. Absent: the first pass runs the
   * prompt.
   */
  readonly start?: { readonly position: number; readonly ids: readonly number[] }
  readonly record: EventRecorder
  /** Called with tokens as they become known on this side. */
  readonly onToken: (token: SampledToken) => void
}

/** State of a pass. Once only the last row was sent, the rest of the pass handles that row alone. */
interface ForwardPass {
  position: number
  rows: number
  readonly values: Activations
  token: SampledToken | null
}

/**
 * Carries out one side's steps of a lowered plan, pass by pass, until the request's last token. Where the sampler is on
 * the other side and the tokens do not come here, it ends when the peer closes the request (take() rejects).
 */
export async function executePlan(
  context: ExecutionContext,
  { prefill, decode }: LoweredPlan,
): Promise<void> {
  const first = sideSteps(prefill, context.side)
  const further = sideSteps(decode, context.side)
  let { ids, position } = startOf(context)
  for (let rows = position === 0 ? context.promptTokens : 1; ; rows = 1) {
    const pass: ForwardPass = { position, rows, values: { ids }, token: null }
    for (const step of position === 0 ? first : further) await doStep(context, pass, step)
    if (pass.token?.last === true) return
    position += rows
    ids = pass.token === null ? [] : [pass.token.id]
  }
}

/** Ids and position of the first pass. */
export function startOf({ start, prompt }: ExecutionContext): { ids: readonly number[]; position: number } {
  return { ids: start?.ids ?? prompt, position: start?.position ?? 0 }
}

async function doStep(context: ExecutionContext, pass: ForwardPass, step: SideStep): Promise<void> {
  if (step.kind === 'run') await compute(context, pass, step)
  else if (step.kind === 'sample') sample(context, pass)
  else if (step.kind === 'send') sendFrame(context, frameOf(context, pass, step), step.number)
  else await receive(context, pass, step.message)
}

async function compute(context: ExecutionContext, pass: ForwardPass, step: RunStep): Promise<void> {
  const { position, rows, values } = pass
  Object.assign(values, await runStep(context, step, values, position, rows))
}

/** Runs a step's subgraph on rows from `position` on, and records it. */
export async function runStep(
  context: ExecutionContext,
  { subgraph, number }: RunStep,
  values: Activations,
  position: number,
  rows: number,
): Promise<Activations> {
  const result = await context.runner.run({ subgraph, caches: context.caches, values, position, rows })
  recordRun(context, result, number, position, rows)
  return result.values
}

function sample(context: ExecutionContext, pass: ForwardPass): void {
  const { position, rows, values } = pass
  const logits = values.logits!
  delete values.logits
  deliver(context, pass, sampled(context, logits, position + rows))
}

/** Records the events of one run. */
export function recordRun(
  context: ExecutionContext,
  result: SubgraphRunResult,
  step: number,
  position: number,
  rows: number,
): void {
  if (context.record === NO_RECORD) return
  const { askedSeconds, startSeconds, endSeconds, batch, load } = result
  const common = { side: context.side, step, position, tokens: rows, bytes: 0, batch } as const
  if (load !== null) context.record(eventOf('load', { ...common, askedSeconds, ...load }))
  context.record(eventOf('compute', { ...common, askedSeconds, startSeconds, endSeconds }))
}

/** Samples the token at `position` from its logits. */
export function sampled(context: ExecutionContext, logits: Float32Array, position: number): SampledToken {
  const { id, nearTie } = sampleToken(logits, context.sampling, position)
  const last = position - context.promptTokens + 1 === context.maxNewTokens || context.stopIds.includes(id)
  return { id, position, nearTie, last }
}

function deliver(context: ExecutionContext, pass: ForwardPass, token: SampledToken): void {
  pass.token = token
  context.onToken(token)
}

/** Sends a frame and records it. */
export function sendFrame(context: ExecutionContext, frame: Message, step: number): void {
  const askedSeconds = context.clock.nowSeconds()
  context.peer.send(frame)
  recordMessage(context, 'send', frame, step, askedSeconds, context.clock.nowSeconds())
}

/** Waits for the frame of a step and records it. */
export async function takeFrame(context: ExecutionContext, position: number, step: number): Promise<Frame> {
  const askedSeconds = context.clock.nowSeconds()
  const { frame, atSeconds } = await context.peer.take(position, step)
  recordMessage(context, 'receive', frame, step, askedSeconds, atSeconds)
  return frame
}

function recordMessage(
  context: ExecutionContext,
  kind: 'send' | 'receive',
  frame: Message,
  step: number,
  askedSeconds: number,
  endSeconds: number,
): void {
  context.record(
    eventOf(kind, {
      side: context.side,
      step,
      position: frame.position,
      tokens: frame.count,
      batch: 1,
      bytes: frameBytes(frame),
      askedSeconds,
      startSeconds: askedSeconds,
      endSeconds,
    }),
  )
}

function frameOf(context: ExecutionContext, pass: ForwardPass, step: SendStep): Message {
  const { position, rows, values } = pass
  if (step.carries === 'token') return tokenFrame(pass.token!, step.number)
  if (step.carries === 'ids') return idsFrame(values.ids ?? [], { step: step.number, position })
  return boundaryFrame(context.model, step, values, rows, position)
}

async function receive(context: ExecutionContext, pass: ForwardPass, step: SendStep): Promise<void> {
  const { values, rows } = pass
  const first =
    step.carries === 'token' ? pass.position + rows : pass.position + (step.lastRow ? rows - 1 : 0)
  const frame = await takeFrame(context, first, step.number)
  if (step.carries === 'token') deliver(context, pass, tokenOf(context.model, frame))
  else if (step.carries === 'ids') values.ids = idsOf(context.model, frame, rows)
  else Object.assign(values, boundaryOf(context.model, step, frame, step.lastRow ? 1 : rows))
  if (step.lastRow) Object.assign(pass, { position: first, rows: 1 })
}
