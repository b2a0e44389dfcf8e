import { statSync } from 'node:fs'
import { InputError, show } from '../../core/errors.ts'
import { nameForeignFile } from '../../core/foreign.ts'
import { readCapped, sha256 } from '../../core/files.ts'
import type { Trace } from '../table.ts'
import { hasKnownHeader, importCsv } from './csv.ts'
import type { CsvOptions } from './csv.ts'
import { importEdgewise, importEdgewiseLog } from './edgewise.ts'
import { foreignRecording, nameForeignRecording } from './foreign.ts'
import { importIperf3 } from './iperf3.ts'
import { readDelimited } from '../delimited.ts'
import { decodeText, linesOf } from '../lines.ts'
import type { Line } from '../lines.ts'
import { importLists } from './lists.ts'
import { importMahimahi } from './mahimahi.ts'
import { importNuttcp } from './nuttcp.ts'
import { importOboe, isOboe } from './oboe.ts'
import { importPensieve } from './pensieve.ts'
import type { PensieveOptions } from './pensieve.ts'
import { isIperfText } from './iperfText.ts'
import { importPing, isPing } from './ping.ts'
import { importRiiser, isRiiserLine } from './riiser.ts'
import { importNdt7, importOokla, isNdt7, isOokla } from './speedTests.ts'
import type { SourceInfo } from './source.ts'

/** Formats of recordings that can be imported. */
export const TRACE_FORMATS = [
  'mahimahi',
  'iperf3',
  'pensieve',
  'oboe',
  'riiser',
  'csv',
  'lists',
  'nuttcp',
  'ping',
  'ndt7',
  'ookla',
  'edgewise',
] as const
/** Name of a recording's format. */
type TraceFormat = (typeof TRACE_FORMATS)[number]

/** Largest recording that is read, in bytes. */
const MAX_SOURCE_BYTES = 256 * 1024 * 1024
/** How much of a text is looked at to see whether it is a table. */
const TABLE_HEAD_CHARACTERS = 65_536

/** Options of all importers. */
export interface ImportOptions extends PensieveOptions, CsvOptions {
  /** Overrides the detection of the format. */
  readonly format?: TraceFormat
  /** mahimahi and edgewise: width in milliseconds of the bins in which packets or transfers are counted. */
  readonly binMilliseconds?: number
}

/**
 * Detects the format of a recording from its content: JSON is iperf3, or edgewise's own log with its header; lines of
 * one whole number are mahimahi; nuttcp and ping print their names; Oboe's pairs of lines and Riiser's six columns are
 * known by their form; other cells between delimiters are a table (CSV). Two columns of numbers do not say their units.
 * @throws InputError if it is none of these, saying what it is where that is known, and which two formats are nearest
 */
export function detectFormat(text: string, where: string, options: CsvOptions = {}): TraceFormat {
  const first = firstLine(text)
  if (first === undefined || nameForeignRecording(text) !== null) {
    throw foreignRecording(text, where, TRACE_FORMATS)
  }
  if (first.text.startsWith('{"kind":"header"')) return 'edgewise'
  if (isNdt7(text)) return 'ndt7'
  if (isOokla(text)) return 'ookla'
  if (first.text.startsWith('{')) return 'iperf3'
  // nuttcp and ping are checked first: they may begin with a lone time stamp, which looks like mahimahi.
  const head = text.slice(0, 2000)
  if (/\bnuttcp-[tr]:/.test(head)) return 'nuttcp'
  if (isIperfText(text)) return 'iperf3'
  if (isPing(head)) return 'ping'
  if (options.columns !== undefined) return 'csv'
  if (/^\d+$/.test(first.text)) return 'mahimahi'
  if (isRiiserLine(first.text)) return 'riiser'
  if (isOboe(text)) return 'oboe'
  // The first rows tell what a table is; the last of them may be cut.
  const table = readDelimited(text.slice(0, TABLE_HEAD_CHARACTERS), where, options)
  if (hasKnownHeader(table.header)) return 'csv'
  if (table.header === null && /^\S+[\s,;]+\S+$/.test(first.text)) throw unitsNotSaid(first, where)
  if (/[,;|\t]/.test(first.text)) return 'csv'
  throw foreignRecording(text, where, TRACE_FORMATS)
}

/** Two columns of numbers may be seconds and Mbit/s, milliseconds and kbit/s, or bytes: a guess is wrong by 1000. */
function unitsNotSaid(first: Line, where: string): InputError {
  return new InputError({
    where: `${where}:${first.number}`,
    expected: 'declared units: two columns of numbers do not say theirs',
    found: show(first.text),
    remedy:
      'name --format pensieve if they are seconds and Mbit/s; otherwise declare them, such as --column time=1:s ' +
      '--column downlink=2:kbit/s (or ms, us; bit/s, Mbit/s, byte/s, and byte for bytes in each row); a command without ' +
      'these flags takes the .parquet that `trace import` writes',
  })
}

function firstLine(text: string): Line | undefined {
  for (const line of linesOf(text)) return line
  return undefined
}

/**
 * Imports a recording from text.
 * @throws InputError naming line or field
 */
export function importTrace(text: string, source: SourceInfo, options: ImportOptions = {}): Trace {
  const format = options.format ?? detectFormat(text, source.where, options)
  if (format === 'mahimahi') return importMahimahi(text, source, options.binMilliseconds)
  if (format === 'iperf3') return importIperf3(text, source)
  if (format === 'pensieve') return importPensieve(text, source, options)
  if (format === 'oboe') return importOboe(text, source)
  if (format === 'riiser') return importRiiser(text, source, options)
  if (format === 'lists') return importLists(text, source, options)
  if (format === 'nuttcp') return importNuttcp(text, source)
  if (format === 'ndt7') return importNdt7(text, source)
  if (format === 'ookla') return importOokla(text, source)
  if (format === 'ping') return importPing(text, source)
  if (format === 'edgewise') return importEdgewise(text, source, options.binMilliseconds)
  return importCsv(text, source, options)
}

/** Imports a recording from a file of at most MAX_SOURCE_BYTES; an edgewise log also from its folder, of any size. */
export function importTraceFile(
  path: string,
  source: Omit<SourceInfo, 'where'>,
  options: ImportOptions = {},
): Trace {
  if (options.format === 'edgewise' || isFolder(path)) {
    return importEdgewiseLog(path, { ...source, where: path }, options.binMilliseconds)
  }
  refuseForeignBytes(path)
  const bytes = readCapped(path, MAX_SOURCE_BYTES)
  return importTrace(decodeText(bytes), { ...source, where: path, sha256: sha256(bytes) }, options)
}

/** A packed or binary file is named before its bytes are read as text. */
function refuseForeignBytes(path: string): void {
  const foreign = nameForeignFile(path)
  if (foreign === null) return
  const expected = `a recording in one of the formats ${TRACE_FORMATS.join(', ')}`
  throw new InputError({ where: path, expected, found: foreign.what, remedy: foreign.remedy })
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}
