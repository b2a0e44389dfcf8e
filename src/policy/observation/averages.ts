import type { RateEstimate } from '../../plan/price/situation.ts'

/** Exponential moving average; it starts at the first value. */
export class MovingAverage {
  value: number
  private readonly gain: number
  private seen: boolean

  constructor(gain: number, initial: number, seen = false) {
    this.gain = gain
    this.value = initial
    this.seen = seen
  }

  add(x: number): void {
    this.value = this.seen ? this.value + this.gain * (x - this.value) : x
    this.seen = true
  }
}

/** Gains of the short and the long horizon: about 3 and 20 samples. */
const SHORT_GAIN = 0.5
const LONG_GAIN = 0.1

/** Mean and spread of one quantity at two horizons. */
export class Level {
  private readonly short: MovingAverage
  private readonly long: MovingAverage
  private readonly deviation: MovingAverage

  constructor(initial: number) {
    this.short = new MovingAverage(SHORT_GAIN, initial, true)
    this.long = new MovingAverage(LONG_GAIN, initial, true)
    this.deviation = new MovingAverage(LONG_GAIN, 0, true)
  }

  add(x: number): void {
    this.deviation.add(Math.abs(x - this.long.value))
    this.short.add(x)
    this.long.add(x)
  }

  get shortValue(): number {
    return this.short.value
  }

  /** Mean absolute deviation from the long-horizon mean. */
  get spread(): number {
    return this.deviation.value
  }

  rate(): RateEstimate {
    const long = this.long.value
    return {
      shortBitsPerSecond: this.short.value,
      longBitsPerSecond: long,
      relativeSpread: long > 0 ? this.deviation.value / long : 0,
    }
  }
}
