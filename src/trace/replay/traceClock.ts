/**
 * Converts between link time and the machine's clock. At `speed` s the recording passes s times as fast: rates are s
 * times as high, RTT and outages 1/s as long.
 */
export class TraceClock {
  readonly speed: number
  private readonly clockStart: number
  private readonly linkStart: number

  /** The clock's `clockStartSeconds` corresponds to the link's `linkStartSeconds`. */
  constructor(clockStartSeconds: number, linkStartSeconds: number, speed: number) {
    this.clockStart = clockStartSeconds
    this.linkStart = linkStartSeconds
    this.speed = speed
  }

  toLink(clockSeconds: number): number {
    return this.linkStart + (clockSeconds - this.clockStart) * this.speed
  }

  toClock(linkSeconds: number): number {
    return this.clockStart + (linkSeconds - this.linkStart) / this.speed
  }
}
