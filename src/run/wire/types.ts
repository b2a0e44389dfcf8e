/**
 * The wire: one persistent connection that carries frames. A frame is a header of 32 bytes and a payload.
 * Header, little-endian: payloadBytes u32, version u8, type u8, step u16, request u32, sequence u32, position u32,
 * count u32, bits u8, flags u8, headerCheck u16 (lower half of the crc32 of the 26 bytes before it), crc32 u32 over the
 * 28 bytes before it and the payload.
 */
export const PROTOCOL_VERSION = 2
/** Equals DEFAULT_NETWORK.frameBytes, which the cost model adds to every message. */
export const FRAME_HEADER_BYTES = 32

/** Frame types by number. */
export const FRAME = {
  /** First frame of either side: a JSON greeting. Another version is refused with an error that names both. */
  hello: 1,
  welcome: 2,
  /** The connection is refused or ended: JSON { code, message }. */
  refuse: 3,
  /**
   * Keeps the connection alive and measures RTT and clock offset: the answer repeats the payload and adds the
   * receiver's clock.
   */
  ping: 4,
  pong: 5,
  /** A plan (JSON), numbered by `request`; sent once per connection. */
  plan: 6,
  /** A request begins: JSON with the plan's number, lengths and sampling. */
  open: 7,
  /** A boundary tensor: `count` rows (tokens) with `bits` per element; the first row has token position `position`. */
  tensor: 8,
  /** `count` token ids, u32 each; the first has token position `position`. */
  ids: 9,
  /** A request ends; its peer must end it too. */
  close: 10,
  /** What the peer measured for a request: JSON. */
  report: 11,
  /** One request failed; the connection continues: JSON { code, message }. */
  fail: 12,
  /** The sender is about to close the connection. */
  bye: 13,
  /** The server's load, sent unasked: JSON of at most 4 KiB. */
  load: 14,
} as const

/** Number of a frame type. */
export type FrameType = (typeof FRAME)[keyof typeof FRAME]

/** Bits of `flags`. */
export const FLAG = {
  /** The last token of its request. */
  last: 1,
  /** The sampler's two largest logits differed by less than 1e-3. */
  nearTie: 2,
  /** The early exit was not confident: the peer is asked for the token after these rows. */
  ask: 4,
} as const

/** A frame as the connection's users see it; sequence number, version and checksum are handled by the connection. */
export interface Frame {
  readonly type: FrameType
  /** 0 for a frame that belongs to no request. */
  readonly request: number
  /** Number of the execution step that sends the frame; 0 for control frames. */
  readonly step: number
  readonly position: number
  readonly count: number
  /** Bits per element of a tensor: 32, 16, 8 or 4; otherwise 0. */
  readonly bits: number
  readonly flags: number
  readonly payload: Uint8Array
}

/** Why a connection ended. */
export type CloseReason =
  | { readonly kind: 'closed' | 'ended'; readonly message: string }
  | { readonly kind: 'failed'; readonly message: string; readonly error: Error }

/** A round trip measured by the connection's own pings. */
export interface Heartbeat {
  /** When the answer arrived, on our clock. */
  readonly atSeconds: number
  readonly rttSeconds: number
  /** The peer's clock minus ours; the error is at most half the RTT. */
  readonly clockOffsetSeconds: number
}

/**
 * Arrival of one large frame, from which the rate from the peer to us follows. `bytes` are those that came after the
 * frame's first chunk, so that bytes / (endSeconds - startSeconds) is an unbiased rate. A frame that was complete in
 * the system's buffers arrives at the speed of memory: short times say little about a link.
 */
export interface Transfer {
  readonly bytes: number
  /** Arrival of the frame's first bytes, on our clock. */
  readonly startSeconds: number
  /** Arrival of the frame's last bytes, on our clock. */
  readonly endSeconds: number
}

/** An open connection after both greetings. Events come in order; nothing is delivered after `closed`. */
export interface Connection {
  /** The other side's greeting as parsed JSON; the caller must validate it. */
  readonly peer: unknown
  /** Common name in the peer's certificate, which our authority signed; null without TLS. */
  readonly identity: string | null
  /** When bytes last arrived from the peer, or the peer last took waiting bytes of ours: seconds on our clock. */
  readonly heardSeconds: number
  /**
   * Sends frames in one write. Payloads are kept by reference until sent: do not modify them. Throws ConnectionError
   * once closed, WireError for a frame that this side may not send or that is too large.
   */
  send(...frames: readonly Frame[]): void
  /** Registers a listener for frames. Frames that arrived before the first listener are kept for it. */
  onFrame(listener: (frame: Frame) => void): void
  /** Registers a listener for the end; after the end it is called immediately. */
  onClose(listener: (reason: CloseReason) => void): void
  /** Registers a listener for every heartbeat's answer. Never called if heartbeats are off. */
  onHeartbeat(listener: (beat: Heartbeat) => void): void
  /**
   * Registers a listener for received frames of at least 4 KiB whose bytes came in several chunks, including pings and
   * pongs.
   */
  onTransfer(listener: (transfer: Transfer) => void): void
  /** Bytes passed to the transport that it has not sent yet. */
  readonly queuedBytes: number
  /** Bytes of all frames so far, including headers, except pings and pongs, which belong to no request. */
  readonly sentBytes: number
  readonly receivedBytes: number
  /**
   * Measures the round trip to the peer, and the peer's clock minus ours, in seconds, with one ping. `warmBytes` (at
   * most 64 KiB) of padding travel in both directions, which opens TCP's windows on a cold connection.
   */
  ping(warmBytes?: number): Promise<{ rttSeconds: number; clockOffsetSeconds: number }>
  /** Sends bye, flushes and closes. */
  close(): Promise<void>
}

/** Limits of a connection. */
export interface WireLimits {
  /** A frame with a larger payload is refused before its buffer is allocated. */
  readonly maxPayloadBytes: number
  /** More bytes that wait for a peer end the connection: the peer does not read. */
  readonly maxQueuedBytes: number
  /** From the first byte (a client: from the attempt to connect) to the end of the greeting. */
  readonly greetingSeconds: number
  /** A closing connection whose peer takes no bytes for this time is cut. */
  readonly closingSeconds: number
  /**
   * Period of a client's pings; none is sent while one of its heartbeats is unanswered. null: this side never pings by
   * itself, and never gives up a silent peer.
   */
  readonly heartbeatSeconds: number | null
  /** A peer that sends nothing and takes none of the waiting bytes for this time counts as gone. */
  readonly silenceSeconds: number
  /** Limits for each client of a server; one second's worth may come in a burst. */
  readonly maxFramesPerSecond: number
  readonly maxBytesPerSecond: number
  /** Limit of a server on attempts from one remote address (IPv6: one network of 64 bits). */
  readonly maxHandshakesPerMinute: number
}
