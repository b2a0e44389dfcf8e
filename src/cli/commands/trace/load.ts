import type { Command } from 'commander'
import { InputError } from '../../../core/errors.ts'
import type { CsvColumn, CsvOptions } from '../../../trace/import/csv.ts'
import type { ImportOptions } from '../../../trace/import/detect.ts'
import { TRACE_FORMATS } from '../../../trace/import/detect.ts'
import { openRecording } from '../../../trace/import/openLink.ts'
import type { ReadSettings } from '../../../trace/import/openLink.ts'
import type { SourceInfo } from '../../../trace/import/source.ts'
import type { Trace } from '../../../trace/table.ts'
import { collect, integerOption, requireChoice } from '../../options.ts'

/** How to read a recording; shared by all trace commands. */
export interface ReadOptions {
  readonly format?: string
  readonly direction?: string
  readonly stamp?: string
  readonly binMs?: number
  readonly column?: readonly string[]
  readonly zeroIsMissing?: boolean
}

const ROLES = ['time', 'end', 'uplink', 'downlink', 'rtt', 'loss'] as const

/** Declares the flags that say how a recording is read. */
export function addReadOptions(command: Command): Command {
  return command
    .option('--format <name>', `format of the recording: ${TRACE_FORMATS.join(', ')} (default: by content)`)
    .option('--direction <way>', 'up (edge to cloud) or down, where the recording does not say')
    .option('--stamp <which>', 'whether a time opens or closes its interval: start or end')
    .option(
      '--bin-ms <n>',
      'mahimahi, edgewise: width over which packets or transfers are counted',
      integerOption({ min: 1, max: 60_000 }),
    )
    .option(
      '--column <role=header:unit>',
      'CSV: a column, e.g. uplink=UL_bitrate:kbit/s (repeatable)',
      collect,
    )
    .option('--zero-is-missing', 'CSV: a zero says "not measured"')
}

/** Loads a trace file, or imports a recording as the options say. */
export function loadTrace(path: string, options: ReadOptions): Promise<Trace> {
  return openRecording(path, readSettings(options))
}

/** How the options say that recordings are read. */
export function readSettings(options: ReadOptions, source: Partial<SourceInfo> = {}): ReadSettings {
  const { direction } = options
  const told =
    direction === undefined ? {} : { direction: requireChoice('--direction', direction, ['up', 'down']) }
  return { ...importOptions(options), source: { ...source, ...told } }
}

function importOptions(options: ReadOptions): ImportOptions {
  const { format, stamp, binMs, column, zeroIsMissing } = options
  return {
    ...(format === undefined ? {} : { format: requireChoice('--format', format, TRACE_FORMATS) }),
    ...(stamp === undefined ? {} : { stamp: requireChoice('--stamp', stamp, ['start', 'end'] as const) }),
    ...(binMs === undefined ? {} : { binMilliseconds: binMs }),
    ...(zeroIsMissing === true ? { zeroIsMissing } : {}),
    ...(column === undefined ? {} : { columns: csvColumns(column) }),
  }
}

/** Parses `role=header:unit` declarations; the unit follows the last colon. */
export function csvColumns(declared: readonly string[]): NonNullable<CsvOptions['columns']> {
  const columns: Partial<Record<(typeof ROLES)[number], CsvColumn>> = {}
  for (const text of declared) {
    const match = /^([a-z]+)=(.+):([^:]+)$/.exec(text)
    const role = ROLES.find((known) => known === match?.[1])
    if (match === null || role === undefined) {
      const expected = `role=header:unit with a role of ${ROLES.join(', ')}`
      throw new InputError({ where: '--column', expected, found: JSON.stringify(text) })
    }
    const [, , header, unit] = match
    columns[role] = { column: /^\d+$/.test(header) ? Number(header) : header, unit }
  }
  const { time, ...others } = columns
  if (time === undefined) {
    throw new InputError({
      where: '--column',
      expected: 'a time column among the declared ones',
      found: 'none',
    })
  }
  return { time, ...others }
}
