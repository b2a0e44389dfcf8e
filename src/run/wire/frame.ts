import { crc32 } from 'node:zlib'
import { WireError } from './errors.ts'
import { FRAME, FRAME_HEADER_BYTES, PROTOCOL_VERSION } from './types.ts'
import type { Frame, FrameType } from './types.ts'

/** Smaller payloads are copied next to their header: cheaper than another part in a gathered write. */
const COPIED_BYTES = 16 * 1024
/** The checksum covers the header before it, and the payload. */
const CHECKED_BYTES = FRAME_HEADER_BYTES - 4
/**
 * The header's own checksum covers the bytes before it, so that a damaged length is detected before its payload is
 * waited for.
 */
const HEADER_CHECKED_BYTES = CHECKED_BYTES - 2
const EMPTY = new Uint8Array(0)

const NAMES = new Map<number, string>(Object.entries(FRAME).map(([name, type]) => [type, name]))

/** Name of a frame type, e.g. `tensor` for 8; an unknown number as it is. */
export function frameName(type: number): string {
  return NAMES.get(type) ?? String(type)
}

/** Creates a frame; fields that are not given are 0, and the payload is empty. */
export function makeFrame(type: FrameType, fields: Partial<Omit<Frame, 'type'>> = {}): Frame {
  return { type, request: 0, step: 0, position: 0, count: 0, bits: 0, flags: 0, payload: EMPTY, ...fields }
}

/** Size of a frame on the wire, in bytes. */
export function frameBytes({ payload }: Pick<Frame, 'payload'>): number {
  return FRAME_HEADER_BYTES + payload.byteLength
}

/**
 * Encodes `frames`, numbered from `firstSequence` on (modulo 2^32), as parts for one gathered write. Headers and small
 * payloads are copied into one buffer; large payloads are passed by reference. Throws WireError (E_WIRE_HEADER) if a
 * value does not fit its field.
 */
export function encodeFrames(frames: readonly Frame[], firstSequence: number): Uint8Array[] {
  let copied = 0
  for (const { payload } of frames) {
    copied += FRAME_HEADER_BYTES + (payload.length <= COPIED_BYTES ? payload.length : 0)
  }
  const bytes = new Uint8Array(copied)
  const view = new DataView(bytes.buffer)
  const parts: Uint8Array[] = []
  let from = 0
  let at = 0
  frames.forEach((frame, i) => {
    writeHeader(bytes, view, at, frame, (firstSequence + i) >>> 0)
    at += FRAME_HEADER_BYTES
    if (frame.payload.length <= COPIED_BYTES) {
      bytes.set(frame.payload, at)
      at += frame.payload.length
    } else {
      parts.push(bytes.subarray(from, at), frame.payload)
      from = at
    }
  })
  if (at > from) parts.push(bytes.subarray(from, at))
  return parts
}

function writeHeader(bytes: Uint8Array, view: DataView, at: number, frame: Frame, sequence: number): void {
  const { payload } = frame
  view.setUint32(at, field('payloadBytes', payload.length, 32), true)
  view.setUint8(at + 4, PROTOCOL_VERSION)
  view.setUint8(at + 5, field('type', frame.type, 8))
  view.setUint16(at + 6, field('step', frame.step, 16), true)
  view.setUint32(at + 8, field('request', frame.request, 32), true)
  view.setUint32(at + 12, sequence, true)
  view.setUint32(at + 16, field('position', frame.position, 32), true)
  view.setUint32(at + 20, field('count', frame.count, 32), true)
  view.setUint8(at + 24, field('bits', frame.bits, 8))
  view.setUint8(at + 25, field('flags', frame.flags, 8))
  view.setUint16(at + HEADER_CHECKED_BYTES, headerChecksum(bytes, at), true)
  const checksum = crc32(payload, crc32(bytes.subarray(at, at + CHECKED_BYTES)))
  view.setUint32(at + CHECKED_BYTES, checksum, true)
}

/** The lower 16 bits of the CRC-32 of the header's fields. */
function headerChecksum(bytes: Uint8Array, at: number): number {
  return crc32(bytes.subarray(at, at + HEADER_CHECKED_BYTES)) & 0xffff
}

function field(name: string, value: number, bits: number): number {
  if (Number.isInteger(value) && value >= 0 && value < 2 ** bits) return value
  throw new WireError('E_WIRE_HEADER', `frame field ${name}`, `an integer in 0..2^${bits}-1`, String(value))
}

/**
 * Returns the largest payload that a frame of this type may have now. Throws WireError (E_WIRE_STATE) if the type is
 * not allowed now. Called before the payload's buffer is allocated.
 */
type Admit = (type: FrameType) => number

/**
 * Parses bytes into frames: an explicit state machine that accepts chunks of any size. A frame is delivered only after
 * its checksum was verified. Each payload has a buffer of its own, at offset 0, so that it can be viewed as any typed
 * array and transferred. After the first error nothing is delivered.
 */
export class FrameParser {
  private state: 'header' | 'payload' | 'failed' = 'header'
  private readonly admit: Admit
  private readonly header = new Uint8Array(FRAME_HEADER_BYTES)
  private readonly view = new DataView(this.header.buffer)
  private readonly checked = this.header.subarray(0, CHECKED_BYTES)
  private payload: Uint8Array = EMPTY
  /** Received bytes of the current header or payload. */
  private filled = 0
  private checksum = 0
  private sequence = 0

  constructor(admit: Admit) {
    this.admit = admit
  }

  /** Whether the bytes so far end within a frame. */
  get insideFrame(): boolean {
    return this.insideBytes > 0
  }

  /** Received bytes of the current, incomplete frame. */
  get insideBytes(): number {
    return this.state === 'payload' ? FRAME_HEADER_BYTES + this.filled : this.filled
  }

  /** Parses a chunk. Throws WireError; frames that were complete before the error were delivered. */
  push(chunk: Uint8Array, deliver: (frame: Frame) => void): void {
    if (this.state === 'failed') {
      throw new WireError('E_WIRE_STATE', 'byte stream', 'no bytes after an error', `${chunk.length} bytes`)
    }
    try {
      let at = 0
      while (at < chunk.length) {
        at += this.state === 'header' ? this.takeHeader(chunk, at) : this.takePayload(chunk, at)
        if (this.state === 'payload' && this.filled === this.payload.length) deliver(this.takeFrame())
      }
    } catch (error) {
      this.state = 'failed'
      throw error
    }
  }

  private takeHeader(chunk: Uint8Array, at: number): number {
    const taken = Math.min(FRAME_HEADER_BYTES - this.filled, chunk.length - at)
    this.header.set(chunk.subarray(at, at + taken), this.filled)
    this.filled += taken
    if (this.filled === FRAME_HEADER_BYTES) this.startPayload()
    return taken
  }

  private startPayload(): void {
    const { view } = this
    const version = view.getUint8(4)
    if (version !== PROTOCOL_VERSION) {
      const [ours, theirs] = [`version ${PROTOCOL_VERSION}`, `version ${version}`]
      throw new WireError('E_WIRE_VERSION', 'protocol version of the peer', ours, theirs)
    }
    const type = view.getUint8(5)
    if (!NAMES.has(type)) throw new WireError('E_WIRE_TYPE', 'frame type', `1..${NAMES.size}`, String(type))
    const cap = this.admit(type as FrameType)
    const payloadBytes = view.getUint32(0, true)
    if (payloadBytes > cap) {
      const what = `payload of a ${frameName(type)} frame`
      throw new WireError('E_WIRE_SIZE', what, `at most ${cap} bytes`, `${payloadBytes} bytes`)
    }
    const sequence = view.getUint32(12, true)
    if (sequence !== this.sequence) {
      throw new WireError('E_WIRE_SEQUENCE', 'sequence number', String(this.sequence), String(sequence))
    }
    const [header, found] = [headerChecksum(this.header, 0), view.getUint16(HEADER_CHECKED_BYTES, true)]
    if (header !== found) {
      const what = `checksum of the header of a ${frameName(type)} frame`
      throw new WireError('E_WIRE_CHECKSUM', what, hex(found, 4), hex(header, 4))
    }
    this.checksum = crc32(this.checked)
    this.payload = payloadBytes === 0 ? EMPTY : new Uint8Array(payloadBytes)
    this.filled = 0
    this.state = 'payload'
  }

  private takePayload(chunk: Uint8Array, at: number): number {
    const part = chunk.subarray(at, at + this.payload.length - this.filled)
    this.payload.set(part, this.filled)
    this.checksum = crc32(part, this.checksum)
    this.filled += part.length
    return part.length
  }

  private takeFrame(): Frame {
    const { view, payload } = this
    const expected = view.getUint32(CHECKED_BYTES, true)
    const type = view.getUint8(5) as FrameType
    if (expected !== this.checksum) {
      const what = `checksum of a ${frameName(type)} frame`
      throw new WireError('E_WIRE_CHECKSUM', what, hex(expected), hex(this.checksum))
    }
    this.state = 'header'
    this.filled = 0
    this.payload = EMPTY
    this.sequence = (this.sequence + 1) >>> 0
    return {
      type,
      step: view.getUint16(6, true),
      request: view.getUint32(8, true),
      position: view.getUint32(16, true),
      count: view.getUint32(20, true),
      bits: view.getUint8(24),
      flags: view.getUint8(25),
      payload,
    }
  }
}

function hex(value: number, digits = 8): string {
  return `0x${value.toString(16).padStart(digits, '0')}`
}
