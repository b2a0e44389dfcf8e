import { InputError } from '../../core/errors.ts'
import { makeTrace, MAX_TRACE_ROWS } from '../table.ts'
import type { Trace } from '../table.ts'
import { Column, emptyError, lineError, linesOf } from '../lines.ts'
import { directionOf, rateColumn, sourceMeta } from './source.ts'
import type { SourceInfo } from './source.ts'

const PACKET_BITS = 1500 * 8
/** Longest recording that is accepted; a longer one counts as damaged. */
const MAX_MILLISECONDS = 31 * 24 * 3600 * 1000
/** More bins than this without a packet are one row. */
const LONG_SILENCE_BINS = 128

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
  const { timeSeconds, rate } = countInBins(stamps, binMilliseconds, source.where)
  const note = `delivery opportunities of 1500 bytes counted over ${binMilliseconds} ms`
  const meta = sourceMeta(source, text, 'mahimahi', 'raw-capacity', [note])
  return makeTrace({ meta, timeSeconds, [rateColumn(direction)]: rate }, source.where)
}

/** Bits per second of each bin; a long run of bins without a packet is one row, so that rows follow from the lines. */
function countInBins(
  stamps: readonly number[],
  binMilliseconds: number,
  where: string,
): { timeSeconds: Float64Array; rate: Float64Array } {
  const period = stamps[stamps.length - 1]
  const times = new Column()
  const rates = new Column()
  let from = 0
  const close = (until: number, packets: number): void => {
    times.push(from / 1000)
    rates.push((PACKET_BITS * packets) / (until / 1000 - from / 1000))
    from = until
  }
  for (let i = 0; i < stamps.length;) {
    const bin = Math.floor(Math.max(stamps[i] - 1, 0) / binMilliseconds)
    const begin = bin * binMilliseconds
    if (begin - from > LONG_SILENCE_BINS * binMilliseconds) close(begin, 0)
    while (from < begin) close(from + binMilliseconds, 0)
    if (times.length > MAX_TRACE_ROWS) throw tooManyBins(where, binMilliseconds)
    const end = Math.min(begin + binMilliseconds, period)
    const first = i
    while (i < stamps.length && stamps[i] <= end) i++
    close(end, i - first)
  }
  times.push(period / 1000)
  return { timeSeconds: times.toArray(), rate: rates.toArray() }
}

function tooManyBins(where: string, binMilliseconds: number): InputError {
  return new InputError({
    where,
    expected: `at most ${MAX_TRACE_ROWS} bins`,
    found: `more, of ${binMilliseconds} ms each`,
    remedy: 'take a larger --bin-ms',
  })
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
