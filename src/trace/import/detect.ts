import { statSync } from 'node:fs'
import { InputError, show } from '../../core/errors.ts'
import { readText } from '../../core/files.ts'
import type { Trace } from '../table.ts'
import { importCsv } from './csv.ts'
import type { CsvOptions } from './csv.ts'
import { importEdgewise, importEdgewiseLog } from './edgewise.ts'
import { importIperf3 } from './iperf3.ts'
import { decimal, linesOf } from '../lines.ts'
import type { Line } from '../lines.ts'
import { importMahimahi } from './mahimahi.ts'
import { importNuttcp } from './nuttcp.ts'
import { importPensieve } from './pensieve.ts'
import type { PensieveOptions } from './pensieve.ts'
import { importPing } from './ping.ts'
import type { SourceInfo } from './source.ts'

export const TRACE_FORMATS = ['mahimahi', 'iperf3', 'pensieve', 'csv', 'nuttcp', 'ping', 'edgewise'] as const
export type TraceFormat = (typeof TRACE_FORMATS)[number]

/** A recording of more bytes than this is refused. */
export const MAX_SOURCE_BYTES = 256 * 1024 * 1024

export interface ImportOptions extends PensieveOptions, CsvOptions {
  /** Overrides detection. */
  readonly format?: TraceFormat
  /** mahimahi and edgewise: the width over which packets or transfers are counted. */
  readonly binMilliseconds?: number
}

/**
 * The format of a recording by its content, whatever its name: JSON is iperf3, or our own log with its header, whole numbers alone
 * are mahimahi, two numbers a line apart by white space are Pensieve's; nuttcp and ping show their
 * names; commas make a CSV.
 * @throws InputError if it is none of these
 */
export function detectFormat(text: string, where: string): TraceFormat {
  const first = firstLine(text)
  if (first !== undefined) {
    if (first.text.startsWith('{"kind":"header"')) return 'edgewise'
    if (first.text.startsWith('{')) return 'iperf3'
    // These two may begin with a lone time stamp, which would look like mahimahi's.
    const head = text.slice(0, 2000)
    if (/\bnuttcp-[tr]:/.test(head)) return 'nuttcp'
    if (/^(\[[^\]]*\] )?PING |icmp_seq=/m.test(head)) return 'ping'
    if (/^\d+$/.test(first.text)) return 'mahimahi'
    const fields = first.text.split(/\s+/)
    if (fields.length === 2 && fields.every((cell) => !Number.isNaN(decimal(cell)))) return 'pensieve'
    if (first.text.includes(',')) return 'csv'
  }
  throw new InputError({
    where: `${where}:${first?.number ?? 1}`,
    expected: `a recording in one of the formats ${TRACE_FORMATS.join(', ')}`,
    found: first === undefined ? 'an empty file' : show(first.text),
    remedy: 'name the format if this is one of them, or convert the file to CSV with declared columns',
  })
}

function firstLine(text: string): Line | undefined {
  for (const line of linesOf(text)) return line
  return undefined
}

/** Reads a recording from text. @throws InputError naming line or field */
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

/** Reads a recording from a file of at most MAX_SOURCE_BYTES; a log of ours from its folder, too, however long. */
export function importTraceFile(
  path: string,
  source: Omit<SourceInfo, 'where'>,
  options: ImportOptions = {},
): Trace {
  if (options.format === 'edgewise' || isFolder(path)) {
    return importEdgewiseLog(path, { ...source, where: path }, options.binMilliseconds)
  }
  return importTrace(readText(path, MAX_SOURCE_BYTES), { ...source, where: path }, options)
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}
