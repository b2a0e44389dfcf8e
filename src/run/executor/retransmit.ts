import { FRAME_HEADER_BYTES, FRAME, type Frame } from '../wire/types.ts'
import type { Message } from './frames.ts'

/** A message that was sent to the cloud, or will be. */
interface RetransmitFrame {
  /** Null after it was freed. */
  message: Message | null
  readonly bytes: number
  /**
   * Number of the cloud's messages received before it was sent: in a replay it may be sent when that many have come
   * again.
   */
  readonly after: number
}

/** What all requests of an executor keep, with a common limit that may change. */
export class RetransmitBudget {
  usedBytes = 0
  private readonly limit: () => number

  constructor(limit: () => number) {
    this.limit = limit
  }

  get limitBytes(): number {
    return this.limit()
  }
}

/**
 * The messages that one plan span sent: boundary tensors as they were quantised, with their positions, from which the
 * span can be replayed. Above the common limit it keeps only messages that were not sent yet.
 */
export class RetransmitBuffer {
  readonly all: RetransmitFrame[] = []
  /** False: messages that were sent cannot be sent again. */
  whole = true
  bytes = 0
  /** How many of them were sent on the current connection. */
  sent = 0
  /** How many of those the cloud's answers have asked for; `aheadBytes` counts the others. */
  private asked = 0
  private aheadBytes = 0
  private readonly common: RetransmitBudget

  constructor(common: RetransmitBudget) {
    this.common = common
  }

  add(message: Message, after: number): void {
    const bytes = FRAME_HEADER_BYTES + message.payload.byteLength
    this.all.push({ message, bytes, after })
    this.count(bytes)
    if (this.common.usedBytes > this.common.limitBytes) this.giveUp()
  }

  /** The next message to send. */
  get next(): RetransmitFrame | undefined {
    return this.all[this.sent]
  }

  get allSent(): boolean {
    return this.sent === this.all.length
  }

  /** Bytes that were sent before the cloud's first `answers` messages asked for them. */
  ahead(answers: number): number {
    while (this.asked < this.sent && this.all[this.asked].after <= answers) {
      this.aheadBytes -= this.all[this.asked].bytes
      this.asked++
    }
    return this.aheadBytes
  }

  passed(): void {
    const frame = this.all[this.sent]
    if (!this.whole) this.drop(frame)
    this.aheadBytes += frame.bytes
    this.sent++
  }

  /** Starts again from the first message. */
  restart(): void {
    this.sent = 0
    this.asked = 0
    this.aheadBytes = 0
  }

  /** From now on only messages that were not sent yet are kept. */
  private giveUp(): void {
    this.whole = false
    for (let i = 0; i < this.sent; i++) this.drop(this.all[i])
  }

  free(): void {
    this.whole = false
    for (const frame of this.all) this.drop(frame)
  }

  private drop(frame: RetransmitFrame): void {
    if (frame.message === null) return
    frame.message = null
    this.count(-frame.bytes)
  }

  private count(bytes: number): void {
    this.bytes += bytes
    this.common.usedBytes += bytes
  }
}

/** A message of the cloud, as it will be repeated in a replay. */
interface ReceivedFrame {
  readonly position: number
  readonly step: number
  /** Token id, if it is a token. */
  readonly id: number | null
}

/** Messages received from the cloud, in order, to recognise them in a replay. */
export class ReceivedFrames {
  private readonly all: ReceivedFrame[] = []
  /** Messages received on the current connection. */
  private again = 0

  /** Number of distinct messages. */
  get count(): number {
    return this.all.length
  }

  /** Whether all earlier messages have been received again. */
  get caughtUp(): boolean {
    return this.again >= this.all.length
  }

  /** Messages on the current connection, including repeated ones. */
  get sinceStart(): number {
    return this.again
  }

  restart(): void {
    this.again = 0
  }

  /** `new`, `known` (a repetition, to be dropped), or `other`: differs from the earlier message at this place. */
  take({ type, position, step, payload }: Frame): 'new' | 'known' | 'other' {
    const id = type === FRAME.ids ? firstId(payload) : null
    const before: ReceivedFrame | undefined = this.all[this.again]
    this.again++
    if (before === undefined) {
      this.all.push({ position, step, id })
      return 'new'
    }
    return before.position === position && before.step === step && before.id === id ? 'known' : 'other'
  }
}

function firstId(payload: Uint8Array): number | null {
  if (payload.byteLength < 4) return null
  return new DataView(payload.buffer, payload.byteOffset, 4).getUint32(0, true)
}
