import type { Clock } from '../../core/clock.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { ConnectionError } from '../wire/errors.ts'
import type { Timers } from '../../core/timers.ts'
import { FRAME, type Connection, type Frame } from '../wire/types.ts'
import { tensorBytes } from '../../plan/price/boundary.ts'
import { cloudAway, cloudRefuses, noCloud, peerFailed } from './errors.ts'
import type { Message } from './frames.ts'
import { ReceivedFrames, RetransmitBuffer, type RetransmitBudget } from './retransmit.ts'
import { RequestTraffic } from './requestTraffic.ts'
import type { EdgeLink } from './link.ts'
import { ReceiveBuffer, type ReceivedMessage } from './receiveBuffer.ts'
import { openFrame, type OpenMessage, type ResolvedPlan } from './messages.ts'
import type { PlanRegistry } from './planRegistry.ts'
import type { RecoveryEvent } from './recoveryTypes.ts'
import { sendIfOpen } from './sendIfOpen.ts'

/** Bytes that a replay may send ahead of what the cloud's answers have asked for. */
const AHEAD_BYTES = 8 * 2 ** 20
/** Largest number of frames of one request sent at once; more follow later, so that a cloud is not flooded. */
const BURST_FRAMES = 512
const LOOK_SECONDS = 0.02
/** No frames are added while the connection's send queue holds more bytes than this. */
const QUEUE_BYTES = 32 * 2 ** 20

/** State that all streams of an executor share. */
export interface CloudStreamHost {
  readonly model: ModelSpec
  readonly clock: Clock
  readonly timers: Timers
  readonly link: EdgeLink
  readonly kept: RetransmitBudget
  readonly plans: PlanRegistry
  /** All open streams. */
  readonly streams: Set<CloudStream>
  /** Streams by request number on the current connection. */
  readonly numbers: Map<number, CloudStream>
  /** Returns an unused request number. */
  nextNumber(): number
}

/** What a stream needs from its request. */
interface CloudStreamOwner {
  /** The request's number in events. */
  readonly request: number
  /** Seconds to wait without a cloud; null: no limit. */
  readonly waitSeconds: number | null
  delivered(): number
  /** The plan span cannot continue; it must be restarted from token ids. */
  restart(): void
  onEvent(event: RecoveryEvent): void
}

/**
 * The frames of one plan span to and from the cloud. A stream outlives connections: on a new one it sends its frames
 * again, at the cloud's pace, and drops the answers that the executor has had before. Meanwhile the executor waits in
 * `take` and does not notice.
 */
export class CloudStream {
  readonly receiveBuffer: ReceiveBuffer
  readonly kept: RetransmitBuffer
  readonly resolvedPlan: ResolvedPlan
  /** Since when the executor has been waiting for a message; null if it is not. */
  waitingSinceSeconds: number | null = null
  readonly traffic = new RequestTraffic()
  private readonly host: CloudStreamHost
  private readonly owner: CloudStreamOwner
  private readonly opening: Omit<OpenMessage, 'plan'>
  private readonly received = new ReceivedFrames()
  private connection: Connection | null = null
  /** Request number on the current connection, or null before the cloud has been sent the request. */
  private number: number | null = null
  private isOpen = false
  /** True after the end: nothing more is sent. */
  private isOver = false
  /** True when the executor has received everything it needs. */
  private isDone = false
  /** Whether the cloud still has to be told that the request has ended. */
  private owesClose = true
  private isReplay = false
  private bytesAgain = 0
  private refusals = 0
  private awaySinceSeconds: number | null = null
  private away: Error | null = null
  private stopWait: () => void = () => {}
  private stopLook: () => void = () => {}
  private stopRetry: () => void = () => {}
  private onReport: (frame: Frame) => void = () => {}
  private readonly report: Promise<Frame>

  constructor(
    host: CloudStreamHost,
    owner: CloudStreamOwner,
    resolvedPlan: ResolvedPlan,
    opening: Omit<OpenMessage, 'plan'>,
  ) {
    const { model } = host
    const { promptTokens, maxNewTokens } = opening
    this.host = host
    this.owner = owner
    this.resolvedPlan = resolvedPlan
    this.opening = opening
    this.kept = new RetransmitBuffer(host.kept)
    this.receiveBuffer = new ReceiveBuffer(
      tensorBytes(promptTokens + maxNewTokens, model.width + model.ffnWidth, 32),
    )
    this.report = new Promise((resolve) => (this.onReport = resolve))
  }

  /** Registers the plan, so that the cloud loads its part while the edge computes. */
  begin(): void {
    this.host.streams.add(this)
    const { connection } = this.host.link
    if (connection === null) this.awaitCloud(this.gone('there is none yet'))
    else this.attach(connection)
  }

  send(message: Message): void {
    if (this.isOver) return
    this.kept.add(message, this.received.count)
    this.pump()
  }

  async take(position: number, step: number): Promise<ReceivedMessage> {
    return await this.waitFor(this.receiveBuffer.take(position, step))
  }

  /** Waits for the cloud, and ends the wait if the cloud is away for too long. */
  private async waitFor<T>(coming: Promise<T>): Promise<T> {
    if (this.away !== null && this.isExpired()) this.receiveBuffer.fail(this.away)
    this.waitingSinceSeconds = this.host.clock.nowSeconds()
    try {
      return await coming
    } finally {
      this.waitingSinceSeconds = null
    }
  }

  /** Resolves to the cloud's report. */
  reported(): Promise<Frame> {
    return this.waitFor(Promise.race([this.report, this.receiveBuffer.failed]))
  }

  /** The executor has its last token. `cloudKnows`: the cloud sampled it, and needs no close. */
  done(cloudKnows: boolean): void {
    this.isDone = true
    this.owesClose = !cloudKnows
    this.closeWhenSent()
  }

  /** Ends sending and waiting. Kept frames stay until `kept.free`. */
  end(): void {
    this.host.streams.delete(this)
    if (this.isOver) return
    this.isOver = true
    if (this.owesClose) this.sayClose()
    this.hangUp()
    this.stopWait()
  }

  attach(connection: Connection): void {
    if (this.isOver || this.connection === connection) return
    this.hangUp()
    if (this.awaySinceSeconds !== null && this.refusals === 0) this.cloudIsThere()
    if (!this.kept.whole && this.kept.sent > 0) {
      this.giveUp()
      return
    }
    this.connection = connection
    this.isReplay ||= this.kept.sent > 0
    this.kept.restart()
    this.received.restart()
    this.bytesAgain = 0
    this.number = this.host.nextNumber()
    this.host.numbers.set(this.number, this)
    const { frames } = this.host.plans.numberOf(connection, this.resolvedPlan)
    if (frames.length > 0) sendIfOpen(connection, ...frames)
    this.pump()
  }

  /** Called when the connection was lost. */
  detach(connection: Connection, reason: string): void {
    if (this.isOver || this.connection !== connection) return
    this.hangUp()
    if (this.host.link.resumes) this.awaitCloud(this.gone(reason))
    else this.receiveBuffer.fail(noCloud(reason))
  }

  /** Handles a frame of the cloud with the current request number. */
  receive(frame: Frame): void {
    this.refusals = 0
    this.cloudIsThere()
    if (frame.type === FRAME.report) {
      this.onReport(frame)
      return
    }
    this.traffic.received(frame)
    const kind = this.received.take(frame)
    if (kind === 'other') this.diverged(frame.position)
    else {
      if (kind === 'new') this.receiveBuffer.deliver(frame, this.host.clock.nowSeconds())
      this.pump()
    }
  }

  /** Called when the cloud refused or ended the request. */
  refused(code: string, message: string): void {
    const { clock, timers, link } = this.host
    this.hangUp()
    if (!link.resumes || !PASSING.has(code)) {
      this.receiveBuffer.fail(peerFailed(code, message))
      return
    }
    this.owner.onEvent({
      kind: 'request-refused',
      atSeconds: clock.nowSeconds(),
      request: this.owner.request,
      code,
    })
    this.awaitCloud(cloudRefuses(code, message))
    this.stopRetry = timers.after(link.retrySeconds(this.refusals++), () => {
      if (link.connection !== null) this.attach(link.connection)
    })
  }

  /**
   * Sends what may be sent: everything that the cloud's answers have asked for, and a limited number of bytes ahead.
   */
  private pump(): void {
    const { kept, received } = this
    let burst = 0
    for (let frame = kept.next; frame !== undefined; frame = kept.next) {
      if (this.connection === null) return
      const ahead = kept.ahead(received.sinceStart) + frame.bytes
      if (frame.after > received.sinceStart && ahead > AHEAD_BYTES) return
      if (burst++ === BURST_FRAMES || this.connection.queuedBytes > QUEUE_BYTES) {
        this.look()
        return
      }
      if (!this.transmit(this.connection, frame.message!)) return
      this.bytesAgain += frame.bytes
      kept.passed()
    }
    this.noteResumed()
    this.closeWhenSent()
  }

  private closeWhenSent(): void {
    if (this.isDone && this.owesClose && this.kept.allSent) this.sayClose()
  }

  /** Returns false if the connection broke. */
  private transmit(connection: Connection, message: Message): boolean {
    const request = this.number!
    const opening: Frame[] = []
    if (!this.isOpen) {
      const { number: plan, frames } = this.host.plans.numberOf(connection, this.resolvedPlan)
      opening.push(...frames, openFrame(request, { plan, ...this.opening }))
    }
    try {
      connection.send(...opening, { ...message, request })
    } catch (error) {
      // The end of a connection is reported through `detach`.
      if (!(error instanceof ConnectionError)) this.receiveBuffer.fail(error as Error)
      return false
    }
    this.isOpen = true
    this.traffic.sent(message)
    return true
  }

  private look(): void {
    this.stopLook()
    this.stopLook = this.host.timers.after(LOOK_SECONDS, () => this.pump())
  }

  private noteResumed(): void {
    if (!this.isReplay || !this.kept.allSent || !this.received.caughtUp) return
    this.isReplay = false
    const { clock } = this.host
    const { request } = this.owner
    const facts = { atSeconds: clock.nowSeconds(), tokens: this.owner.delivered(), bytes: this.bytesAgain }
    this.owner.onEvent({ kind: 'request-resumed', request, rebuild: 'replay', ...facts })
  }

  private diverged(position: number): void {
    const { request } = this.owner
    this.owner.onEvent({
      kind: 'replay-diverged',
      atSeconds: this.host.clock.nowSeconds(),
      request,
      position,
    })
    this.giveUp()
  }

  private giveUp(): void {
    this.end()
    this.owner.restart()
  }

  private sayClose(): void {
    if (!this.isOpen) return
    this.isOpen = false
    if (this.connection !== null) sendIfOpen(this.connection, { ...CLOSE, request: this.number! })
  }

  /** Releases the request number: later frames of the cloud with it are ignored. */
  private hangUp(): void {
    this.stopLook()
    this.stopRetry()
    if (this.number !== null) this.host.numbers.delete(this.number)
    this.number = null
    this.connection = null
    this.isOpen = false
  }

  private awaitCloud(error: Error): void {
    const { clock, timers } = this.host
    const { waitSeconds } = this.owner
    this.away = error
    if (this.awaySinceSeconds === null) {
      this.awaySinceSeconds = clock.nowSeconds()
      if (waitSeconds !== null) this.stopWait = timers.after(waitSeconds, () => this.expire())
    } else if (this.isExpired()) this.receiveBuffer.fail(error)
  }

  /** Affects only an executor that is waiting for the cloud; an attempt in progress is left to finish. */
  private expire(): void {
    if (this.connection === null && this.waitingSinceSeconds !== null) this.receiveBuffer.fail(this.away!)
  }

  private isExpired(): boolean {
    const { waitSeconds } = this.owner
    if (waitSeconds === null || this.awaySinceSeconds === null || this.connection !== null) return false
    return this.host.clock.nowSeconds() - this.awaySinceSeconds >= waitSeconds
  }

  private cloudIsThere(): void {
    this.awaySinceSeconds = null
    this.away = null
    this.stopWait()
  }

  private gone(reason: string): Error {
    return cloudAway(reason, this.owner.waitSeconds)
  }
}

/** Codes of a cloud that may accept the request later. */
const PASSING: ReadonlySet<string> = new Set(['E_BUSY', 'E_DRAINING', 'E_IDLE', 'E_INTERNAL', 'E_ENGINE'])

const CLOSE: Message = {
  type: FRAME.close,
  step: 0,
  position: 0,
  count: 0,
  bits: 0,
  flags: 0,
  payload: new Uint8Array(0),
}
