import type { Link } from '../trace/types.ts'

/** Link changes looked at in one go: few for a short request, more and more for a long one. */
const FIRST_CHANGES = 3
const MOST_CHANGES = 48

/** When outages of a link are detected, for the fast simulator: looked up ahead of time, some changes at once. */
export class OutageTimeline {
  /** No outage is detected before this time; there it is (`certain`), or the link has to be looked at further on. */
  nextSeconds: number
  private certain = false
  private readonly link: Link
  private readonly outageSeconds: number
  /** Start of the next constant part not looked at. */
  private partSeconds = 0
  private changes = FIRST_CHANGES
  private outSinceSeconds = NaN
  private detected = false

  constructor(link: Link, outageSeconds: number | null) {
    this.link = link
    this.outageSeconds = outageSeconds ?? Infinity
    this.nextSeconds = outageSeconds === null ? Infinity : 0
  }

  /** Moves on past `nowSeconds`; whether an outage is detected at that very time. */
  pass(nowSeconds: number): boolean {
    let atNow = false
    this.skipTo(nowSeconds - 2 * this.outageSeconds)
    while (this.nextSeconds <= nowSeconds) {
      if (this.certain && this.nextSeconds === nowSeconds) atNow = true
      this.lookAhead()
    }
    return atNow
  }

  /** Leaves out what was long ago: an outage that lay across `fromSeconds` was detected before now. */
  private skipTo(fromSeconds: number): void {
    if (!(fromSeconds > this.partSeconds) || this.nextSeconds > fromSeconds) return
    this.partSeconds = fromSeconds
    this.changes = FIRST_CHANGES
    this.detected = this.isOut(fromSeconds)
    this.outSinceSeconds = this.detected ? fromSeconds : NaN
  }

  private isOut(atSeconds: number): boolean {
    const { link } = this
    return link.bitsPerSecond('up', atSeconds) === 0 || link.bitsPerSecond('down', atSeconds) === 0
  }

  private lookAhead(): void {
    const { link, outageSeconds } = this
    this.certain = false
    const { changes } = this
    this.changes = Math.min(MOST_CHANGES, 2 * changes)
    for (let i = 0; i < changes && this.partSeconds < Infinity; i++) {
      const from = this.partSeconds
      if (!this.isOut(from)) {
        this.outSinceSeconds = NaN
        this.detected = false
      } else if (Number.isNaN(this.outSinceSeconds)) this.outSinceSeconds = from
      const end = link.nextChangeSeconds(from)
      const detection = this.outSinceSeconds + outageSeconds
      if (!this.detected && detection < end) {
        this.detected = true
        this.certain = true
        this.nextSeconds = detection
        return
      }
      this.partSeconds = end
    }
    this.nextSeconds = this.partSeconds
  }
}
