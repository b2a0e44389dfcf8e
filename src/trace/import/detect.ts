import { statSync } from 'node:fs'
import { InputError } from '../../core/errors.ts'
import { nameForeignFile } from '../../core/foreign.ts'
import { readText } from '../../core/files.ts'
import type { Trace } from '../table.ts'
import { importCsv } from './csv.ts'
import type { CsvOptions } from './csv.ts'
import { importEdgewise, importEdgewiseLog } from './edgewise.ts'
import { foreignRecording, nameForeignRecording } from './foreign.ts'
import { importIperf3 } from './iperf3.ts'
import { decimal, linesOf } from '../lines.ts'
import type { Line } from '../lines.ts'
import { importMahimahi } from './mahimahi.ts'
import { importNuttcp } from './nuttcp.ts'
import { importPensieve } from './pensieve.ts'
import type { PensieveOptions } from './pensieve.ts'
import { importPing } from './ping.ts'
import type { SourceInfo } from './source.ts'

/** Formats of recordings that can be imported. */
export const TRACE_FORMATS = ['mahimahi', 'iperf3', 'pensieve', 'csv', 'nuttcp', 'ping', 'edgewise'] as const
/** Name of a recording's format. */
type TraceFormat = (typeof TRACE_FORMATS)[number]

/** Largest recording that is read, in bytes. */
const MAX_SOURCE_BYTES = 256 * 1024 * 1024

/** Options of all importers. */
export interface ImportOptions extends PensieveOptions, CsvOptions {
  /** Overrides the detection of the format. */
  readonly format?: TraceFormat
  /** mahimahi and edgewise: width in milliseconds of the bins in which packets or transfers are counted. */
  readonly binMilliseconds?: number
}

/**
 * Detects the format of a recording from its content: JSON is iperf3, or edgewise's own log with its header; lines of
 * one whole number are mahimahi; lines of two numbers separated by white space are Pensieve; nuttcp and ping print
 * their names; commas mean CSV.
 * @throws InputError if it is none of these, saying what it is where that is known, and which two formats are nearest
 */
export function detectFormat(text: string, where: string): TraceFormat {
  const first = firstLine(text)
  if (first === undefined || nameForeignRecording(text) !== null) {
    throw foreignRecording(text, where, TRACE_FORMATS)
  }
  if (first.text.startsWith('{"kind":"header"')) return 'edgewise'
  if (first.text.startsWith('{')) return 'iperf3'
  // nuttcp and ping are checked first: they may begin with a lone time stamp, which looks like mahimahi.
  const head = text.slice(0, 2000)
  if (/\bnuttcp-[tr]:/.test(head)) return 'nuttcp'
  if (/^(\[[^\]]*\] )?PING |icmp_seq=/m.test(head)) return 'ping'
  if (/^\d+$/.test(first.text)) return 'mahimahi'
  const fields = first.text.split(/\s+/)
  if (fields.length === 2 && fields.every((cell) => !Number.isNaN(decimal(cell)))) return 'pensieve'
  if (first.text.includes(',')) return 'csv'
  throw foreignRecording(text, where, TRACE_FORMATS)
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
  const format = options.format ?? detectFormat(text, source.where)
  if (format === 'mahimahi') return importMahimahi(text, source, options.binMilliseconds)
  if (format === 'iperf3') return importIperf3(text, source)
  if (format === 'pensieve') return importPensieve(text, source, options)
  if (format === 'nuttcp') return importNuttcp(text, source)
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
  return importTrace(readText(path, MAX_SOURCE_BYTES), { ...source, where: path }, options)
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
