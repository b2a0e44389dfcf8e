import { CloudMemoryBudget } from '../../run/executor/memoryBudget.ts'
import { CLOUD_DEFAULTS, CloudExecutor } from '../../run/executor/cloud.ts'
import { checkHello, type HelloPayload } from '../../run/executor/hello.ts'
import { formatBytes } from '../../report/numbers.ts'
import type { HelloReply } from '../../run/wire/connection.ts'
import type { CloseReason, Connection } from '../../run/wire/types.ts'
import type { Io } from '../io.ts'
import type { OpenedSide } from '../split/side.ts'

/** The connections of one cloud. */
export class CloudServer {
  readonly budget: CloudMemoryBudget
  private readonly side: OpenedSide
  private readonly io: Io
  private readonly idleSeconds: number
  private readonly peers = new Set<CloudExecutor>()
  private count = 0
  private draining = false

  constructor(side: OpenedSide, limits: { sessionBytes: number; idleSeconds: number }, io: Io) {
    this.side = side
    this.io = io
    this.budget = new CloudMemoryBudget(limits.sessionBytes)
    this.idleSeconds = limits.idleSeconds
  }

  get connections(): number {
    return this.peers.size
  }

  get isDraining(): boolean {
    return this.draining
  }

  /** Bytes of weights in memory. */
  readonly loadedBytes = (): number => this.side.execution.sessions.loadedBytes

  greet(peer: unknown): HelloReply {
    const { greeting } = this.side
    if (this.draining) return { refuse: { code: 'E_DRAINING', message: 'this cloud is about to end' } }
    const { mismatch } = checkHello(peer, greeting)
    return mismatch === null ? { welcome: greeting } : { refuse: { code: 'E_MODEL', message: mismatch } }
  }

  admit(connection: Connection): void {
    const { pretrained, execution } = this.side
    const peer = new CloudExecutor(connection, {
      ...{ model: pretrained.source.model, runner: execution.runner, clock: this.io.clock },
      ...{ ...CLOUD_DEFAULTS, budget: this.budget, idleSeconds: this.idleSeconds },
    })
    this.count++
    const number = this.count
    // The greeting was read when it was answered.
    const { software, precision } = connection.peer as HelloPayload
    const who = connection.identity === null ? '' : `${connection.identity}, `
    this.say(`connection ${number} opened: ${who}${software}, ${precision}`)
    this.peers.add(peer)
    connection.onClose((reason) => {
      this.peers.delete(peer)
      this.say(`connection ${number} closed: ${partingWords(connection, reason)}`)
    })
  }

  /** Takes no more; resolves when what is under way has ended. */
  async drain(): Promise<void> {
    this.draining = true
    await Promise.all([...this.peers].map((peer) => peer.drain()))
  }

  private say(text: string): void {
    this.io.stderr.write(`${text}\n`)
  }
}

function partingWords(connection: Connection, { message }: CloseReason): string {
  const { receivedBytes, sentBytes } = connection
  return `${message}; ${formatBytes(receivedBytes)} up, ${formatBytes(sentBytes)} down`
}
