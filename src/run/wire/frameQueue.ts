import { ConnectionError } from './errors.ts'
import { FRAME_HEADER_BYTES } from './types.ts'
import type { CloseReason, Frame } from './types.ts'

type FrameListener = (frame: Frame) => void
type CloseListener = (reason: CloseReason) => void

/**
 * Delivers frames and the end of the connection to listeners: in order, and no frame after the end. Frames that arrive
 * before the first listener are held for it.
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

  /** Throws ConnectionError (E_CONNECTION_SLOW) if too many bytes wait for a listener. */
  deliver(frame: Frame): void {
    if (this.frameListeners.length > 0) {
      for (const listener of this.frameListeners) listener(frame)
      return
    }
    this.waiting.push(frame)
    this.waitingBytes += FRAME_HEADER_BYTES + frame.payload.length
    if (this.waitingBytes <= this.maxWaitingBytes) return
    throw new ConnectionError(
      'E_CONNECTION_SLOW',
      `${this.waitingBytes} bytes arrived before a listener was registered`,
    )
  }

  /** Discards waiting frames. */
  stop(): void {
    this.waiting = []
  }

  /** Reports the end, once. Waiting frames are kept only while there is no listener for the end. */
  close(reason: CloseReason): void {
    this.reason = reason
    if (this.closeListeners.length > 0) this.stop()
    for (const listener of this.closeListeners) listener(reason)
  }
}
