import { ConnectionError } from './errors.ts'
import { FRAME_HEADER_BYTES } from './types.ts'
import type { CloseReason, Frame } from './types.ts'

type FrameListener = (frame: Frame) => void
type CloseListener = (reason: CloseReason) => void

/**
 * Hands frames and the end to listeners: in order, and no frame after the end was heard of. What comes before
 * the first listener waits for it.
 */
export class FrameQueue {
  private readonly maxWaitingBytes: number
  private readonly frameListeners: FrameListener[] = []
  private readonly closeListeners: CloseListener[] = []
  private waiting: Frame[] = []
  private waitingBytes = 0
  private reason: CloseReason | null = null

  constructor(maxWaitingBytes: number) {
    this.maxWaitingBytes = maxWaitingBytes
  }

  onFrame(listener: FrameListener): void {
    this.frameListeners.push(listener)
    for (let frame = this.waiting.shift(); frame !== undefined; frame = this.waiting.shift()) listener(frame)
    this.waitingBytes = 0
  }

  onClose(listener: CloseListener): void {
    this.closeListeners.push(listener)
    if (this.reason === null) return
    this.stop()
    listener(this.reason)
  }

  /** Throws ConnectionError (E_CONNECTION_SLOW) where too much waits for a listener. */
  deliver(frame: Frame): void {
    if (this.frameListeners.length > 0) {
      for (const listener of this.frameListeners) listener(frame)
      return
    }
    this.waiting.push(frame)
    this.waitingBytes += FRAME_HEADER_BYTES + frame.payload.length
    if (this.waitingBytes <= this.maxWaitingBytes) return
    throw new ConnectionError('E_CONNECTION_SLOW', `${this.waitingBytes} bytes came and nobody listens here`)
  }

  /** Forgets what waits. */
  stop(): void {
    this.waiting = []
  }

  /** Says the end, once. What waits is kept only while nobody has heard of it. */
  close(reason: CloseReason): void {
    this.reason = reason
    if (this.closeListeners.length > 0) this.stop()
    for (const listener of this.closeListeners) listener(reason)
  }
}
