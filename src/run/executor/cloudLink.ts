import type { Clock } from '../../core/clock.ts'
import { InputError } from '../../core/errors.ts'
import type { RandomStream } from '../../core/random.ts'
import { ConnectionError, WireError } from '../wire/errors.ts'
import type { Timers } from '../../core/timers.ts'
import type { Connection } from '../wire/types.ts'
import { DEFAULT_BACKOFF, jittered, nominalDelay } from './backoff.ts'
import type { EdgeLink } from './link.ts'
import type { Backoff, Dial, ConnectionState, RecoveryEvent } from './recoveryTypes.ts'

export { DEFAULT_BACKOFF } from './backoff.ts'

/** An attempt to connect that takes longer is aborted. */
export const DIAL_SECONDS = 10

/** Options of a cloud link. */
interface CloudLinkOptions {
  /** Must settle soon after its signal is aborted: the next dial begins only when the previous one has settled. */
  readonly dial: Dial
  readonly clock: Clock
  readonly timers: Timers
  readonly random: RandomStream
  readonly backoff?: Backoff
}

/**
 * Keeps a connection to the cloud. A lost connection is dialled again after the backoff's base, then after waits that
 * grow up to the cap, each with jitter, until the link is closed.
 */
export class CloudLink implements EdgeLink {
  readonly resumes = true
  state: ConnectionState = 'down'
  connection: Connection | null = null
  downSinceSeconds: number | null = null
  private readonly options: CloudLinkOptions
  private readonly backoff: Backoff
  private readonly connectionListeners: ((connection: Connection) => void)[] = []
  private readonly eventListeners = new Set<(event: RecoveryEvent) => void>()
  private readonly closing = new AbortController()
  private readonly waiting = new Set<Opening>()
  private attempts = 0
  private upSinceSeconds = 0
  private wasUp = false
  private isStarted = false
  /** Why the cloud refused the last attempt; null if it did not. */
  private refusal: Error | null = null
  private stopTimer: () => void = () => {}

  constructor(options: CloudLinkOptions) {
    this.options = options
    this.backoff = options.backoff ?? DEFAULT_BACKOFF
  }

  /** Starts dialling; further calls have no effect. */
  start(): void {
    if (this.isStarted || this.state === 'closed') return
    this.isStarted = true
    this.downSinceSeconds = this.options.clock.nowSeconds()
    this.dial()
  }

  /**
   * Resolves to the current connection, or to the first one. Rejects if the cloud refuses permanently (another model,
   * no credential) before there was a connection, with the signal's reason, or when the link is closed.
   */
  opened(signal?: AbortSignal): Promise<Connection> {
    if (this.connection !== null) return Promise.resolve(this.connection)
    if (signal?.aborted === true) return Promise.reject(signal.reason as Error)
    if (this.state === 'closed') return Promise.reject(closedError())
    if (this.refusal !== null && !this.wasUp) return Promise.reject(this.refusal)
    return new Promise((resolve, reject) => {
      const leave = () => signal?.removeEventListener('abort', abort)
      const waiting: Opening = {
        resolve: (connection) => {
          leave()
          resolve(connection)
        },
        reject: (error) => {
          leave()
          reject(error)
        },
      }
      const abort = () => {
        this.waiting.delete(waiting)
        waiting.reject(signal!.reason as Error)
      }
      signal?.addEventListener('abort', abort)
      this.waiting.add(waiting)
    })
  }

  onConnection(listener: (connection: Connection) => void): void {
    this.connectionListeners.push(listener)
    if (this.connection !== null) listener(this.connection)
  }

  /** Registers a listener; returns a function that removes it. */
  onEvent(listener: (event: RecoveryEvent) => void): () => void {
    this.eventListeners.add(listener)
    return () => this.eventListeners.delete(listener)
  }

  retrySeconds(attempt: number): number {
    return jittered(nominalDelay(this.backoff, attempt), this.backoff, this.options.random)
  }

  /** Closes the connection and aborts dialling for good. */
  async close(): Promise<void> {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.stopTimer()
    this.closing.abort(closedError())
    this.settle(({ reject }) => reject(closedError()))
    const { connection } = this
    this.connection = null
    this.downSinceSeconds ??= this.options.clock.nowSeconds()
    await connection?.close()
  }

  private dial(): void {
    const { dial, timers } = this.options
    this.state = 'connecting'
    this.attempts++
    const late = new ConnectionError('E_CONNECTION_TIMEOUT', `no connection within ${DIAL_SECONDS} s`)
    const overdue = new AbortController()
    this.stopTimer = timers.after(DIAL_SECONDS, () => overdue.abort(late))
    const signal = AbortSignal.any([this.closing.signal, overdue.signal])
    // Makes a dial that throws equivalent to one that rejects.
    Promise.resolve()
      .then(() => dial(signal))
      .then(
        (connection) => this.dialled(connection),
        (error: unknown) => this.failed(error),
      )
  }

  private dialled(connection: Connection): void {
    this.stopTimer()
    if (this.state === 'closed') {
      void connection.close()
      return
    }
    const atSeconds = this.options.clock.nowSeconds()
    const awaySeconds = atSeconds - (this.downSinceSeconds ?? atSeconds)
    this.state = 'up'
    this.wasUp = true
    this.refusal = null
    this.connection = connection
    this.upSinceSeconds = atSeconds
    this.downSinceSeconds = null
    this.emit({ kind: 'link-up', atSeconds, attempts: this.attempts, awaySeconds })
    this.settle(({ resolve }) => resolve(connection))
    connection.onClose(({ message }) => this.lost(connection, message))
    // The connection may have ended already.
    if (this.connection !== connection) return
    for (const listener of this.connectionListeners) listener(connection)
  }

  private lost(connection: Connection, reason: string): void {
    if (this.connection !== connection) return
    const atSeconds = this.options.clock.nowSeconds()
    this.connection = null
    this.downSinceSeconds = atSeconds
    // A connection that ended quickly counts as a failed attempt, so that the waits keep growing.
    const lasted = atSeconds - this.upSinceSeconds
    if (lasted >= nominalDelay(this.backoff, this.attempts)) this.attempts = 0
    this.emit({ kind: 'link-down', atSeconds, reason })
    this.retry(nominalDelay(this.backoff, this.attempts))
  }

  private failed(error: unknown): void {
    this.stopTimer()
    if (this.state === 'closed') return
    const atSeconds = this.options.clock.nowSeconds()
    if (isPermanent(error)) {
      this.refusal = error
      this.emit({ kind: 'link-refused', atSeconds, reason: error.message })
      if (!this.wasUp) this.settle(({ reject }) => reject(error))
      this.retry(this.backoff.capSeconds)
    } else this.retry(nominalDelay(this.backoff, this.attempts))
  }

  private retry(nominalSeconds: number): void {
    const { clock, timers, random } = this.options
    this.state = 'down'
    const delaySeconds = jittered(nominalSeconds, this.backoff, random)
    const atSeconds = clock.nowSeconds()
    this.emit({ kind: 'link-retry', atSeconds, attempt: this.attempts + 1, delaySeconds })
    this.stopTimer = timers.after(delaySeconds, () => this.dial())
  }

  private settle(end: (waiting: Opening) => void): void {
    const all = [...this.waiting]
    this.waiting.clear()
    for (const waiting of all) end(waiting)
  }

  private emit(event: RecoveryEvent): void {
    for (const listener of this.eventListeners) listener(event)
  }
}

interface Opening {
  readonly resolve: (connection: Connection) => void
  readonly reject: (error: Error) => void
}

/** Codes of refusals that may pass: a cloud without free capacity, and damaged bytes. */
const PASSING = /^E_(BUSY|DRAINING|CLOSING|INTERNAL|ENGINE|CONNECTION_\w+|WIRE_(?!VERSION$)\w+)$/

/** Whether retrying is useless until somebody changes something. */
function isPermanent(error: unknown): error is Error {
  if (error instanceof InputError) return true
  if (error instanceof WireError) return !PASSING.test(error.code)
  if (!(error instanceof ConnectionError)) return false
  if (error.code === 'E_CONNECTION_UNTRUSTED') return true
  if (error.code !== 'E_CONNECTION_REFUSED') return false
  return error.peerCode !== null && !PASSING.test(error.peerCode)
}

function closedError(): ConnectionError {
  return new ConnectionError('E_CONNECTION_CLOSED', 'the link to the cloud was closed')
}
