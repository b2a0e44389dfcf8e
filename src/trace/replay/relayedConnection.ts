import type { Socket } from 'node:net'
import type { PipeItem, Pipe, Sink } from './pipe.ts'

/** What a relayed connection needs from its relay. */
interface RelayedConnectionContext {
  /** Carries bytes from the client. */
  readonly up: Pipe
  /** Carries bytes from the target. */
  readonly down: Pipe
  nowSeconds(): number
  /** Called when something was put on a pipe. */
  moved(): void
  unreachable(problem: string): void
  closed(): void
}

/** When a receiver has not taken this many delivered bytes, its sender is paused. */
const UNTAKEN_BYTES = 1024 * 1024

/** One connection through the relay: the client's socket, the target's, and the bytes between them. */
export class RelayedConnection {
  private readonly client: Socket
  private readonly target: Socket
  private readonly context: RelayedConnectionContext
  private connected = false
  private readonly open: Set<Socket>

  constructor(client: Socket, target: Socket, context: RelayedConnectionContext) {
    this.client = client
    this.target = target
    this.context = context
    this.open = new Set([client, target])
    target.once('connect', () => (this.connected = true))
    this.pump(client, target, context.up)
    this.pump(target, client, context.down)
  }

  /** Reads from each side while its pipe has space and its receiver takes the bytes. */
  flow(): void {
    regulate(this.client, this.context.up, this.target)
    regulate(this.target, this.context.down, this.client)
  }

  destroy(): void {
    this.client.destroy()
    this.target.destroy()
  }

  private pump(from: Socket, to: Socket, lane: Pipe): void {
    const sink = sinkOf(to, () => this.flow())
    let ended = false
    const put = (cargo: PipeItem): void => {
      lane.push(sink, cargo, this.context.nowSeconds())
      this.flow()
      this.context.moved()
    }
    from.on('data', put)
    from.once('end', () => {
      ended = true
      put('end')
    })
    from.on('drain', () => this.flow())
    from.on('error', (error) => {
      if (this.connected || from !== this.target) return
      this.context.unreachable((error as NodeJS.ErrnoException).code ?? error.message)
      to.resetAndDestroy()
    })
    from.once('close', () => {
      this.open.delete(from)
      // The socket closed without an end and not by us: the peer reset the connection.
      if ((!ended || from.errored !== null) && !to.destroyed) put('reset')
      if (this.open.size === 0) this.context.closed()
    })
  }
}

function regulate(from: Socket, lane: Pipe, to: Socket): void {
  if (from.destroyed) return
  const hold = lane.full || to.writableLength > UNTAKEN_BYTES
  if (hold !== from.isPaused()) {
    if (hold) from.pause()
    else from.resume()
  }
}

/** Bytes that arrive for a closed socket are dropped. */
function sinkOf(socket: Socket, flow: () => void): Sink {
  return {
    write(bytes) {
      if (socket.destroyed || socket.writableEnded) return
      if (!socket.write(bytes)) flow()
    },
    end() {
      if (!socket.destroyed) socket.end()
    },
    reset() {
      if (!socket.destroyed) socket.resetAndDestroy()
    },
  }
}
