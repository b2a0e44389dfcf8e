import type { Clock } from '../../core/clock.ts'

const SECONDS_PER_MINUTE = 60

interface Bucket {
  /** Requests that may come now. */
  level: number
  atSeconds: number
}

/**
 * A token bucket for each principal: full at first, it holds a minute's requests and fills at their rate. Principals are
 * names of keys, so there are no more buckets than keys.
 */
export class RateLimiter {
  private readonly buckets = new Map<string, Bucket>()
  private readonly perMinute: number
  private readonly clock: Clock

  constructor(perMinute: number, clock: Clock) {
    if (!(perMinute > 0)) throw new RangeError(`perMinute: expected more than 0, found ${perMinute}`)
    this.perMinute = perMinute
    this.clock = clock
  }

  /** Takes one request; gives 0, or how many seconds are left until one may come. */
  take(principal: string): number {
    const now = this.clock.nowSeconds()
    const rate = this.perMinute / SECONDS_PER_MINUTE
    const capacity = Math.max(1, this.perMinute)
    const bucket = this.buckets.get(principal) ?? { level: capacity, atSeconds: now }
    bucket.level = Math.min(capacity, bucket.level + rate * (now - bucket.atSeconds))
    bucket.atSeconds = now
    this.buckets.set(principal, bucket)
    if (bucket.level < 1) return (1 - bucket.level) / rate
    bucket.level--
    return 0
  }
}
