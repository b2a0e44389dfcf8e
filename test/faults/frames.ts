import { FRAME_HEADER_BYTES } from '../../src/run/wire/types.ts'

export type Way = 'up' | 'down'

/** One frame on its way through the proxy, as its header tells; the payload is not looked at. */
export interface SeenFrame {
  /** Counts connections of the proxy from 0. */
  readonly connection: number
  readonly way: Way
  /** Frames of this connection and way before it. */
  readonly index: number
  readonly type: number
  readonly request: number
  readonly step: number
  readonly position: number
  /** Header included. */
  readonly bytes: number
}

/** A stream as whole frames. It trusts the sender: both ends of the proxy are ours. */
export class FrameSplitter {
  private readonly parts: Uint8Array[] = []
  private held = 0
  private index = 0
  private readonly connection: number
  private readonly way: Way

  constructor(connection: number, way: Way) {
    this.connection = connection
    this.way = way
  }

  push(chunk: Uint8Array, deliver: (frame: SeenFrame, bytes: Uint8Array) => void): void {
    this.parts.push(chunk)
    this.held += chunk.length
    let rest: Buffer | null = null
    while (this.held >= FRAME_HEADER_BYTES) {
      rest ??= Buffer.concat(this.parts.splice(0))
      const bytes = FRAME_HEADER_BYTES + rest.readUInt32LE(0)
      if (rest.length < bytes) break
      const whole = rest.subarray(0, bytes)
      rest = rest.subarray(bytes)
      this.held = rest.length
      deliver(this.see(whole), whole)
    }
    if (rest !== null && rest.length > 0) this.parts.push(rest)
  }

  private see(whole: Buffer): SeenFrame {
    return {
      connection: this.connection,
      way: this.way,
      index: this.index++,
      bytes: whole.length,
      type: whole.readUInt8(5),
      step: whole.readUInt16LE(6),
      request: whole.readUInt32LE(8),
      position: whole.readUInt32LE(16),
    }
  }
}
