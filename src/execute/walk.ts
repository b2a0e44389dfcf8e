import type { Clock } from '../base/clock.ts'
import { InputError } from '../base/errors.ts'
import type { ModelSpec } from '../model/spec.ts'
import { EDGE, type BoundaryBits, type Side } from '../plan/plan.ts'
import { idsFrame, readIds } from '../wire/payloads.ts'
import { FLAG, FRAME, FRAME_HEADER_BYTES, type Frame } from '../wire/types.ts'
import { decodeBoundary, encodeBoundary } from './boundary.ts'
import type { RequestCaches } from './caches.ts'
import type { Delivered } from './mailbox.ts'
import { eventOf, NO_RECORD, type Recorder } from './record.ts'
import type { JobResult, SegmentRunner, Values } from './runner.ts'
import { sampleToken } from './sampling.ts'
import type { Schedule, SendStep, Step } from './schedule.ts'
import type { Sampling } from './types.ts'

/** The other side, as one request sees it. */
export interface RequestPeer {
  /** Sends one message of this request. */
  send(frame: Omit<Frame, 'request'>): void
  take(position: number, step: number): Promise<Delivered>
}

/** What a walker knows of its request: alike on both sides, but for the prompt. */
export interface Walk {
  readonly side: Side
  readonly model: ModelSpec
  readonly runner: SegmentRunner
  readonly caches: RequestCaches
  readonly clock: Clock
  readonly peer: RequestPeer
  readonly promptTokens: number
  /** On the edge; the cloud is sent what it needs of it. */
  readonly prompt: readonly number[]
  readonly maxNewTokens: number
  readonly sampling: Sampling
  readonly stopIds: readonly number[]
  readonly boundaryBits: BoundaryBits
  readonly record: Recorder
  /** Tokens as they come to be known on this side. */
  readonly onToken: (token: WalkedToken) => void
}

export interface WalkedToken {
  readonly id: number
  readonly position: number
  readonly nearTie: boolean
  readonly last: boolean
}

/** Where a pass stands. Once only the last row went over, the rest of the pass is about that one. */
interface Pass {
  readonly steps: readonly Step[]
  position: number
  rows: number
  readonly values: Values
  token: WalkedToken | null
}

/**
 * Walks a request through its schedule on one side, pass by pass, until its last token. Where the sampler is on
 * the other side and the tokens do not come here, it ends when the peer closes the request (take() rejects).
 */
export async function walk(w: Walk, schedule: Schedule): Promise<void> {
  let ids = w.prompt
  let position = 0
  for (let rows = w.promptTokens; ; rows = 1) {
    const steps = position === 0 ? schedule.prefill : schedule.decode
    const pass: Pass = { steps, position, rows, values: { ids }, token: null }
    for (let step = 0; step < steps.length; step++) await doStep(w, pass, step)
    if (pass.token?.last === true) return
    position += rows
    ids = pass.token === null ? [] : [pass.token.id]
  }
}

async function doStep(w: Walk, pass: Pass, index: number): Promise<void> {
  const step = pass.steps[index]
  if (step.kind === 'compute') {
    if (step.side === w.side) await compute(w, pass, index, step)
  } else if (step.from === w.side) send(w, pass, index, step)
  else await receive(w, pass, index, step)
}

async function compute(w: Walk, pass: Pass, index: number, step: Step & { kind: 'compute' }): Promise<void> {
  const { position, rows, values } = pass
  const result = await w.runner.run({ segment: step.segment, caches: w.caches, values, position, rows })
  recordRun(w, result, index, position, rows)
  Object.assign(values, result.values)
  const { logits } = result.values
  if (logits === undefined) return
  delete values.logits
  deliver(w, pass, sampled(w, logits, position + rows))
}

export function recordRun(w: Walk, result: JobResult, step: number, position: number, rows: number): void {
  if (w.record === NO_RECORD) return
  const { askedSeconds, startSeconds, endSeconds, batch, load } = result
  const common = { side: w.side, step, position, tokens: rows, bytes: 0, batch } as const
  if (load !== null) w.record(eventOf('load', { ...common, askedSeconds, ...load }))
  w.record(eventOf('compute', { ...common, askedSeconds, startSeconds, endSeconds }))
}

/** The token at `position` from its logits, by the request's sampling. */
export function sampled(w: Walk, logits: Float32Array, position: number): WalkedToken {
  const { id, nearTie } = sampleToken(logits, w.sampling, position)
  const last = position - w.promptTokens + 1 === w.maxNewTokens || w.stopIds.includes(id)
  return { id, position, nearTie, last }
}

function deliver(w: Walk, pass: Pass, token: WalkedToken): void {
  pass.token = token
  w.onToken(token)
}

function send(w: Walk, pass: Pass, index: number, step: SendStep): void {
  sendFrame(w, frameOf(w, pass, index, step), index)
}

export function sendFrame(w: Walk, frame: Omit<Frame, 'request'>, step: number): void {
  const askedSeconds = w.clock.nowSeconds()
  w.peer.send(frame)
  const endSeconds = w.clock.nowSeconds()
  w.record(
    eventOf('send', {
      ...{ side: w.side, step, position: frame.position, tokens: frame.count, batch: 1 },
      ...{ bytes: wireBytes(frame), askedSeconds, startSeconds: askedSeconds, endSeconds },
    }),
  )
}

function frameOf(
  w: Walk,
  pass: Pass,
  step: number,
  { carries, lastRow, bits }: SendStep,
): Omit<Frame, 'request'> {
  const { position, rows, values } = pass
  if (carries === 'token') return tokenFrame(pass.token!, step)
  if (carries === 'ids') return idsFrame(values.ids ?? [], { step, position })
  const whole = carries === 'partial' ? values.partial! : values.x!
  const data = carries === 'x+hidden' ? besideHidden(whole, values.hidden!, rows) : whole
  const columns = columnsOf(w.model, carries)
  const from = lastRow ? rows - 1 : 0
  return tensorFrame(data.subarray(from * columns), rows - from, bits!, step, position + from)
}

/** A token for the user: flags say whether it is the last, and a near-tie. */
export function tokenFrame(token: WalkedToken, step: number): Omit<Frame, 'request'> {
  const flags = (token.last ? FLAG.last : 0) | (token.nearTie ? FLAG.nearTie : 0)
  return idsFrame([token.id], { step, position: token.position, flags })
}

/** Float32 [rows, columns] as a frame. */
export function tensorFrame(
  data: Float32Array,
  rows: number,
  bits: BoundaryBits,
  step: number,
  position: number,
): Omit<Frame, 'request'> {
  const payload = encodeBoundary(data, rows, bits)
  return { type: FRAME.tensor, step, position, count: rows, bits, flags: 0, payload }
}

async function receive(w: Walk, pass: Pass, index: number, step: SendStep): Promise<void> {
  const { values, rows } = pass
  const first =
    step.carries === 'token' ? pass.position + rows : pass.position + (step.lastRow ? rows - 1 : 0)
  const expected = step.lastRow || step.carries === 'token' ? 1 : rows
  const askedSeconds = w.clock.nowSeconds()
  const { frame, atSeconds } = await w.peer.take(first, index)
  recordReceipt(w, frame, index, askedSeconds, atSeconds)
  checkCount(frame, expected)
  if (step.carries === 'token') deliver(w, pass, tokenOf(w.model, frame))
  else if (step.carries === 'ids') values.ids = idsOf(w.model, frame)
  else Object.assign(values, tensorsOf(w, step.carries, frame))
  if (step.lastRow) Object.assign(pass, { position: first, rows: 1 })
}

export function recordReceipt(
  w: Walk,
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
        bytes: wireBytes(frame),
      },
      ...{ askedSeconds, startSeconds: askedSeconds, endSeconds: atSeconds },
    }),
  )
}

/** The token that a frame delivers. Throws InputError for an id that the model does not have. */
export function tokenOf(model: ModelSpec, frame: Frame): WalkedToken {
  const [id] = idsOf(model, frame)
  const flag = (bit: number): boolean => (frame.flags & bit) !== 0
  return { id, position: frame.position, nearTie: flag(FLAG.nearTie), last: flag(FLAG.last) }
}

function idsOf(model: ModelSpec, frame: Frame): number[] {
  const ids = Array.from(readIds(frame))
  const unknown = ids.find((id) => id >= model.vocabulary)
  if (unknown !== undefined) {
    const expected = `ids below the vocabulary of ${model.vocabulary}`
    throw new InputError({ where: `token ids of request ${frame.request}`, expected, found: String(unknown) })
  }
  return ids
}

function tensorsOf(w: Walk, carries: 'x' | 'partial' | 'x+hidden', frame: Frame): Values {
  const rows = frame.count
  const data = decodeBoundary(frame.payload, rows, columnsOf(w.model, carries), frame.bits as BoundaryBits)
  if (carries !== 'x+hidden') return { [carries]: data }
  const { width, ffnWidth } = w.model
  const x = new Float32Array(rows * width)
  const hidden = new Float32Array(rows * ffnWidth)
  for (let row = 0; row < rows; row++) {
    const at = row * (width + ffnWidth)
    x.set(data.subarray(at, at + width), row * width)
    hidden.set(data.subarray(at + width, at + width + ffnWidth), row * ffnWidth)
  }
  return { x, hidden }
}

/** [rows, width] and [rows, ffnWidth] as [rows, width + ffnWidth]. */
function besideHidden(x: Float32Array, hidden: Float32Array, rows: number): Float32Array {
  const width = x.length / rows
  const inner = hidden.length / rows
  const out = new Float32Array(x.length + hidden.length)
  for (let row = 0; row < rows; row++) {
    out.set(x.subarray(row * width, (row + 1) * width), row * (width + inner))
    out.set(hidden.subarray(row * inner, (row + 1) * inner), row * (width + inner) + width)
  }
  return out
}

function columnsOf(model: ModelSpec, carries: SendStep['carries']): number {
  return carries === 'x+hidden' ? model.width + model.ffnWidth : model.width
}

function checkCount(frame: Frame, expected: number): void {
  if (frame.count === expected) return
  const where = `request ${frame.request}, step ${frame.step}`
  throw new InputError({ where, expected: `${expected} rows`, found: String(frame.count) })
}

function wireBytes(frame: Pick<Frame, 'payload'>): number {
  return frame.payload.byteLength + FRAME_HEADER_BYTES
}

/** The side in words. */
export function sideName(side: Side): 'edge' | 'cloud' {
  return side === EDGE ? 'edge' : 'cloud'
}
