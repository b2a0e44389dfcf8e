import { z } from 'zod'
import { EdgewiseError, printable } from '../../core/errors.ts'
import { parseJson } from '../../core/schema.ts'
import { WireError } from './errors.ts'
import { frameName, makeFrame } from './frame.ts'
import { MAX_JSON_BYTES } from './limits.ts'
import { FRAME } from './types.ts'
import type { Frame, FrameType } from './types.ts'

type Fields = Partial<Omit<Frame, 'type' | 'payload'>>

/** Creates a frame with a JSON payload. Its size is checked on sending. */
export function jsonFrame(type: FrameType, value: unknown, fields: Fields = {}): Frame {
  return makeFrame(type, { ...fields, payload: new TextEncoder().encode(JSON.stringify(value ?? null)) })
}

/**
 * Parses the JSON payload of a frame; the value is not validated. Throws WireError (E_WIRE_PAYLOAD) if it is not JSON
 * in UTF-8.
 */
export function readJson(frame: Frame): unknown {
  const what = `payload of a ${frameName(frame.type)} frame`
  try {
    return parseJson(new TextDecoder('utf-8', { fatal: true }).decode(frame.payload), what)
  } catch (error) {
    throw new WireError('E_WIRE_PAYLOAD', what, 'JSON in UTF-8', (error as Error).message, error)
  }
}

/** Creates a frame of token ids, u32 little-endian each; the first has token position `fields.position`. */
export function idsFrame(ids: ArrayLike<number>, fields: Omit<Fields, 'count'> = {}): Frame {
  const payload = new Uint8Array(4 * ids.length)
  const view = new DataView(payload.buffer)
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]
    if (!Number.isInteger(id) || id < 0 || id > 0xffffffff) {
      throw new WireError('E_WIRE_PAYLOAD', `token id ${i}`, 'an integer in 0..2^32-1', String(id))
    }
    view.setUint32(4 * i, id, true)
  }
  return makeFrame(FRAME.ids, { ...fields, count: ids.length, payload })
}

/** Reads the token ids of an `ids` frame. Throws WireError (E_WIRE_PAYLOAD) if payload and count disagree. */
export function readIds(frame: Frame): Uint32Array {
  const { payload, count } = frame
  if (payload.length !== 4 * count) {
    const [expected, found] = [`${4 * count} bytes for ${count} ids`, `${payload.length} bytes`]
    throw new WireError('E_WIRE_PAYLOAD', 'payload of an ids frame', expected, found)
  }
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength)
  return Uint32Array.from({ length: count }, (_, i) => view.getUint32(4 * i, true))
}

/** Why a connection was refused or a request failed: the payload of `refuse` and `fail`. */
export interface Refusal {
  /** E.g. `E_WIRE_VERSION`. */
  readonly code: string
  readonly message: string
}

const refusalSchema = z.object({
  code: z.string().regex(/^E_[A-Z0-9_]{1,60}$/, 'a code like E_BUSY'),
  message: z.string(),
})
/** Well below the limit for JSON, because escaping lengthens a text. */
const MAX_MESSAGE_LENGTH = Math.min(4096, MAX_JSON_BYTES / 16)

/**
 * Reads the refusal of a `refuse` or `fail` frame. Its message keeps its line breaks, and each line is printable. Throws
 * WireError (E_WIRE_PAYLOAD).
 */
export function readRefusal(frame: Frame): Refusal {
  const parsed = refusalSchema.safeParse(readJson(frame))
  if (!parsed.success) {
    const what = `payload of a ${frameName(frame.type)} frame`
    throw new WireError('E_WIRE_PAYLOAD', what, 'JSON { code, message }', parsed.error.issues[0].message)
  }
  const { code, message } = parsed.data
  const lines = message.split('\n').map((line) => printable(line, Infinity))
  return { code, message: lines.join('\n').slice(0, MAX_MESSAGE_LENGTH) }
}

/** Creates a `refuse` or `fail` frame. */
export function refusalFrame(type: FrameType, refusal: Refusal, fields: Fields = {}): Frame {
  const message = refusal.message.slice(0, MAX_MESSAGE_LENGTH)
  return jsonFrame(type, { code: refusal.code, message }, fields)
}

/** What a peer is told about an error; for a defect, nothing about its details. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof EdgewiseError) return { code: error.code, message: error.message }
  return { code: 'E_INTERNAL', message: 'an internal error' }
}
