import { InputError } from '../../core/errors.ts'
import { makeTrace } from '../table.ts'
import type { Trace } from '../table.ts'
import { Column, emptyError, lineError, linesOf } from '../lines.ts'
import { rateColumn, sourceMeta } from './source.ts'
import type { SourceInfo } from './source.ts'

/** A report `0.0625 MB / 0.50 sec = 1.0486 Mbps`, possibly after a wall-clock prefix. A summary has `%TX` or `RTT`. */
const REPORT = /^(?:\[[^\]]*\])?\s*([\d.]+) MB \/\s*([\d.]+) sec =\s*([\d.]+) Mbps/

/**
 * Reads nuttcp's interval reports. Time is the sum of the intervals: the wall-clock prefixes of an uplink come in
 * clumps, because its reports return over the loaded path. Mbps is decimal. The side named first is the local one:
 * nuttcp-t transmits, so its recording is the uplink.
 */
export function importNuttcp(text: string, source: SourceInfo): Trace {
  const { where } = source
  const local = /nuttcp-([tr]):/.exec(text)
  const direction = local === null ? source.direction : local[1] === 't' ? 'up' : 'down'
  if (direction === undefined || (source.direction ?? direction) !== direction) {
    throw new InputError({
      where,
      expected: `a direction: ${source.direction ?? 'up or down'}`,
      found: local === null ? 'no line of nuttcp-t or nuttcp-r' : `nuttcp-${local[1]}, which is ${direction}`,
      remedy: 'declare the direction that the file says',
    })
  }
  const times = new Column()
  const rates = new Column()
  times.push(0)
  for (const line of linesOf(text)) {
    const report = REPORT.exec(line.text)
    if (report === null || /%TX|%RX|msRTT/.test(line.text)) continue
    const [seconds, megabits] = [Number(report[2]), Number(report[3])]
    if (!(seconds > 0 && seconds < 3600 && megabits < 1e7)) {
      throw lineError(where, line.number, 'an interval above 0 s and its Mbps', line.text)
    }
    times.push(times.last() + seconds)
    rates.push(megabits * 1e6)
  }
  if (rates.length === 0) throw emptyError(where, 'interval reports "x MB / y sec = z Mbps" (nuttcp -i)')
  const meta = sourceMeta(source, text, 'nuttcp', 'tcp-goodput')
  return makeTrace({ meta, timeSeconds: times.toArray(), [rateColumn(direction)]: rates.toArray() }, where)
}
