import { FRAME_HEADER_BYTES, FRAME, type Frame } from '../wire/types.ts'
import type { Message } from './frames.ts'

/** A message that went to the cloud, or is to. */
export interface RetransmitFrame {
  /** Null once it was freed. */
  message: Message | null
  readonly bytes: number
  /** Messages of the cloud that were here before it was sent: it may lie at the cloud once they have come again. */
  readonly after: number
}

/** What all requests of an executor keep together, against a bound. */
export class RetransmitBudget {
  readonly limitBytes: number
  usedBytes = 0

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }
}

/**
 * The messages that one leg of a request sent: boundary tensors as they were quantised, with their positions. They
 * are its checkpoints. Past the common bound it keeps none any more but those that did not leave yet.
 */
export class RetransmitBuffer {
  readonly all: RetransmitFrame[] = []
  /** False: what was sent cannot be sent again. */
  whole = true
  bytes = 0
  /** How many of them were sent on the present connection. */
  sent = 0
  /** Of those, how many the cloud has asked for by its answers, and the bytes of the others. */
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

  /** The next one to send. */
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

  /** From the first one again. */
  restart(): void {
    this.sent = 0
    this.asked = 0
    this.aheadBytes = 0
  }

  /** From here on only what did not leave yet is kept. */
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

/** A message of the cloud, as it is told again in a replay. */
interface ReceivedFrame {
  readonly position: number
  readonly step: number
  /** Where it is a token. */
  readonly id: number | null
}

/** What came from the cloud, in the cloud's order, so that a replay's messages are known again. */
export class ReceivedFrames {
  private readonly all: ReceivedFrame[] = []
  /** Messages on the present connection. */
  private again = 0

  /** Distinct messages. */
  get count(): number {
    return this.all.length
  }

  /** Whether all that came before came again. */
  get caughtUp(): boolean {
    return this.again >= this.all.length
  }

  /** Messages on the present connection, the repeated ones included. */
  get sinceStart(): number {
    return this.again
  }

  restart(): void {
    this.again = 0
  }

  /** `new`, `known` (to be dropped), or `other`: not what came before at this place. */
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
