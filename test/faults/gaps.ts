/** How long requests were without a token, from a fault on. */
export class Gaps {
  /** Seconds; null where no token came after the fault. */
  longest: number | null = null
  private readonly nowSeconds: () => number
  private readonly last = new Map<number, number>()
  private faultSeconds: number | null = null

  constructor(nowSeconds: () => number) {
    this.nowSeconds = nowSeconds
  }

  get hasFault(): boolean {
    return this.faultSeconds !== null
  }

  fault(): void {
    this.faultSeconds = this.nowSeconds()
  }

  token(request: number): void {
    const now = this.nowSeconds()
    if (this.faultSeconds !== null) {
      const since = Math.max(this.faultSeconds, this.last.get(request) ?? -Infinity)
      this.longest = Math.max(this.longest ?? 0, now - since)
    }
    this.last.set(request, now)
  }
}
