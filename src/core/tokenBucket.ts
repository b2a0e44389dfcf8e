/** A token bucket: `perSecond` tokens are added each second, up to `capacity` (default: one second's). */
export class TokenBucket {
  private readonly perSecond: number
  private readonly capacity: number
  private tokens: number
  private atSeconds: number

  constructor(perSecond: number, nowSeconds: number, capacity = perSecond) {
    this.perSecond = perSecond
    this.capacity = capacity
    this.tokens = capacity
    this.atSeconds = nowSeconds
  }

  /** Takes `count` tokens. Returns false and takes none if there are fewer. */
  take(count: number, nowSeconds: number): boolean {
    this.refill(nowSeconds)
    if (this.tokens < count) return false
    this.tokens -= count
    return true
  }

  /** Seconds until `count` tokens can be taken; 0 if they are there. */
  secondsUntil(count: number, nowSeconds: number): number {
    this.refill(nowSeconds)
    return Math.max(0, count - this.tokens) / this.perSecond
  }

  private refill(nowSeconds: number): void {
    const grown = this.tokens + this.perSecond * Math.max(0, nowSeconds - this.atSeconds)
    this.tokens = Math.min(this.capacity, grown)
    this.atSeconds = nowSeconds
  }
}
