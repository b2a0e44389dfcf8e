import { InputError } from '../../core/errors.ts'
import { makeTrace } from '../table.ts'
import type { Trace } from '../table.ts'
import { emptyError, lineError, linesOf } from '../lines.ts'
import { directionOf, rateColumn, sourceMeta } from './source.ts'
import type { SourceInfo } from './source.ts'

const PACKET_BITS = 1500 * 8
/** Longest recording that is accepted; a longer one counts as damaged. */
const MAX_MILLISECONDS = 31 * 24 * 3600 * 1000

/**
 * Reads a mahimahi trace: one whole millisecond per line, each an opportunity to deliver 1500 bytes; repeated stamps
 * are several opportunities; the trace repeats after the last stamp (R. Netravali et al., Mahimahi, USENIX ATC 2015). A
 * stamp t closes the millisecond (t - 1, t], so that "1" alone is 12 Mbit/s. Opportunities are counted in bins.
 */
export function importMahimahi(text: string, source: SourceInfo, binMilliseconds = 100): Trace {
  const direction = directionOf(source)
  if (!(Number.isInteger(binMilliseconds) && binMilliseconds >= 1)) {
    const expected = 'bins of a whole number of milliseconds'
    throw new InputError({ where: source.where, expected, found: `${binMilliseconds}` })
  }
  const stamps = readStamps(text, source.where)
  const period = stamps[stamps.length - 1]
  const count = Math.ceil(period / binMilliseconds)
  const timeSeconds = new Float64Array(count + 1)
  for (let i = 0; i <= count; i++) timeSeconds[i] = Math.min(i * binMilliseconds, period) / 1000
  const rate = new Float64Array(count)
  for (const stamp of stamps) rate[Math.floor(Math.max(stamp - 1, 0) / binMilliseconds)] += PACKET_BITS
  for (let i = 0; i < count; i++) rate[i] /= timeSeconds[i + 1] - timeSeconds[i]
  const note = `delivery opportunities of 1500 bytes counted over ${binMilliseconds} ms`
  const meta = sourceMeta(source, text, 'mahimahi', 'raw-capacity', [note])
  return makeTrace({ meta, timeSeconds, [rateColumn(direction)]: rate }, source.where)
}

function readStamps(text: string, where: string): number[] {
  const stamps: number[] = []
  for (const line of linesOf(text)) {
    const stamp = /^\d{1,15}$/.test(line.text) ? Number(line.text) : NaN
    if (!(stamp <= MAX_MILLISECONDS)) {
      throw lineError(where, line.number, `a whole millisecond 0..${MAX_MILLISECONDS}`, line.text)
    }
    if (stamps.length > 0 && stamp < stamps[stamps.length - 1]) {
      const expected = `a stamp not before ${stamps[stamps.length - 1]}`
      throw lineError(where, line.number, expected, line.text, 'mahimahi stamps never decrease')
    }
    stamps.push(stamp)
  }
  if (stamps.length === 0) throw emptyError(where, 'at least one delivery opportunity')
  if (stamps[stamps.length - 1] === 0) {
    throw lineError(where, stamps.length, 'a last stamp above 0: it is the period', '0')
  }
  return stamps
}
