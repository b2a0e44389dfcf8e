import type { Clock } from '../../core/clock.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { ConnectionError } from '../wire/errors.ts'
import { frameBytes } from '../wire/forwarded.ts'
import type { Timers } from '../../core/timers.ts'
import { FRAME, type Connection, type Frame } from '../wire/types.ts'
import { payloadBytes } from './boundary.ts'
import { cloudAway, cloudRefuses, noCloud, peerFailed } from './errors.ts'
import type { Message } from './frames.ts'
import { ReceivedFrames, RetransmitBuffer, type RetransmitBudget } from './retransmit.ts'
import type { EdgeLink } from './link.ts'
import { ReceiveBuffer, type ReceivedMessage } from './receiveBuffer.ts'
import { openFrame, type OpenMessage, type ResolvedPlan } from './messages.ts'
import type { PlanRegistry } from './planRegistry.ts'
import type { RecoveryEvent } from './recoveryTypes.ts'
import { sendIfOpen } from './sendIfOpen.ts'

/** What lies ahead of what the cloud has answered, in a replay. */
const AHEAD_BYTES = 8 * 2 ** 20
/** Frames of one request in one go; the next ones follow a look later, so that no cloud is flooded. */
const BURST_FRAMES = 512
const LOOK_SECONDS = 0.02
/** The connection's queue is filled no further. */
const QUEUE_BYTES = 32 * 2 ** 20

/** What all calls of an executor share. */
export interface CloudStreamHost {
  readonly model: ModelSpec
  readonly clock: Clock
  readonly timers: Timers
  readonly link: EdgeLink
  readonly kept: RetransmitBudget
  readonly plans: PlanRegistry
  /** All that are open. */
  readonly streams: Set<CloudStream>
  /** By the numbers under which the cloud knows them. */
  readonly numbers: Map<number, CloudStream>
  /** A number that the cloud has not heard of. */
  nextNumber(): number
}

/** What a call needs of its request. */
export interface CloudStreamOwner {
  /** The request's number in events. */
  readonly request: number
  /** Seconds without a cloud; null: for ever. */
  readonly waitSeconds: number | null
  delivered(): number
  /** The leg cannot go on as it is: it is to begin anew from ids. */
  restart(): void
  tell(event: RecoveryEvent): void
}

/**
 * One leg's line to the cloud. It outlives connections: on a new one it says everything again, in pace, and drops
 * what the walker has had before. The walker waits in `take` meanwhile and notices nothing.
 */
export class CloudStream {
  readonly receiveBuffer: ReceiveBuffer
  readonly kept: RetransmitBuffer
  readonly resolvedPlan: ResolvedPlan
  /** Since when the walker waits for a message. */
  waitingSinceSeconds: number | null = null
  /** Of its messages, headers and what was sent again included. */
  upBytes = 0
  downBytes = 0
  private readonly host: CloudStreamHost
  private readonly owner: CloudStreamOwner
  private readonly opening: Omit<OpenMessage, 'plan'>
  private readonly received = new ReceivedFrames()
  private connection: Connection | null = null
  /** Under which the cloud knows it; null where it does not. */
  private number: number | null = null
  private isOpen = false
  /** Nothing is said under it any more. */
  private isOver = false
  /** The walker has all it wanted. */
  private isDone = false
  /** Whether the cloud has to be told of the end. */
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
    placed: ResolvedPlan,
    opening: Omit<OpenMessage, 'plan'>,
  ) {
    const { model } = host
    const { promptTokens, maxNewTokens } = opening
    this.host = host
    this.owner = owner
    this.resolvedPlan = placed
    this.opening = opening
    this.kept = new RetransmitBuffer(host.kept)
    this.receiveBuffer = new ReceiveBuffer(
      payloadBytes(promptTokens + maxNewTokens, model.width + model.ffnWidth, 32),
    )
    this.report = new Promise((resolve) => (this.onReport = resolve))
  }

  /** Says the plan, so that the cloud loads its part while the edge is at its own. */
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

  /** Waits for the cloud; one that is away for too long ends it. */
  private async waitFor<T>(coming: Promise<T>): Promise<T> {
    if (this.away !== null && this.isExpired()) this.receiveBuffer.fail(this.away)
    this.waitingSinceSeconds = this.host.clock.nowSeconds()
    try {
      return await coming
    } finally {
      this.waitingSinceSeconds = null
    }
  }

  /** What the cloud reports, once it has. */
  reported(): Promise<Frame> {
    return this.waitFor(Promise.race([this.report, this.receiveBuffer.failed]))
  }

  /** The walker has its last token. A cloud that sampled it knows. */
  done(cloudKnows: boolean): void {
    this.isDone = true
    this.owesClose = !cloudKnows
    this.closeWhenSent()
  }

  /** Nothing is said or waited for any more. What is kept stays until `kept.free`. */
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

  /** The connection is gone. */
  detach(connection: Connection, reason: string): void {
    if (this.isOver || this.connection !== connection) return
    this.hangUp()
    if (this.host.link.resumes) this.awaitCloud(this.gone(reason))
    else this.receiveBuffer.fail(noCloud(reason))
  }

  /** A frame of the cloud under the present number. */
  receive(frame: Frame): void {
    this.refusals = 0
    this.downBytes += frameBytes(frame)
    this.cloudIsThere()
    if (frame.type === FRAME.report) {
      this.onReport(frame)
      return
    }
    const kind = this.received.take(frame)
    if (kind === 'other') this.diverged(frame.position)
    else {
      if (kind === 'new') this.receiveBuffer.deliver(frame, this.host.clock.nowSeconds())
      this.pump()
    }
  }

  /** The cloud gave the request up. */
  refused(code: string, message: string): void {
    const { clock, timers, link } = this.host
    this.hangUp()
    if (!link.resumes || !PASSING.has(code)) {
      this.receiveBuffer.fail(peerFailed(code, message))
      return
    }
    this.owner.tell({
      ...{ kind: 'request-refused', atSeconds: clock.nowSeconds(), request: this.owner.request, code },
    })
    this.awaitCloud(cloudRefuses(code, message))
    this.stopRetry = timers.after(link.retrySeconds(this.refusals++), () => {
      if (link.connection !== null) this.attach(link.connection)
    })
  }

  /** Sends what may go: all that the cloud's answers have asked for, and a little ahead of them. */
  private pump(): void {
    const { kept, received: heard } = this
    let burst = 0
    for (let frame = kept.next; frame !== undefined; frame = kept.next) {
      if (this.connection === null) return
      const ahead = kept.ahead(heard.sinceStart) + frame.bytes
      if (frame.after > heard.sinceStart && ahead > AHEAD_BYTES) return
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

  /** False where the connection broke over it. */
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
      // The end of a connection is told to `detach`.
      if (!(error instanceof ConnectionError)) this.receiveBuffer.fail(error as Error)
      return false
    }
    this.isOpen = true
    for (const frame of [...opening, message]) this.upBytes += frameBytes(frame)
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
    this.owner.tell({ kind: 'request-resumed', request, rebuild: 'replay', ...facts })
  }

  private diverged(position: number): void {
    const { request } = this.owner
    this.owner.tell({
      ...{ kind: 'replay-diverged', atSeconds: this.host.clock.nowSeconds(), request, position },
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

  /** Whatever the cloud still says under the number is nobody's any more. */
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

  /** Only who waits for the cloud needs it; an attempt under way is left to end. */
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

/** Codes of a cloud that may take the request a little later. */
const PASSING: ReadonlySet<string> = new Set(['E_BUSY', 'E_DRAINING', 'E_IDLE', 'E_INTERNAL', 'E_ENGINE'])

const CLOSE: Message = {
  ...{ type: FRAME.close, step: 0, position: 0, count: 0, bits: 0, flags: 0 },
  payload: new Uint8Array(0),
}
