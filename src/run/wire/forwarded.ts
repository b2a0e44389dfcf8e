export { frameBytes } from './frame.ts'
import type { Connection, Frame } from './types.ts'

/** A connection that forwards everything to another one: a base class for wrappers. */
export class ForwardedConnection implements Connection {
  protected readonly inner: Connection

  constructor(inner: Connection) {
    this.inner = inner
  }

  get peer(): unknown {
    return this.inner.peer
  }

  get identity(): string | null {
    return this.inner.identity
  }

  get heardSeconds(): number {
    return this.inner.heardSeconds
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
  }

  onFrame(listener: (frame: Frame) => void): void {
    this.inner.onFrame(listener)
  }

  onClose(listener: Parameters<Connection['onClose']>[0]): void {
    this.inner.onClose(listener)
  }

  onHeartbeat(listener: Parameters<Connection['onHeartbeat']>[0]): void {
    this.inner.onHeartbeat(listener)
  }

  onTransfer(listener: Parameters<Connection['onTransfer']>[0]): void {
    this.inner.onTransfer(listener)
  }

  ping(warmBytes?: number): ReturnType<Connection['ping']> {
    return this.inner.ping(warmBytes)
  }

  close(): Promise<void> {
    return this.inner.close()
  }
}
