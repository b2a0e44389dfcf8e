import type { Command } from 'commander'
import { InputError } from '../../../core/errors.ts'
import type { CsvColumn, CsvOptions } from '../../../trace/import/csv.ts'
import type { ImportOptions } from '../../../trace/import/detect.ts'
import { TRACE_FORMATS } from '../../../trace/import/detect.ts'
import { openRecording } from '../../../trace/import/openLink.ts'
import type { ReadSettings } from '../../../trace/import/openLink.ts'
import { ROW_ROLES } from '../../../trace/import/rows.ts'
import type { RowRole } from '../../../trace/import/rows.ts'
import type { SourceInfo } from '../../../trace/import/source.ts'
import type { Trace } from '../../../trace/table.ts'
import { collect, integerOption, numberOption, requireChoice } from '../../options.ts'

/** How to read a recording; shared by all trace commands. */
export interface ReadOptions {
  readonly format?: string
  readonly direction?: string
  readonly stamp?: string
  readonly binMs?: number
  readonly column?: readonly string[]
  readonly zeroIsMissing?: boolean
  readonly maxStep?: number
  readonly every?: number
  readonly group?: readonly string[]
  readonly only?: readonly string[]
  readonly delimiter?: string
  readonly rowDelimiter?: string
  readonly decimal?: string
  readonly header?: string
}

/** Delimiters that are awkward to write in a shell. */
const DELIMITER_NAMES: Readonly<Record<string, string>> = {
  tab: '\t',
  space: ' ',
  comma: ',',
  semicolon: ';',
}

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
      '--max-step <s>',
      'a longer step between rows is a gap (default: 10 usual steps, at least 5 s; Pensieve 60 s)',
      numberOption({ min: 0, exclusiveMin: true }),
    )
    .option(
      '--column <role=header:unit>',
      `table: a column by its header or number, e.g. uplink=UL_bitrate:kbit/s (repeatable); ${ROW_ROLES.join(', ')}`,
      collect,
    )
    .option(
      '--every <s>',
      'table without times: seconds between its rows',
      numberOption({ min: 0, exclusiveMin: true }),
    )
    .option('--group <column>', 'table: tells the recordings in one file apart (repeatable)', collect)
    .option('--only <column=value>', 'table: leave out rows with another value (repeatable)', collect)
    .option(
      '--delimiter <char>',
      'table: what is between cells: tab, space or a character (default: by content)',
    )
    .option('--row-delimiter <char>', 'table: what is between rows, where all are on one line')
    .option('--decimal <mark>', 'table: point or comma (default: by content)')
    .option('--header <which>', 'table: yes or no, whether the first row has names (default: by content)')
    .option('--zero-is-missing', 'table: a zero says "not measured"')
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
  const { format, stamp, binMs, column, zeroIsMissing, maxStep } = options
  return {
    ...(format === undefined ? {} : { format: requireChoice('--format', format, TRACE_FORMATS) }),
    ...(stamp === undefined ? {} : { stamp: requireChoice('--stamp', stamp, ['start', 'end'] as const) }),
    ...(binMs === undefined ? {} : { binMilliseconds: binMs }),
    ...(zeroIsMissing === true ? { zeroIsMissing } : {}),
    ...(maxStep === undefined ? {} : { maxStepSeconds: maxStep }),
    ...(column === undefined ? {} : { columns: csvColumns(column, options.every !== undefined) }),
    ...tableOptions(options),
  }
}

function tableOptions(options: ReadOptions): CsvOptions {
  const { every, group, only, delimiter, rowDelimiter, decimal, header } = options
  const character = (name: string): string => DELIMITER_NAMES[name] ?? name
  const isComma = decimal !== undefined && requireChoice('--decimal', decimal, ['point', 'comma']) === 'comma'
  return {
    ...(every === undefined ? {} : { everySeconds: every }),
    ...(group === undefined ? {} : { group: group.map(columnName) }),
    ...(only === undefined ? {} : { only: only.map(onlyOf) }),
    ...(delimiter === undefined ? {} : { delimiter: character(delimiter) }),
    ...(rowDelimiter === undefined ? {} : { rowDelimiter: character(rowDelimiter) }),
    ...(decimal === undefined ? {} : { decimal: isComma ? (',' as const) : ('.' as const) }),
    ...(header === undefined ? {} : { header: requireChoice('--header', header, ['yes', 'no']) === 'yes' }),
  }
}

/** A column by its number from 1, or by its header. */
const columnName = (text: string): string | number => (/^\d+$/.test(text) ? Number(text) : text)

function onlyOf(text: string): { column: string | number; value: string } {
  const at = text.indexOf('=')
  if (at > 0) return { column: columnName(text.slice(0, at)), value: text.slice(at + 1) }
  throw new InputError({ where: '--only', expected: 'column=value', found: JSON.stringify(text) })
}

/** Parses `role=header:unit` declarations; the unit follows the last colon, or is left to the header. */
export function csvColumns(
  declared: readonly string[],
  isTimeless = false,
): NonNullable<CsvOptions['columns']> {
  const columns: Partial<Record<RowRole, CsvColumn>> = {}
  for (const text of declared) {
    const match = /^([a-z]+)=(.+?)(?::([^:]+))?$/.exec(text)
    const role = ROW_ROLES.find((known) => known === match?.[1])
    if (match === null || role === undefined || columns[role] !== undefined) {
      const expected = `role=header:unit, each role once: ${ROW_ROLES.join(', ')}`
      throw new InputError({ where: '--column', expected, found: JSON.stringify(text) })
    }
    const [, , header, unit] = match as (string | undefined)[]
    const column = columnName(header!)
    columns[role] = unit === undefined ? { column } : { column, unit }
  }
  if (columns.time !== undefined || isTimeless) return columns
  throw new InputError({
    where: '--column',
    expected: 'a time column among the declared ones, or --every for rows without one',
    found: 'none',
  })
}
