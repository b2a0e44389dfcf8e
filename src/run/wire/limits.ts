import { FRAME } from './types.ts'
import type { FrameType, WireLimits } from './types.ts'

/** Largest JSON payload and largest ping, in bytes. */
export const MAX_JSON_BYTES = 64 * 1024
/** Largest report of a request, in bytes: one event for every step of every token. */
const MAX_REPORT_BYTES = 32 * 1024 * 1024
/** Largest load report, in bytes. */
const MAX_LOAD_BYTES = 4 * 1024
/** A pong consists of the ping's payload and the receiver's clock (f64). */
export const PONG_CLOCK_BYTES = 8

/** Default limits of a connection. */
export const DEFAULT_LIMITS: WireLimits = {
  /** Fits 2048 prompt tokens of LLaMA-7B's inner FFN activations and residual, 32 bits each. */
  maxPayloadBytes: 128 * 1024 * 1024,
  maxQueuedBytes: 256 * 1024 * 1024,
  greetingSeconds: 5,
  closingSeconds: 5,
  heartbeatSeconds: 1,
  silenceSeconds: 10,
  maxFramesPerSecond: 20_000,
  maxBytesPerSecond: 1024 ** 3,
  maxHandshakesPerMinute: 600,
}

/** Largest number of connections of one server, including those that have not greeted yet. */
export const DEFAULT_MAX_CONNECTIONS = 64

const CAPS: Readonly<Record<FrameType, number>> = {
  [FRAME.hello]: MAX_JSON_BYTES,
  [FRAME.welcome]: MAX_JSON_BYTES,
  [FRAME.refuse]: MAX_JSON_BYTES,
  [FRAME.ping]: MAX_JSON_BYTES,
  [FRAME.pong]: MAX_JSON_BYTES + PONG_CLOCK_BYTES,
  [FRAME.plan]: MAX_JSON_BYTES,
  [FRAME.open]: MAX_JSON_BYTES,
  [FRAME.tensor]: Infinity,
  [FRAME.ids]: Infinity,
  [FRAME.close]: 0,
  [FRAME.report]: MAX_REPORT_BYTES,
  [FRAME.fail]: MAX_JSON_BYTES,
  [FRAME.bye]: 0,
  [FRAME.load]: MAX_LOAD_BYTES,
}

/** Largest payload of a frame of this type under `limits`, in bytes. */
export function payloadCap(type: FrameType, limits: WireLimits): number {
  return Math.min(CAPS[type], limits.maxPayloadBytes)
}
