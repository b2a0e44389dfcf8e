import { makeTrace } from '../table.ts'
import type { Trace } from '../table.ts'
import { Column, decimal, emptyError, lineError, linesOf } from '../lines.ts'
import { directionOf, rateColumn, sourceMeta } from './source.ts'
import type { SourceInfo } from './source.ts'

/** Lines by which a file is known. */
const KNOWN_BY_LINES = 40

/**
 * Whether a text holds Oboe's pairs of lines: two with one rate, the start and the end of a chunk, in whole
 * milliseconds and at no regular step. Pairs at a regular step might be anything.
 */
export function isOboe(text: string): boolean {
  const times: number[] = []
  const rates: string[] = []
  for (const line of linesOf(text)) {
    const match = /^(\d{1,12})(?:\.0+)?\s+(\d+(?:\.\d+)?)$/.exec(line.text)
    if (match === null) return false
    times.push(Number(match[1]))
    rates.push(match[2])
    if (times.length === KNOWN_BY_LINES) break
  }
  const pairs = Math.floor(times.length / 2)
  if (pairs < 2) return false
  const lengths = new Set<number>()
  for (let i = 0; i < pairs; i++) {
    lengths.add(times[2 * i + 1] - times[2 * i])
    if (rates[2 * i] !== rates[2 * i + 1] || times[2 * i + 1] <= times[2 * i]) return false
  }
  return lengths.size > 1 && new Set(rates).size > 1
}

/**
 * Reads the sessions of Oboe (Z. Akhtar et al., SIGCOMM 2018): pairs of lines, milliseconds and kbit/s, the start and
 * the end of a chunk with its mean rate. Between two chunks nothing is known.
 */
export function importOboe(text: string, source: SourceInfo): Trace {
  const { where } = source
  const direction = directionOf(source)
  const times = new Column()
  const rates = new Column()
  let open: { readonly at: number; readonly rate: number } | null = null
  for (const line of linesOf(text)) {
    const cells = line.text.split(/\s+/)
    const [milliseconds, kilobits] = cells.map(decimal)
    const at = milliseconds / 1000
    if (cells.length !== 2 || !(at >= 0 && kilobits >= 0)) {
      throw lineError(where, line.number, 'two numbers: milliseconds and kbit/s', line.text)
    }
    if (open === null) {
      if (times.length === 0) times.push(at)
      else if (at > times.last()) {
        times.push(at)
        rates.push(NaN)
      } else if (at < times.last()) {
        throw lineError(where, line.number, `a chunk that begins at ${times.last()} s or later`, line.text)
      }
      open = { at, rate: kilobits }
      continue
    }
    if (kilobits !== open.rate || at <= open.at) {
      throw lineError(where, line.number, 'the end of the chunk, with its rate again', line.text)
    }
    times.push(at)
    rates.push(1000 * kilobits)
    open = null
  }
  if (rates.length === 0) throw emptyError(where, 'pairs of lines "milliseconds kbit/s"')
  const notes = ['pairs of lines: start and end of a chunk, milliseconds and kbit/s; a gap between chunks']
  if (open !== null) notes.push('the last chunk has no end and is left out')
  const meta = sourceMeta(source, text, 'oboe', 'tcp-goodput', notes)
  // A last chunk without an end has begun after a gap, which nothing follows.
  const count = Number.isNaN(rates.last()) ? rates.length - 1 : rates.length
  const timeSeconds = times.toArray().subarray(0, count + 1)
  return makeTrace({ meta, timeSeconds, [rateColumn(direction)]: rates.toArray().subarray(0, count) }, where)
}
