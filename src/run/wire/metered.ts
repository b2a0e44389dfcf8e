import { ForwardedConnection, frameBytes } from './forwarded.ts'
import { FRAME, type Frame } from './types.ts'

/** Bytes of the requests' messages in either direction, headers included. */
export interface RequestBytes {
  readonly up: number
  readonly down: number
}

/**
 * A connection that counts what its requests take: pings and the cloud's load belong to no request, and a report is
 * made only where somebody wants an explanation.
 */
export class MeteredConnection extends ForwardedConnection {
  private up = 0
  private down = 0

  get bytes(): RequestBytes {
    return { up: this.up, down: this.down }
  }

  override send(...frames: readonly Frame[]): void {
    super.send(...frames)
    for (const frame of frames) this.up += frameBytes(frame)
  }

  override onFrame(listener: (frame: Frame) => void): void {
    super.onFrame((frame) => {
      if (frame.type !== FRAME.report && frame.type !== FRAME.load) this.down += frameBytes(frame)
      listener(frame)
    })
  }
}
