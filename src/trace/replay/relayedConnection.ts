import type { Socket } from 'node:net'
import type { PipeItem, Pipe, Sink } from './pipe.ts'

export interface RelayedConnectionContext {
  /** Carries what the client says. */
  readonly up: Pipe
  /** Carries what the target says. */
  readonly down: Pipe
  nowSeconds(): number
  /** Something was put on a lane. */
  moved(): void
  unreachable(problem: string): void
  closed(): void
}

/** A receiver that takes no more than this holds up its sender. */
const UNTAKEN_BYTES = 1024 * 1024

/** One connection through the relay: the client's socket, the target's, and what each says to the other. */
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
    this.carry(client, target, context.up)
    this.carry(target, client, context.down)
  }

  /** Lets each side be read where its lane has room and its receiver takes what comes. */
  flow(): void {
    regulate(this.client, this.context.up, this.target)
    regulate(this.target, this.context.down, this.client)
  }

  destroy(): void {
    this.client.destroy()
    this.target.destroy()
  }

  private carry(from: Socket, to: Socket, lane: Pipe): void {
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
      // Neither an end nor our own doing: the peer has reset the connection.
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

/** What arrives for a socket that is gone is dropped. */
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
