import type { Trace } from '../table.ts'
import { importCsv } from './csv.ts'
import { directionOf } from './source.ts'
import type { SourceInfo } from './source.ts'

/** Columns: epoch (s or ms), clock (ms), latitude, longitude, bytes received, ms that they took. */
const LINE =
  /^(\d{10}|\d{13})\s+\d{1,12}\s+(-?\d{1,2}(?:\.\d+)?)\s+(-?\d{1,3}(?:\.\d+)?)\s+\d{1,12}\s+\d{1,7}$/

/** Whether a line is one of a Riiser log. */
export function isRiiserLine(line: string): boolean {
  const match = LINE.exec(line)
  return match !== null && Math.abs(Number(match[2])) <= 90 && Math.abs(Number(match[3])) <= 180
}

/**
 * Reads the logs of H. Riiser et al. (MMSys 2013; Norway, 3G) and of J. van der Hooft et al. (2016; Ghent, 4G): each line
 * ends an interval of so many milliseconds, in which so many bytes came. No bytes: no coverage, a measured zero.
 */
export function importRiiser(
  text: string,
  source: SourceInfo,
  options: { readonly maxStepSeconds?: number } = {},
): Trace {
  const rate = { column: 5, unit: 'byte' }
  const columns = { time: { column: 2, unit: 'ms' }, duration: { column: 6, unit: 'ms' } }
  return importCsv(
    text,
    source,
    {
      ...options,
      delimiter: ' ',
      header: false,
      stamp: 'end',
      columns: directionOf(source) === 'up' ? { ...columns, uplink: rate } : { ...columns, downlink: rate },
    },
    'riiser',
  )
}
