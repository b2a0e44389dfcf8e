import type { Clock } from '../../core/clock.ts'
import { InputError } from '../../core/errors.ts'
import { WireError } from './errors.ts'
import { makeFrame } from './frame.ts'
import { MAX_JSON_BYTES, PONG_CLOCK_BYTES } from './limits.ts'
import { FRAME } from './types.ts'
import type { Frame } from './types.ts'

/** Result of a ping. */
export interface PingResult {
  readonly rttSeconds: number
  /** The peer's clock minus ours. */
  readonly clockOffsetSeconds: number
}

interface Pending {
  readonly number: number
  readonly bytes: number
  readonly sentSeconds: number
  readonly resolve: (result: PingResult) => void
  readonly reject: (error: Error) => void
}

/**
 * Tracks the pings of one connection. The peer reads its clock at some time within the round trip, which is assumed to
 * be the middle, as in NTP (RFC 5905, section 8): the offset errs by at most half the RTT.
 */
export class PingTracker {
  private readonly clock: Clock
  private readonly pending: Pending[] = []
  private next = 1

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** Creates a ping to send immediately, with `warmBytes` of padding; its number is in `request`. */
  ping(warmBytes: number): { frame: Frame; result: Promise<PingResult> } {
    if (!Number.isInteger(warmBytes) || warmBytes < 0 || warmBytes > MAX_JSON_BYTES) {
      throw new InputError({
        where: 'ping: warmBytes',
        expected: `an integer in 0..${MAX_JSON_BYTES}`,
        found: String(warmBytes),
      })
    }
    const number = this.next
    this.next = number === 0xffffffff ? 1 : number + 1
    const result = new Promise<PingResult>((resolve, reject) => {
      this.pending.push({ number, bytes: warmBytes, sentSeconds: this.clock.nowSeconds(), resolve, reject })
    })
    return { frame: makeFrame(FRAME.ping, { request: number, payload: new Uint8Array(warmBytes) }), result }
  }

  /** Creates the answer: the ping's payload, then our clock (f64). */
  pong(ping: Frame): Frame {
    const { length } = ping.payload
    const payload = new Uint8Array(length + PONG_CLOCK_BYTES)
    payload.set(ping.payload)
    new DataView(payload.buffer).setFloat64(length, this.clock.nowSeconds(), true)
    return makeFrame(FRAME.pong, { request: ping.request, payload })
  }

  /** Handles a pong. Throws WireError for one that answers no ping; pongs arrive in the order of their pings. */
  take({ request, payload }: Frame): void {
    const nowSeconds = this.clock.nowSeconds()
    const ping = this.pending.at(0)
    if (ping?.number !== request) {
      const expected = ping === undefined ? 'none, for no ping is open' : `to ping ${ping.number}`
      throw new WireError('E_WIRE_STATE', 'pong', expected, `to ping ${request}`)
    }
    const bytes = ping.bytes + PONG_CLOCK_BYTES
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length)
    const peerSeconds = payload.length === bytes ? view.getFloat64(ping.bytes, true) : NaN
    if (!Number.isFinite(peerSeconds)) {
      const [expected, found] = [`${bytes} bytes that end in a clock`, `${payload.length} bytes`]
      throw new WireError('E_WIRE_PAYLOAD', 'pong', expected, found)
    }
    this.pending.shift()
    const { sentSeconds } = ping
    const clockOffsetSeconds = peerSeconds - (sentSeconds + nowSeconds) / 2
    ping.resolve({ rttSeconds: nowSeconds - sentSeconds, clockOffsetSeconds })
  }

  fail(error: Error): void {
    for (const { reject } of this.pending.splice(0)) reject(error)
  }
}
