import { FRAME, FRAME_HEADER_BYTES, type Connection, type Frame } from '../wire/types.ts'
import type { WireBytes } from './types.ts'

const DATA: readonly number[] = [FRAME.tensor, FRAME.ids]
const CONTROL: readonly number[] = [FRAME.plan, FRAME.open, FRAME.close]

function sizeOf({ payload }: Frame): number {
  return FRAME_HEADER_BYTES + payload.byteLength
}

/**
 * The edge's end of a connection, which counts what requests take: pings belong to none, and reports exist only
 * because a calibration asks for them. Both sides read one clock, so that its offset is 0 and not what an uneven
 * link makes of a ping.
 */
export class CountingConnection implements Connection {
  private readonly inner: Connection
  private upData = 0
  private downData = 0
  private upControl = 0

  constructor(inner: Connection) {
    this.inner = inner
  }

  get bytes(): WireBytes {
    return { upData: this.upData, downData: this.downData, upControl: this.upControl }
  }

  get peer(): unknown {
    return this.inner.peer
  }

  get queuedBytes(): number {
    return this.inner.queuedBytes
  }

  get sentBytes(): number {
    return this.inner.sentBytes
  }

  get receivedBytes(): number {
    return this.inner.receivedBytes
  }

  send(...frames: readonly Frame[]): void {
    this.inner.send(...frames)
    for (const frame of frames) {
      if (DATA.includes(frame.type)) this.upData += sizeOf(frame)
      else if (CONTROL.includes(frame.type)) this.upControl += sizeOf(frame)
    }
  }

  onFrame(listener: (frame: Frame) => void): void {
    this.inner.onFrame((frame) => {
      if (DATA.includes(frame.type)) this.downData += sizeOf(frame)
      listener(frame)
    })
  }

  onClose(listener: Parameters<Connection['onClose']>[0]): void {
    this.inner.onClose(listener)
  }

  async ping(warmBytes?: number): ReturnType<Connection['ping']> {
    const { rttSeconds } = await this.inner.ping(warmBytes)
    return { rttSeconds, clockOffsetSeconds: 0 }
  }

  close(): Promise<void> {
    return this.inner.close()
  }
}

/** The cloud's end of a connection: reports are held back while requests are timed, so that they delay no tensor. */
export class HoldingConnection implements Connection {
  private readonly inner: Connection
  private readonly held: Frame[] = []
  private holds = false

  constructor(inner: Connection) {
    this.inner = inner
  }

  hold(held: boolean): void {
    this.holds = held
    if (!held && this.held.length > 0) this.inner.send(...this.held.splice(0))
  }

  get peer(): unknown {
    return this.inner.peer
  }

  get queuedBytes(): number {
    return this.inner.queuedBytes
  }

  get sentBytes(): number {
    return this.inner.sentBytes
  }

  get receivedBytes(): number {
    return this.inner.receivedBytes
  }

  send(...frames: readonly Frame[]): void {
    if (this.holds && frames.every(({ type }) => type === FRAME.report)) this.held.push(...frames)
    else this.inner.send(...frames)
  }

  onFrame(listener: (frame: Frame) => void): void {
    this.inner.onFrame(listener)
  }

  onClose(listener: Parameters<Connection['onClose']>[0]): void {
    this.inner.onClose(listener)
  }

  ping(warmBytes?: number): ReturnType<Connection['ping']> {
    return this.inner.ping(warmBytes)
  }

  close(): Promise<void> {
    return this.inner.close()
  }
}
