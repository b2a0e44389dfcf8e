import { TokenBucket } from '../../core/tokenBucket.ts'
import { WireError } from './errors.ts'
import { FRAME_HEADER_BYTES } from './types.ts'
import type { WireLimits } from './types.ts'

/** Limits what a server accepts from one client. Checks throw WireError (E_WIRE_RATE). */
export class PeerRateLimiter {
  private readonly limits: WireLimits
  private readonly frames: TokenBucket
  private readonly bytes: TokenBucket

  constructor(limits: WireLimits, nowSeconds: number) {
    const { maxFramesPerSecond, maxBytesPerSecond, maxPayloadBytes } = limits
    this.limits = limits
    this.frames = new TokenBucket(maxFramesPerSecond, nowSeconds)
    // Allows the largest legal frame in one burst.
    const burst = Math.max(maxBytesPerSecond, FRAME_HEADER_BYTES + maxPayloadBytes)
    this.bytes = new TokenBucket(maxBytesPerSecond, nowSeconds, burst)
  }

  takeBytes(count: number, nowSeconds: number): void {
    if (!this.bytes.take(count, nowSeconds)) throw tooFast(`${this.limits.maxBytesPerSecond} bytes`)
  }

  takeFrame(nowSeconds: number): void {
    if (!this.frames.take(1, nowSeconds)) throw tooFast(`${this.limits.maxFramesPerSecond} frames`)
  }
}

function tooFast(most: string): WireError {
  return new WireError('E_WIRE_RATE', 'rate of a client', `at most ${most} per second`, 'more')
}

/** Largest number of remembered addresses; beyond it the least recently used one is forgotten. */
const MAX_ADDRESSES = 4096

/** Limits connection attempts by remote address. */
export class ConnectRateLimiter {
  private readonly perMinute: number
  private readonly buckets = new Map<string, TokenBucket>()

  constructor(perMinute: number) {
    this.perMinute = perMinute
  }

  /** Number of remembered addresses. */
  get size(): number {
    return this.buckets.size
  }

  /** Whether `address` may make another attempt at `nowSeconds`. */
  allow(address: string, nowSeconds: number): boolean {
    const key = networkOf(address)
    const bucket = this.buckets.get(key) ?? new TokenBucket(this.perMinute / 60, nowSeconds, this.perMinute)
    // Re-inserted, so that the map is ordered by last use.
    this.buckets.delete(key)
    this.buckets.set(key, bucket)
    if (this.buckets.size > MAX_ADDRESSES) this.buckets.delete(this.buckets.keys().next().value ?? key)
    return bucket.take(1, nowSeconds)
  }
}

/** An IPv4 address as it is; for an IPv6 address its network of 64 bits, in which one host may use every address. */
export function networkOf(address: string): string {
  if (!address.includes(':') || address.includes('.')) return address
  const [head, tail] = address.split('%')[0].split('::') as [string, string | undefined]
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'))
  const [first, last] = [groups(head), groups(tail ?? '')]
  const zeros = Array.from({ length: Math.max(0, 8 - first.length - last.length) }, () => '0')
  return [...first, ...zeros, ...last].slice(0, 4).join(':')
}
