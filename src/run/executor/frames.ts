import { InputError } from '../../core/errors.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { rowElements, type SendStep } from '../../plan/lower.ts'
import type { BoundaryBits } from '../../plan/plan.ts'
import { frameName } from '../wire/frame.ts'
import { idsFrame, readIds } from '../wire/payloads.ts'
import { FLAG, FRAME, type Frame, type FrameType } from '../wire/types.ts'
import { decodeBoundary, encodeBoundary } from './boundary.ts'
import type { Activations } from './subgraphRunner.ts'

/** A message of a request: a frame whose request number is added by the sender. */
export type Message = Omit<Frame, 'request'>

/** A token that was sampled on this side. */
export interface SampledToken {
  readonly id: number
  readonly position: number
  readonly nearTie: boolean
  readonly last: boolean
}

/** Encodes a token for the user; flags mark the last token and a near-tie. */
export function tokenFrame(token: SampledToken, step: number): Message {
  const flags = (token.last ? FLAG.last : 0) | (token.nearTie ? FLAG.nearTie : 0)
  return idsFrame([token.id], { step, position: token.position, flags })
}

/** Encodes float32 [rows, columns] as a frame. */
export function tensorFrame(
  data: Float32Array,
  rows: number,
  bits: BoundaryBits,
  step: number,
  position: number,
): Message {
  const payload = encodeBoundary(data, rows, bits)
  return { type: FRAME.tensor, step, position, count: rows, bits, flags: 0, payload }
}

/** The boundary tensor of a step, with `rows` tokens or only the last of them. */
export function boundaryFrame(
  model: ModelSpec,
  { carries, lastRow, bits, number }: SendStep,
  values: Activations,
  rows: number,
  position: number,
): Message {
  const whole = carries === 'partial' ? values.partial! : values.x!
  const data = carries === 'x+hidden' ? besideHidden(whole, values.hidden!, rows) : whole
  const from = lastRow ? rows - 1 : 0
  return tensorFrame(
    data.subarray(from * rowElements(model, carries)),
    rows - from,
    bits!,
    number,
    position + from,
  )
}

/** Decodes the token in a frame. Throws InputError for anything but one id of this model. */
export function tokenOf(model: ModelSpec, frame: Frame): SampledToken {
  const [id] = idsOf(model, frame, 1)
  const flag = (bit: number): boolean => (frame.flags & bit) !== 0
  return { id, position: frame.position, nearTie: flag(FLAG.nearTie), last: flag(FLAG.last) }
}

/** Decodes the `rows` token ids of a frame. Throws InputError for anything else. */
export function idsOf(model: ModelSpec, frame: Frame, rows: number): number[] {
  checkFrame(frame, FRAME.ids, rows, 0)
  const ids = Array.from(readIds(frame))
  const unknown = ids.find((id) => id >= model.vocabulary)
  if (unknown === undefined) return ids
  return refuse(frame, `ids below the vocabulary of ${model.vocabulary}`, String(unknown))
}

/** Decodes float32 [rows, columns] from a frame with this many bits. Throws InputError for anything else. */
export function tensorOf(frame: Frame, rows: number, columns: number, bits: BoundaryBits): Float32Array {
  checkFrame(frame, FRAME.tensor, rows, bits)
  return decodeBoundary(frame.payload, rows, columns, bits)
}

/** Decodes what a step carries: the residual, a share, or the residual and the FFN's inner activations. */
export function boundaryOf(
  model: ModelSpec,
  { carries, bits }: SendStep,
  frame: Frame,
  rows: number,
): Activations {
  const data = tensorOf(frame, rows, rowElements(model, carries), bits!)
  if (carries !== 'x+hidden') return { [carries]: data }
  const { width, ffnWidth } = model
  const x = new Float32Array(rows * width)
  const hidden = new Float32Array(rows * ffnWidth)
  for (let row = 0; row < rows; row++) {
    const at = row * (width + ffnWidth)
    x.set(data.subarray(at, at + width), row * width)
    hidden.set(data.subarray(at + width, at + width + ffnWidth), row * ffnWidth)
  }
  return { x, hidden }
}

/** Concatenates [rows, width] and [rows, ffnWidth] to [rows, width + ffnWidth]. */
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

function checkFrame(frame: Frame, type: FrameType, rows: number, bits: number): void {
  if (frame.type !== type) refuse(frame, `a frame of ${frameName(type)}`, frameName(frame.type))
  if (frame.count !== rows) refuse(frame, `${rows} rows`, String(frame.count))
  if (frame.bits !== bits) refuse(frame, `${bits} bits an element`, String(frame.bits))
}

function refuse(frame: Frame, expected: string, found: string): never {
  const where = `request ${frame.request}, step ${frame.step}, position ${frame.position}`
  throw new InputError({ where, expected, found })
}
