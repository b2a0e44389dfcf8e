import type { Clock } from '../../core/clock.ts'
import { TransferMeter } from './transferMeter.ts'
import type { Transport } from './transport.ts'
import { ConnectionError, WireError } from './errors.ts'
import { encodeFrames, frameBytes, FrameParser, frameName, makeFrame } from './frame.ts'
import { FrameQueue } from './frameQueue.ts'
import { payloadCap } from './limits.ts'
import { jsonFrame, readJson, readRefusal, refusalFrame, refusalOf } from './payloads.ts'
import type { Refusal } from './payloads.ts'
import { checkLegal, isOwnFrame, otherRole } from './phases.ts'
import type { Phase, Role } from './phases.ts'
import { PingTracker } from './ping.ts'
import type { PingResult } from './ping.ts'
import { HeartbeatMonitor } from './heartbeat.ts'
import type { HeartbeatHost } from './heartbeat.ts'
import { PeerRateLimiter } from './rate.ts'
import type { Timers } from '../../core/timers.ts'
import { FRAME } from './types.ts'
import type { CloseReason, Connection, Frame, Heartbeat, Transfer, WireLimits } from './types.ts'

/** What a server answers to a hello. */
export type HelloReply = { readonly welcome: unknown } | { readonly refuse: Refusal }

/** Answers a hello (parsed JSON, unchecked) of a peer; `identity` is the name in the peer's certificate. */
export type HelloHandler = (peer: unknown, identity: string | null) => HelloReply

/** A client has a greeting to send; a server answers one. If `greet` throws, the client is refused. */
export type Handshake =
  | { readonly role: 'client'; readonly greeting: unknown }
  | { readonly role: 'server'; readonly greet: HelloHandler }

/** Options of a connection. */
export interface ConnectionOptions {
  readonly clock: Clock
  readonly timers: Timers
  readonly limits: WireLimits
}

/**
 * The state machine of one connection: bytes in (`receive`), bytes out (its transport). It does not depend on the kind
 * of transport. Every error ends the connection; the peer receives a `refuse` frame if it can still be reached.
 */
export class WireConnection implements Connection {
  peer: unknown = undefined
  sentBytes = 0
  receivedBytes = 0
  /** Called once, after both greetings and before any frame is delivered. */
  onOpen: () => void = () => {}
  private phase: Phase = 'greeting'
  private reason: CloseReason | null = null
  private readonly role: Role
  private readonly handshake: Handshake
  private readonly transport: Transport
  private readonly clock: Clock
  private readonly timers: Timers
  private readonly limits: WireLimits
  private readonly parser: FrameParser
  private readonly pings: PingTracker
  private readonly inbox: FrameQueue
  private readonly arrivals = new TransferMeter()
  private readonly heartbeat: HeartbeatMonitor
  /** Servers only. */
  private readonly rate: PeerRateLimiter | null
  /** Bytes of all frames, including pings and pongs. */
  private givenBytes = 0
  private nextSequence = 0
  private stopTimer: () => void = () => {}
  private isGone = false
  private readonly goneListeners: (() => void)[] = []

  constructor(transport: Transport, handshake: Handshake, options: ConnectionOptions) {
    this.role = handshake.role
    this.handshake = handshake
    this.transport = transport
    this.clock = options.clock
    this.timers = options.timers
    this.limits = options.limits
    this.heartbeat = new HeartbeatMonitor(this.heartbeatHost(), { ...options, role: this.role })
    this.rate = this.role === 'server' ? new PeerRateLimiter(this.limits, this.clock.nowSeconds()) : null
    this.pings = new PingTracker(options.clock)
    this.inbox = new FrameQueue(options.limits.maxQueuedBytes)
    const peerRole = otherRole(this.role)
    this.parser = new FrameParser((type) => {
      checkLegal(peerRole, this.phase, type)
      return payloadCap(type, this.limits)
    })
  }

  /** Starts the greeting and its timeout. */
  start(): void {
    const { greetingSeconds } = this.limits
    this.stopTimer = this.timers.after(greetingSeconds, () => {
      this.fail(new ConnectionError('E_CONNECTION_TIMEOUT', `no greeting within ${greetingSeconds} s`))
    })
    if (this.handshake.role === 'server') return
    const hello = jsonFrame(FRAME.hello, this.handshake.greeting)
    this.attempt(() => this.write([hello]))
  }

  get identity(): string | null {
    return this.transport.identity
  }

  get heardSeconds(): number {
    return this.heartbeat.heardSeconds
  }

  get queuedBytes(): number {
    return this.transport.queuedBytes
  }

  send(...frames: readonly Frame[]): void {
    this.checkOpen()
    const own = frames.find(({ type }) => isOwnFrame(type))
    if (own !== undefined) {
      const what = 'frame to send'
      throw new WireError(
        'E_WIRE_TYPE',
        what,
        'a frame type that users of a connection may send',
        frameName(own.type),
      )
    }
    this.write(frames)
    this.checkOpen()
  }

  onFrame(listener: (frame: Frame) => void): void {
    if (this.phase === 'closed') this.inbox.onFrame(listener)
    else this.attempt(() => this.inbox.onFrame(listener))
  }

  onClose(listener: (reason: CloseReason) => void): void {
    this.inbox.onClose(listener)
  }

  onHeartbeat(listener: (beat: Heartbeat) => void): void {
    this.heartbeat.onHeartbeat(listener)
  }

  onTransfer(listener: (transfer: Transfer) => void): void {
    this.arrivals.onTransfer(listener)
  }

  async ping(warmBytes = 0): Promise<PingResult> {
    this.checkOpen()
    const { frame, result } = this.pings.ping(warmBytes)
    this.write([frame])
    return result
  }

  close(): Promise<void> {
    if (this.phase === 'greeting') {
      this.fail(new ConnectionError('E_CONNECTION_CLOSED', 'closed before the greeting was over'))
    } else if (this.phase === 'open') {
      this.write([makeFrame(FRAME.bye)])
      this.phase = 'closing'
      this.inbox.stop()
      this.heartbeat.stop()
      this.finish()
    }
    return this.gone()
  }

  /** Resolves when the transport is closed, for whatever reason. */
  gone(): Promise<void> {
    if (this.isGone) return Promise.resolve()
    return new Promise((resolve) => this.goneListeners.push(resolve))
  }

  /** Receives bytes from the transport, in order, in chunks of any size. */
  receive(chunk: Uint8Array): void {
    if (this.phase === 'closing' || this.phase === 'closed') return
    const now = this.clock.nowSeconds()
    this.heartbeat.heard(now)
    this.attempt(() => {
      this.rate?.takeBytes(chunk.length, now)
      let continues = this.parser.insideFrame
      this.parser.push(chunk, (frame) => {
        if (this.phase === 'closing' || this.phase === 'closed') return
        this.rate?.takeFrame(now)
        if (continues) this.arrivals.complete(frameBytes(frame), now)
        continues = false
        if (!isPing(frame)) this.receivedBytes += frameBytes(frame)
        this.take(frame)
      })
      this.arrivals.mark(this.parser.insideBytes, continues, now)
    })
  }

  /** The transport reports that the peer sends no more bytes. */
  ended(): void {
    if (this.phase === 'greeting' || this.phase === 'open') this.lose()
  }

  /** The transport is closed: nothing can be sent or received any more. */
  transportGone(cause?: Error): void {
    this.isGone = true
    if (this.phase === 'closing' && this.transport.queuedBytes === 0 && cause === undefined) {
      this.settle({ kind: 'closed', message: 'closed by this side' })
    } else if (this.phase !== 'closed') this.lose(cause)
    this.stopTimer()
    for (const listener of this.goneListeners.splice(0)) listener()
  }

  /** Ends the connection with an error: tells the peer, and reports the error as the reason. */
  fail(error: Error): void {
    if (this.phase === 'closed') return
    const open = this.phase !== 'closing'
    this.settle({ kind: 'failed', message: error.message, error })
    if (open) this.put([refusalFrame(FRAME.refuse, refusalOf(error))])
    this.finish()
  }

  /** Refuses a client that was not welcomed yet. */
  refuse(refusal: Refusal): void {
    if (this.phase !== 'greeting') return
    const { code, message } = refusal
    const text = `refused the peer: ${message}`
    const error = new ConnectionError('E_CONNECTION_REFUSED', text, { peerCode: code })
    this.settle({ kind: 'failed', message: text, error })
    this.put([refusalFrame(FRAME.refuse, refusal)])
    this.finish()
  }

  private take(frame: Frame): void {
    switch (frame.type) {
      case FRAME.hello:
        this.answer(readJson(frame))
        break
      case FRAME.welcome:
        this.open(readJson(frame))
        break
      case FRAME.refuse:
        this.refused(readRefusal(frame))
        break
      case FRAME.ping:
        this.write([this.pings.pong(frame)])
        break
      case FRAME.pong:
        this.pings.take(frame)
        break
      case FRAME.bye:
        this.settle({ kind: 'ended', message: 'closed by the peer' })
        this.finish()
        break
      default:
        this.inbox.deliver(frame)
    }
  }

  private answer(hello: unknown): void {
    if (this.handshake.role !== 'server') return
    const answer = this.handshake.greet(hello, this.identity)
    if ('refuse' in answer) {
      this.refuse(answer.refuse)
      return
    }
    this.write([jsonFrame(FRAME.welcome, answer.welcome)])
    if (this.phase === 'greeting') this.open(hello)
  }

  private open(peer: unknown): void {
    this.peer = peer
    this.phase = 'open'
    this.stopTimer()
    this.heartbeat.start()
    this.onOpen()
  }

  private refused({ code, message }: Refusal): void {
    const text = `the peer refuses the connection (${code}): ${message}`
    const own = code === 'E_CONNECTION_UNTRUSTED' ? code : 'E_CONNECTION_REFUSED'
    const error = new ConnectionError(own, text, { peerCode: code })
    this.settle({ kind: 'failed', message: text, error })
    this.finish()
  }

  /** Sends frames after checking type and size, and ends the connection if the peer does not read. */
  private write(frames: readonly Frame[]): void {
    for (const { type, payload } of frames) {
      checkLegal(this.role, this.phase, type)
      const cap = payloadCap(type, this.limits)
      if (payload.length > cap) {
        const what = `payload of a ${frameName(type)} frame to send`
        throw new WireError('E_WIRE_SIZE', what, `at most ${cap} bytes`, `${payload.length} bytes`)
      }
    }
    this.put(frames)
    const { queuedBytes } = this.transport
    const { maxQueuedBytes } = this.limits
    if (queuedBytes <= maxQueuedBytes) return
    const text = `the peer does not read: ${queuedBytes} bytes wait for it, at most ${maxQueuedBytes} may`
    this.fail(new ConnectionError('E_CONNECTION_SLOW', text))
    this.transport.destroy()
  }

  private put(frames: readonly Frame[]): void {
    const parts = encodeFrames(frames, this.nextSequence)
    this.nextSequence = (this.nextSequence + frames.length) >>> 0
    for (const frame of frames) {
      this.givenBytes += frameBytes(frame)
      if (!isPing(frame)) this.sentBytes += frameBytes(frame)
    }
    this.transport.write(parts)
  }

  /**
   * Runs code that may throw: an error caused by the peer's bytes or a listener ends the connection, not the process.
   */
  private attempt(run: () => void): void {
    try {
      run()
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)))
    }
  }

  private lose(cause?: Error): void {
    if (cause instanceof ConnectionError && this.phase === 'greeting') {
      this.settle({ kind: 'failed', message: cause.message, error: cause })
      return
    }
    const place = this.parser.insideFrame ? 'inside a frame' : 'without a bye'
    const text = `the connection broke ${place}${cause === undefined ? '' : `: ${cause.message}`}`
    const error = new ConnectionError('E_CONNECTION_LOST', text, { cause })
    this.settle({ kind: 'failed', message: text, error })
    if (!this.isGone) this.transport.destroy()
  }

  private settle(reason: CloseReason): void {
    this.phase = 'closed'
    this.reason = reason
    this.stopTimer()
    this.heartbeat.stop()
    this.pings.fail(this.closedError())
    this.inbox.close(reason)
  }

  /**
   * Ends this side's direction. Cuts the connection if the peer takes no more bytes and does not end its own direction.
   */
  private finish(): void {
    if (this.isGone) return
    this.stopTimer()
    this.transport.end()
    let before = Infinity
    const look = (): void => {
      const { queuedBytes } = this.transport
      if (queuedBytes >= before) {
        this.transport.destroy()
        return
      }
      before = queuedBytes
      this.stopTimer = this.timers.after(this.limits.closingSeconds, look)
    }
    look()
  }

  private heartbeatHost(): HeartbeatHost {
    return {
      givenBytes: () => this.givenBytes,
      queuedBytes: () => this.transport.queuedBytes,
      ping: () => this.ping(),
      attempt: (run) => this.attempt(run),
      giveUp: (error) => {
        this.fail(error)
        this.transport.destroy()
      },
    }
  }

  private checkOpen(): void {
    if (this.phase !== 'open') throw this.closedError()
  }

  private closedError(): ConnectionError {
    const reason = this.reason
    if (reason?.kind === 'failed' && reason.error instanceof ConnectionError) return reason.error
    const cause = reason?.kind === 'failed' ? reason.error : undefined
    const why = reason?.message ?? (this.phase === 'closing' ? 'closed by this side' : 'not greeted yet')
    return new ConnectionError('E_CONNECTION_CLOSED', `the connection is not open: ${why}`, { cause })
  }
}

function isPing({ type }: Frame): boolean {
  return type === FRAME.ping || type === FRAME.pong
}
