import { ForwardedConnection, frameBytes } from '../../run/wire/forwarded.ts'
import { FRAME, type Connection, type Frame } from '../../run/wire/types.ts'
import type { WireBytes } from './types.ts'

const DATA: readonly number[] = [FRAME.tensor, FRAME.ids]
const CONTROL: readonly number[] = [FRAME.plan, FRAME.open, FRAME.close]

/**
 * The edge's end of a connection. Counts the bytes of requests: not pings, which belong to no request, and not reports,
 * which exist only for the calibration. Both sides read the same clock, so the clock offset is set to 0 instead of
 * being estimated from pings over an asymmetric link.
 */
export class CountingConnection extends ForwardedConnection {
  private upData = 0
  private downData = 0
  private upControl = 0

  get bytes(): WireBytes {
    return { upData: this.upData, downData: this.downData, upControl: this.upControl }
  }

  override send(...frames: readonly Frame[]): void {
    super.send(...frames)
    for (const frame of frames) {
      if (DATA.includes(frame.type)) this.upData += frameBytes(frame)
      else if (CONTROL.includes(frame.type)) this.upControl += frameBytes(frame)
    }
  }

  override onFrame(listener: (frame: Frame) => void): void {
    super.onFrame((frame) => {
      if (DATA.includes(frame.type)) this.downData += frameBytes(frame)
      listener(frame)
    })
  }

  override async ping(warmBytes?: number): ReturnType<Connection['ping']> {
    const { rttSeconds } = await super.ping(warmBytes)
    return { rttSeconds, clockOffsetSeconds: 0 }
  }
}

/** The cloud's end of a connection. Holds reports back while requests are timed, so that they delay no tensor. */
export class HoldingConnection extends ForwardedConnection {
  private readonly held: Frame[] = []
  private holds = false

  hold(held: boolean): void {
    this.holds = held
    if (!held && this.held.length > 0) super.send(...this.held.splice(0))
  }

  override send(...frames: readonly Frame[]): void {
    if (this.holds && frames.every(({ type }) => type === FRAME.report)) this.held.push(...frames)
    else super.send(...frames)
  }
}
