import { makeTrace } from '../table.ts'
import type { Trace } from '../table.ts'
import { Column, decimal, emptyError, lineError, linesOf, medianStep } from '../lines.ts'
import { directionOf, rateColumn, sourceMeta } from './source.ts'
import type { SourceInfo } from './source.ts'

/** A longer step is a gap, unless another is declared: nothing is known about the time in between. */
const MAX_STEP_SECONDS = 60

/** How the lines of a Pensieve trace are interpreted. */
export interface PensieveOptions {
  /**
   * `end` (Pensieve): line i covers (t[i - 1], t[i]], and only the time of the first line is used. `start` (Solis):
   * line i covers its time to the next, and the last line covers the median step.
   */
  readonly stamp?: 'end' | 'start'
  readonly maxStepSeconds?: number
}

/**
 * Reads lines "time bandwidth": seconds and Mbit/s, irregular steps, any start time (H. Mao et al., Pensieve, SIGCOMM
 * 2017). A line with the time of the previous one covers no time and is skipped.
 */
export function importPensieve(text: string, source: SourceInfo, options: PensieveOptions = {}): Trace {
  const direction = directionOf(source)
  const { times, rates } = readPairs(text, source.where)
  const stamp = options.stamp ?? 'end'
  const limit = options.maxStepSeconds ?? MAX_STEP_SECONDS
  if (times.length < 2)
    throw emptyError(source.where, 'at least two lines "seconds Mbit/s" at different times')
  const rate = stamp === 'end' ? rates.subarray(1) : rates
  const timeSeconds = stamp === 'end' ? times : withEnd(times)
  for (let i = 0; i < rate.length; i++) {
    if (timeSeconds[i + 1] - timeSeconds[i] > limit) rate[i] = NaN
  }
  const meta = sourceMeta(source, text, `pensieve (stamp: ${stamp})`, 'tcp-goodput')
  return makeTrace({ meta, timeSeconds, [rateColumn(direction)]: rate }, source.where)
}

function withEnd(times: Float64Array): Float64Array {
  const edges = new Float64Array(times.length + 1)
  edges.set(times)
  edges[times.length] = times[times.length - 1] + medianStep(times)
  return edges
}

function readPairs(text: string, where: string): { times: Float64Array; rates: Float64Array } {
  const times = new Column()
  const rates = new Column()
  for (const line of linesOf(text)) {
    const fields = line.text.split(/[\s,]+/)
    const [seconds, megabits] = fields.map(decimal)
    if (fields.length !== 2 || Number.isNaN(seconds) || Number.isNaN(megabits)) {
      throw lineError(where, line.number, 'two numbers: seconds and Mbit/s', line.text)
    }
    if (megabits < 0 || megabits > 1e7) {
      throw lineError(where, line.number, 'a rate of 0..1e7 Mbit/s', fields[1], 'is the unit Mbit/s?')
    }
    if (times.length > 0 && seconds < times.last()) {
      throw lineError(
        where,
        line.number,
        `a time not before ${times.last()}`,
        fields[0],
        'sort the file by time',
      )
    }
    if (times.length > 0 && seconds === times.last()) continue
    times.push(seconds)
    rates.push(megabits * 1e6)
  }
  return { times: times.toArray(), rates: rates.toArray() }
}
