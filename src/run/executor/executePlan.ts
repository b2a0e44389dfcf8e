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
export async function executePlan(w: ExecutionContext, { prefill, decode }: LoweredPlan): Promise<void> {
  const first = sideSteps(prefill, w.side)
  const further = sideSteps(decode, w.side)
  let { ids, position } = startOf(w)
  for (let rows = position === 0 ? w.promptTokens : 1; ; rows = 1) {
    const pass: ForwardPass = { position, rows, values: { ids }, token: null }
    for (const step of position === 0 ? first : further) await doStep(w, pass, step)
    if (pass.token?.last === true) return
    position += rows
    ids = pass.token === null ? [] : [pass.token.id]
  }
}

/** Ids and position of the first pass. */
export function startOf({ start, prompt }: ExecutionContext): { ids: readonly number[]; position: number } {
  return { ids: start?.ids ?? prompt, position: start?.position ?? 0 }
}

async function doStep(w: ExecutionContext, pass: ForwardPass, step: SideStep): Promise<void> {
  if (step.kind === 'run') await compute(w, pass, step)
  else if (step.kind === 'sample') sample(w, pass)
  else if (step.kind === 'send') sendFrame(w, frameOf(w, pass, step), step.number)
  else await receive(w, pass, step.message)
}

async function compute(w: ExecutionContext, pass: ForwardPass, step: RunStep): Promise<void> {
  const { position, rows, values } = pass
  Object.assign(values, await runStep(w, step, values, position, rows))
}

/** Runs a step's subgraph on rows from `position` on, and records it. */
export async function runStep(
  w: ExecutionContext,
  { subgraph, number }: RunStep,
  values: Activations,
  position: number,
  rows: number,
): Promise<Activations> {
  const result = await w.runner.run({ subgraph, caches: w.caches, values, position, rows })
  recordRun(w, result, number, position, rows)
  return result.values
}

function sample(w: ExecutionContext, pass: ForwardPass): void {
  const { position, rows, values } = pass
  const logits = values.logits!
  delete values.logits
  deliver(w, pass, sampled(w, logits, position + rows))
}

/** Records the events of one run. */
export function recordRun(
  w: ExecutionContext,
  result: SubgraphRunResult,
  step: number,
  position: number,
  rows: number,
): void {
  if (w.record === NO_RECORD) return
  const { askedSeconds, startSeconds, endSeconds, batch, load } = result
  const common = { side: w.side, step, position, tokens: rows, bytes: 0, batch } as const
  if (load !== null) w.record(eventOf('load', { ...common, askedSeconds, ...load }))
  w.record(eventOf('compute', { ...common, askedSeconds, startSeconds, endSeconds }))
}

/** Samples the token at `position` from its logits. */
export function sampled(w: ExecutionContext, logits: Float32Array, position: number): SampledToken {
  const { id, nearTie } = sampleToken(logits, w.sampling, position)
  const last = position - w.promptTokens + 1 === w.maxNewTokens || w.stopIds.includes(id)
  return { id, position, nearTie, last }
}

function deliver(w: ExecutionContext, pass: ForwardPass, token: SampledToken): void {
  pass.token = token
  w.onToken(token)
}

/** Sends a frame and records it. */
export function sendFrame(w: ExecutionContext, frame: Message, step: number): void {
  const askedSeconds = w.clock.nowSeconds()
  w.peer.send(frame)
  recordMessage(w, 'send', frame, step, askedSeconds, w.clock.nowSeconds())
}

/** Waits for the frame of a step and records it. */
export async function takeFrame(w: ExecutionContext, position: number, step: number): Promise<Frame> {
  const askedSeconds = w.clock.nowSeconds()
  const { frame, atSeconds } = await w.peer.take(position, step)
  recordMessage(w, 'receive', frame, step, askedSeconds, atSeconds)
  return frame
}

function recordMessage(
  w: ExecutionContext,
  kind: 'send' | 'receive',
  frame: Message,
  step: number,
  askedSeconds: number,
  endSeconds: number,
): void {
  w.record(
    eventOf(kind, {
      side: w.side,
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

function frameOf(w: ExecutionContext, pass: ForwardPass, step: SendStep): Message {
  const { position, rows, values } = pass
  if (step.carries === 'token') return tokenFrame(pass.token!, step.number)
  if (step.carries === 'ids') return idsFrame(values.ids ?? [], { step: step.number, position })
  return boundaryFrame(w.model, step, values, rows, position)
}

async function receive(w: ExecutionContext, pass: ForwardPass, step: SendStep): Promise<void> {
  const { values, rows } = pass
  const first =
    step.carries === 'token' ? pass.position + rows : pass.position + (step.lastRow ? rows - 1 : 0)
  const frame = await takeFrame(w, first, step.number)
  if (step.carries === 'token') deliver(w, pass, tokenOf(w.model, frame))
  else if (step.carries === 'ids') values.ids = idsOf(w.model, frame, rows)
  else Object.assign(values, boundaryOf(w.model, step, frame, step.lastRow ? 1 : rows))
  if (step.lastRow) Object.assign(pass, { position: first, rows: 1 })
}
