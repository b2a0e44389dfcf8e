/**
 * The wire: one persistent connection that carries frames. Every frame is a header of 32 bytes and a payload.
 * Little-endian header: payloadBytes u32, version u8, type u8, step u16, request u32, sequence u32, position u32,
 * count u32, bits u8, flags u8, headerCheck u16 (low half of the crc32 of the 26 bytes before it), crc32 u32 over the
 * 28 bytes before it and the payload.
 */
export const PROTOCOL_VERSION = 2
/** Equals DEFAULT_NETWORK.frameBytes: what the cost model charges a message for. */
export const FRAME_HEADER_BYTES = 32

/** Frame types by number. */
export const FRAME = {
  /** First frame of either side: a JSON greeting. A version that is not ours is refused by naming both. */
  hello: 1,
  welcome: 2,
  /** The connection is refused or given up: JSON { code, message }. */
  refuse: 3,
  /** Keeps the connection warm, measures RTT and clock offset: payload is echoed with the receiver's clock. */
  ping: 4,
  pong: 5,
  /** A plan (JSON) under the number in `request`, said once a connection. */
  plan: 6,
  /** A request begins: JSON with the plan's number, lengths and sampling. */
  open: 7,
  /** A boundary tensor: `count` rows (tokens) of `bits` per element, of which the first has token position `position`. */
  tensor: 8,
  /** `count` token ids, u32 each; the first has token position `position`. */
  ids: 9,
  /** A request ends, at its peer too. */
  close: 10,
  /** What the peer measured of a request: JSON. */
  report: 11,
  /** One request failed; the connection goes on: JSON { code, message }. */
  fail: 12,
  /** The sender is about to close the connection. */
  bye: 13,
  /** How busy the server is, said unasked: JSON of at most 4 KiB. */
  load: 14,
} as const

export type FrameType = (typeof FRAME)[keyof typeof FRAME]

/** Bits of `flags`. */
export const FLAG = {
  /** The last token of its request. */
  last: 1,
  /** The sampler's top two logits were closer than 1e-3. */
  nearTie: 2,
  /** The early exit was not confident: the peer is asked for the token that follows these rows. */
  ask: 4,
} as const

/** A frame as its users see it; sequence number, version and checksum belong to the connection. */
export interface Frame {
  readonly type: FrameType
  /** 0 where no request is meant. */
  readonly request: number
  /** Index of the schedule's step that a tensor belongs to. */
  readonly step: number
  readonly position: number
  readonly count: number
  /** Bits per element of a tensor: 32, 16, 8 or 4; else 0. */
  readonly bits: number
  readonly flags: number
  readonly payload: Uint8Array
}

export type CloseReason =
  | { readonly kind: 'closed' | 'ended'; readonly message: string }
  | { readonly kind: 'failed'; readonly message: string; readonly error: Error }

/** A round trip that the connection measured by itself. */
export interface Heartbeat {
  /** When its answer came, by our clock. */
  readonly atSeconds: number
  readonly rttSeconds: number
  /** The peer's clock less ours; errs by at most half the RTT. */
  readonly clockOffsetSeconds: number
}

/**
 * What the arrival of one large frame says of the rate from the peer to us. `bytes` are those that came after the
 * frame's first chunk, so that bytes / (endSeconds - startSeconds) is a rate without bias. A frame that lay ready
 * in the system's buffers arrives at the speed of memory: short times say little of a link.
 */
export interface Transfer {
  readonly bytes: number
  /** Arrival of the frame's first bytes, by our clock. */
  readonly startSeconds: number
  /** Arrival of its last. */
  readonly endSeconds: number
}

/** An open connection after both greetings. Events come in order; nothing is delivered after `closed`. */
export interface Connection {
  /** The greeting of the other side, as parsed JSON: checked by the caller's schema. */
  readonly peer: unknown
  /** Common name in the peer's certificate, which our authority signed; null without TLS. */
  readonly identity: string | null
  /** When the peer was last heard, or was last seen to take bytes of ours: seconds of our clock. */
  readonly heardSeconds: number
  /**
   * Sends frames in one write. Payloads are kept by reference until they have left: do not write to them again.
   * Throws ConnectionError once closed, WireError for a frame that this side may not send, or not so large.
   */
  send(...frames: readonly Frame[]): void
  /** Frames that came before the first listener are kept for it. */
  onFrame(listener: (frame: Frame) => void): void
  /** A listener that comes after the end hears of it at once. */
  onClose(listener: (reason: CloseReason) => void): void
  /** Hears of every heartbeat's answer. None before one answer came; none where heartbeats are off. */
  onHeartbeat(listener: (beat: Heartbeat) => void): void
  /** Hears of received frames of 4 KiB or more whose bytes came in several chunks, pings and pongs included. */
  onTransfer(listener: (transfer: Transfer) => void): void
  /** Bytes handed to what carries them and not yet taken by it. */
  readonly queuedBytes: number
  /** Bytes of all frames so far, headers included, but for pings and pongs: they belong to no request. */
  readonly sentBytes: number
  readonly receivedBytes: number
  /**
   * Round trip to the peer and the peer's clock less ours, in seconds, from one ping.
   * `warmBytes` (at most 64 KiB) of padding go there and back, which opens TCP's windows on a cold connection.
   */
  ping(warmBytes?: number): Promise<{ rttSeconds: number; clockOffsetSeconds: number }>
  /** Says bye, flushes and closes. */
  close(): Promise<void>
}

export interface WireLimits {
  /** A frame with a larger payload is refused before anything is allocated. */
  readonly maxPayloadBytes: number
  /** A peer that sends slower than we read is fine; one that does not read is given up past this. */
  readonly maxQueuedBytes: number
  /** From the first byte (a client: from the attempt to connect) to the end of the greeting. */
  readonly greetingSeconds: number
  /** A closing connection whose peer takes nothing for so long is cut. */
  readonly closingSeconds: number
  /**
   * A client pings so often, unless one of its heartbeats is still under way. null: this side pings never by
   * itself, and waits for a silent peer for ever.
   */
  readonly heartbeatSeconds: number | null
  /** A peer that says nothing and takes nothing of what waits for it for so long is given up. */
  readonly silenceSeconds: number
  /** What a server takes of one client; one second's worth may come at once. */
  readonly maxFramesPerSecond: number
  readonly maxBytesPerSecond: number
  /** Attempts of one remote address (IPv6: one network of 64 bits) that a server takes. */
  readonly maxHandshakesPerMinute: number
}
