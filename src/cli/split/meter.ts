import { FRAME, FRAME_HEADER_BYTES, type Connection, type Frame } from '../../wire/types.ts'

/** Bytes of the requests' messages in either direction, headers included. */
export interface RequestBytes {
  readonly up: number
  readonly down: number
}

/**
 * A connection that counts what its requests take: pings belong to no request, and a report is made only where
 * somebody wants an explanation.
 */
export class MeteredConnection implements Connection {
  private readonly inner: Connection
  private up = 0
  private down = 0

  constructor(inner: Connection) {
    this.inner = inner
  }

  get bytes(): RequestBytes {
    return { up: this.up, down: this.down }
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
    for (const frame of frames) this.up += sizeOf(frame)
  }

  onFrame(listener: (frame: Frame) => void): void {
    this.inner.onFrame((frame) => {
      if (frame.type !== FRAME.report) this.down += sizeOf(frame)
      listener(frame)
    })
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

function sizeOf({ payload }: Frame): number {
  return FRAME_HEADER_BYTES + payload.byteLength
}
