import type { Clock } from '../../core/clock.ts'
import type { ModelSpec } from '../../model/spec.ts'
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
import type { LoweredPlan, SendStep, ExecutionStep } from './loweredPlan.ts'
import type { SamplingParams } from './types.ts'

/** The other side, as one request sees it. */
export interface PeerChannel {
  /** Sends one message of this request. */
  send(frame: Message): void
  take(position: number, step: number): Promise<ReceivedMessage>
}

/** What a walker knows of its request: alike on both sides, but for the prompt. */
export interface ExecutionContext {
  readonly side: Side
  readonly model: ModelSpec
  readonly runner: SubgraphRunner
  readonly caches: RequestKvCache
  readonly clock: Clock
  readonly peer: PeerChannel
  readonly promptTokens: number
  /** On the edge; the cloud is sent what it needs of it. */
  readonly prompt: readonly number[]
  readonly maxNewTokens: number
  readonly sampling: SamplingParams
  readonly stopIds: readonly number[]
  readonly boundaryBits: BoundaryBits
  /** Where the caches hold all before `position`: the first pass is that of these ids. Absent: the prompt's. */
  readonly start?: { readonly position: number; readonly ids: readonly number[] }
  readonly record: EventRecorder
  /** Tokens as they come to be known on this side. */
  readonly onToken: (token: SampledToken) => void
}

/** Where a pass stands. Once only the last row went over, the rest of the pass is about that one. */
interface ForwardPass {
  readonly steps: readonly ExecutionStep[]
  position: number
  rows: number
  readonly values: Activations
  token: SampledToken | null
}

/**
 * Walks a request through its schedule on one side, pass by pass, until its last token. Where the sampler is on
 * the other side and the tokens do not come here, it ends when the peer closes the request (take() rejects).
 */
export async function executePlan(w: ExecutionContext, schedule: LoweredPlan): Promise<void> {
  let { ids, position } = startOf(w)
  for (let rows = position === 0 ? w.promptTokens : 1; ; rows = 1) {
    const steps = position === 0 ? schedule.prefill : schedule.decode
    const pass: ForwardPass = { steps, position, rows, values: { ids }, token: null }
    for (let step = 0; step < steps.length; step++) await doStep(w, pass, step)
    if (pass.token?.last === true) return
    position += rows
    ids = pass.token === null ? [] : [pass.token.id]
  }
}

/** What the first pass is about. */
export function startOf({ start, prompt }: ExecutionContext): { ids: readonly number[]; position: number } {
  return { ids: start?.ids ?? prompt, position: start?.position ?? 0 }
}

async function doStep(w: ExecutionContext, pass: ForwardPass, index: number): Promise<void> {
  const step = pass.steps[index]
  if (step.kind === 'compute') {
    if (step.side === w.side) await compute(w, pass, index, step)
  } else if (step.from === w.side) send(w, pass, index, step)
  else await receive(w, pass, index, step)
}

async function compute(
  w: ExecutionContext,
  pass: ForwardPass,
  index: number,
  step: ExecutionStep & { kind: 'compute' },
): Promise<void> {
  const { position, rows, values } = pass
  const result = await w.runner.run({ segment: step.segment, caches: w.caches, values, position, rows })
  recordRun(w, result, index, position, rows)
  Object.assign(values, result.values)
  const { logits } = result.values
  if (logits === undefined) return
  delete values.logits
  deliver(w, pass, sampled(w, logits, position + rows))
}

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

/** The token at `position` from its logits, by the request's sampling. */
export function sampled(w: ExecutionContext, logits: Float32Array, position: number): SampledToken {
  const { id, nearTie } = sampleToken(logits, w.sampling, position)
  const last = position - w.promptTokens + 1 === w.maxNewTokens || w.stopIds.includes(id)
  return { id, position, nearTie, last }
}

function deliver(w: ExecutionContext, pass: ForwardPass, token: SampledToken): void {
  pass.token = token
  w.onToken(token)
}

function send(w: ExecutionContext, pass: ForwardPass, index: number, step: SendStep): void {
  sendFrame(w, frameOf(w, pass, index, step), index)
}

export function sendFrame(w: ExecutionContext, frame: Message, step: number): void {
  const askedSeconds = w.clock.nowSeconds()
  w.peer.send(frame)
  const endSeconds = w.clock.nowSeconds()
  w.record(
    eventOf('send', {
      ...{ side: w.side, step, position: frame.position, tokens: frame.count, batch: 1 },
      ...{ bytes: frameBytes(frame), askedSeconds, startSeconds: askedSeconds, endSeconds },
    }),
  )
}

function frameOf(w: ExecutionContext, pass: ForwardPass, index: number, step: SendStep): Message {
  const { position, rows, values } = pass
  if (step.carries === 'token') return tokenFrame(pass.token!, index)
  if (step.carries === 'ids') return idsFrame(values.ids ?? [], { step: index, position })
  return boundaryFrame(w.model, step, values, rows, index, position)
}

async function receive(w: ExecutionContext, pass: ForwardPass, index: number, step: SendStep): Promise<void> {
  const { values, rows } = pass
  const first =
    step.carries === 'token' ? pass.position + rows : pass.position + (step.lastRow ? rows - 1 : 0)
  const askedSeconds = w.clock.nowSeconds()
  const { frame, atSeconds } = await w.peer.take(first, index)
  recordReceipt(w, frame, index, askedSeconds, atSeconds)
  if (step.carries === 'token') deliver(w, pass, tokenOf(w.model, frame))
  else if (step.carries === 'ids') values.ids = idsOf(w.model, frame, rows)
  else Object.assign(values, boundaryOf(w.model, step, frame, step.lastRow ? 1 : rows))
  if (step.lastRow) Object.assign(pass, { position: first, rows: 1 })
}

export function recordReceipt(
  w: ExecutionContext,
  frame: Frame,
  step: number,
  askedSeconds: number,
  atSeconds: number,
): void {
  w.record(
    eventOf('receive', {
      ...{
        side: w.side,
        step,
        position: frame.position,
        tokens: frame.count,
        batch: 1,
        bytes: frameBytes(frame),
      },
      ...{ askedSeconds, startSeconds: askedSeconds, endSeconds: atSeconds },
    }),
  )
}
