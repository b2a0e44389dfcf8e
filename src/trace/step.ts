import { InputError, show } from '../core/errors.ts'
import type { StepSeries } from './types.ts'

/** The value of a step function at `atSeconds`, by bisection. */
export function stepAt(series: StepSeries, atSeconds: number): number {
  return series.value[indexAt(series.timeSeconds, atSeconds)]
}

/** A step function with one value. */
export function constantStep(value: number): StepSeries {
  return { timeSeconds: Float64Array.of(0), value: Float64Array.of(value) }
}

/** Throws InputError unless there is at least one step, times ascend, and times and values are finite. */
export function checkStepSeries(series: StepSeries, where: string): void {
  const { timeSeconds, value } = series
  if (timeSeconds.length === 0 || timeSeconds.length !== value.length) {
    const found = `${timeSeconds.length} times, ${value.length} values`
    throw new InputError({ where, expected: 'as many times as values, at least one', found })
  }
  for (let i = 0; i < value.length; i++) {
    const ascends = i === 0 || timeSeconds[i] > timeSeconds[i - 1]
    if (ascends && Number.isFinite(timeSeconds[i]) && Number.isFinite(value[i])) continue
    const found = `${show(value[i])} at ${show(timeSeconds[i])} s`
    throw new InputError({ where: `${where}: step ${i}`, expected: 'ascending times, finite values', found })
  }
}

/** Reads a step function mostly forwards: remembers its position, so that a query near the last one costs O(1). */
export class StepCursor {
  private readonly series: StepSeries
  private index = 0

  /** @throws InputError if the series is not valid */
  constructor(series: StepSeries) {
    checkStepSeries(series, 'step series')
    this.series = series
  }

  at(atSeconds: number): number {
    this.seek(atSeconds)
    return this.series.value[this.index]
  }

  /** Time of the first step after `atSeconds`; Infinity if there is none. A step that repeats the value counts. */
  nextChangeSeconds(atSeconds: number): number {
    this.seek(atSeconds)
    const next = this.index + 1
    return next < this.series.timeSeconds.length ? this.series.timeSeconds[next] : Infinity
  }

  private seek(atSeconds: number): void {
    const { timeSeconds } = this.series
    const { index } = this
    if (holds(timeSeconds, index, atSeconds)) return
    if (index + 1 < timeSeconds.length && holds(timeSeconds, index + 1, atSeconds)) this.index++
    else this.index = indexAt(timeSeconds, atSeconds)
  }
}

function holds(times: Float64Array, index: number, at: number): boolean {
  return (index === 0 || at >= times[index]) && (index + 1 === times.length || at < times[index + 1])
}

/** Index of the last of ascending times, up to `last`, that is at or before `atSeconds`; 0 before the first. */
export function indexAt(timeSeconds: Float64Array, atSeconds: number, last = timeSeconds.length - 1): number {
  let low = 0
  let high = last
  while (low < high) {
    const middle = (low + high + 1) >>> 1
    if (timeSeconds[middle] <= atSeconds) low = middle
    else high = middle - 1
  }
  return low
}
