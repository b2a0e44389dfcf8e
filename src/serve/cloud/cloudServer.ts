import type { Clock } from '../../core/clock.ts'
import { runtimeMemoryTerms } from '../../plan/price/memory.ts'
import { CloudMemoryBudget } from '../../run/executor/memoryBudget.ts'
import { CLOUD_DEFAULTS, CloudExecutor } from '../../run/executor/cloud.ts'
import { checkHello, type HelloPayload } from '../../run/executor/hello.ts'
import type { HelloReply } from '../../run/wire/connection.ts'
import type { Connection } from '../../run/wire/types.ts'
import type { OpenedSide } from '../side.ts'
import type { CloudEvent } from './types.ts'

interface CloudServerOptions {
  readonly side: OpenedSide
  readonly sessionBytes: number
  readonly idleSeconds: number
  readonly clock: Clock
  readonly onEvent: (event: CloudEvent) => void
}

/** The connections of one cloud. */
export class CloudServer {
  readonly budget: CloudMemoryBudget
  private readonly options: CloudServerOptions
  private readonly peers = new Set<CloudExecutor>()
  private count = 0
  private draining = false

  constructor(options: CloudServerOptions) {
    this.options = options
    this.budget = new CloudMemoryBudget(options.sessionBytes)
  }

  get connections(): number {
    return this.peers.size
  }

  get isDraining(): boolean {
    return this.draining
  }

  /** Bytes of weights in memory. */
  readonly loadedBytes = (): number => this.options.side.execution.sessions.loadedBytes

  /** Answers an edge that connects: it must hold the same weights. */
  greet(peer: unknown): HelloReply {
    const { greeting } = this.options.side
    if (this.draining) return { refuse: { code: 'E_DRAINING', message: 'this cloud is about to end' } }
    const { mismatch } = checkHello(peer, greeting)
    return mismatch === null ? { welcome: greeting } : { refuse: { code: 'E_MODEL', message: mismatch } }
  }

  admit(connection: Connection): void {
    const { side, clock, idleSeconds, onEvent } = this.options
    const peer = new CloudExecutor(connection, {
      ...CLOUD_DEFAULTS,
      model: side.pretrained.source.model,
      runner: side.execution.runner,
      clock,
      budget: this.budget,
      weights: {
        terms: runtimeMemoryTerms(side.pretrained.source.model, side.precision),
        limitBytes: side.memory.limitBytes,
      },
      idleSeconds,
    })
    this.count++
    const number = this.count
    // The greeting was checked when it was answered.
    const { software, precision } = connection.peer as HelloPayload
    onEvent({
      kind: 'connection-opened',
      atSeconds: clock.nowSeconds(),
      connection: number,
      identity: connection.identity,
      software,
      precision,
    })
    this.peers.add(peer)
    connection.onClose(({ message }) => {
      this.peers.delete(peer)
      const { receivedBytes, sentBytes } = connection
      onEvent({
        kind: 'connection-closed',
        atSeconds: clock.nowSeconds(),
        connection: number,
        reason: message,
        receivedBytes,
        sentBytes,
      })
    })
  }

  rejected({ message }: Error): void {
    const { clock, onEvent } = this.options
    onEvent({ kind: 'connection-rejected', atSeconds: clock.nowSeconds(), reason: message })
  }

  /** Takes no more; resolves when what is under way has ended. */
  async drain(): Promise<void> {
    this.draining = true
    await Promise.all([...this.peers].map((peer) => peer.drain()))
  }
}
