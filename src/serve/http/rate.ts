import type { Clock } from '../../core/clock.ts'
import { TokenBucket } from '../../core/tokenBucket.ts'

const SECONDS_PER_MINUTE = 60

/**
 * A token bucket for each principal: full at first, it holds a minute's requests and fills at their rate. Principals are
 * names of keys, so there are no more buckets than keys.
 */
export class RateLimiter {
  private readonly buckets = new Map<string, TokenBucket>()
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
    let bucket = this.buckets.get(principal)
    if (bucket === undefined) {
      bucket = new TokenBucket(this.perMinute / SECONDS_PER_MINUTE, now, Math.max(1, this.perMinute))
      this.buckets.set(principal, bucket)
    }
    return bucket.take(1, now) ? 0 : bucket.secondsUntil(1, now)
  }
}
