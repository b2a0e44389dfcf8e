import { InputError, show } from '../core/errors.ts'
import { decimal, lineError } from './lines.ts'

/** The mark between whole and fraction of a number. */
type DecimalMark = '.' | ','

/** How the text of a table is split into rows and cells. What is left out is found out from the text. */
export interface DelimitedOptions {
  /** One character between cells; a blank stands for any white space. */
  readonly delimiter?: string
  /** One character between rows, for a file that has them all on one line; otherwise a line is a row. */
  readonly rowDelimiter?: string
  /** Whether the first row has the names of the columns. */
  readonly header?: boolean
  readonly decimal?: DecimalMark
}

/** A row of a table. */
interface DelimitedRow {
  /** Line number from 1; with a row delimiter, the number of the row. */
  readonly number: number
  readonly cells: readonly string[]
  /** How often the header came again before this row. */
  readonly part: number
}

/** A table in text, whatever its delimiter. It is read row by row: only the text is held. */
export interface DelimitedTable {
  readonly where: string
  /** Names of the columns; null if the file has none. */
  readonly header: readonly string[] | null
  /** What is between cells; '' for a single column. */
  readonly delimiter: string
  /** Rows of data, without blank lines, comments (`#`) and repetitions of the header. */
  rows(): Generator<DelimitedRow>
  /**
   * Index of a column by its name or its number from 1.
   * @throws InputError that lists the columns
   */
  indexOf(column: string | number): number
  /**
   * A reader of the numbers in these columns: NaN for what is no number. Takes thousands apart by `,` `.` `'` `_` or
   * blanks, and the decimal mark as declared or as the cells show it.
   * @throws InputError if `,` may be either, or stands for both
   */
  numbersOf(indices: readonly number[]): (cell: string) => number
}

/** Rows from which delimiter, header and decimal mark are found out. */
const SAMPLE_ROWS = 200
/** In order of preference, where several split the rows equally well. A blank: any white space. */
const DELIMITERS = ['\t', ';', '|', ',', ' ']
const MISSING = new Set(
  ['', '-', '--', '?', '\\n', 'na', 'n/a', '#n/a', '<na>', 'nan', '-nan', 'null', 'nil', 'none'].concat([
    'missing',
    'undefined',
  ]),
)

/** Whether a cell says that nothing was measured. */
export function isMissing(cell: string): boolean {
  const first = cell.charCodeAt(0)
  // Nearly all cells begin with a digit.
  if (first >= 0x30 && first <= 0x39) return false
  return MISSING.has(cell.toLowerCase())
}

/**
 * Opens a table: CSV as RFC 4180 has it, and what spreadsheets and loggers write in its place.
 * @throws InputError if an option is not usable, or the text has no row at all
 */
export function readDelimited(text: string, where: string, options: DelimitedOptions = {}): DelimitedTable {
  for (const name of ['delimiter', 'rowDelimiter'] as const) {
    const chosen = options[name]
    if (chosen === undefined || (chosen.length === 1 && !/[\w."#]/.test(chosen.replace('_', '')))) continue
    throw new InputError({
      where: `${where}: ${name === 'delimiter' ? 'delimiter' : 'row delimiter'}`,
      expected: 'one character that is no letter, digit, point, quote or #',
      found: show(chosen),
    })
  }
  const separator = /^\ufeff?sep=(.)\r?$/im.exec(text.slice(0, 20))?.[1]
  const lines = (): Generator<DelimitedLine> => rowTexts(text, options.rowDelimiter)
  const sample: DelimitedLine[] = []
  for (const line of lines()) if (sample.push(line) === SAMPLE_ROWS) break
  if (sample.length === 0) {
    const remedy = 'check that this is the file that is meant'
    throw new InputError({ where, expected: 'a table with at least one row', found: 'none', remedy })
  }
  const delimiter = options.delimiter ?? separator ?? findDelimiter(sample)
  const split = (line: DelimitedLine): string[] => splitCells(line, delimiter, where)
  const first = split(sample[0])
  const hasHeader = options.header ?? isHeader(first, sample.length > 1 ? split(sample[1]) : null)
  const header = hasHeader ? { cells: first, text: sample[0].text } : null
  return new Table(where, lines, split, header, delimiter, options.decimal)
}

interface DelimitedLine {
  readonly number: number
  readonly text: string
}

class Table implements DelimitedTable {
  readonly where: string
  readonly header: readonly string[] | null
  readonly delimiter: string
  private readonly declaredMark: DecimalMark | undefined
  private readonly headerText: string | null
  private readonly lines: () => Generator<DelimitedLine>
  private readonly split: (line: DelimitedLine) => string[]

  constructor(
    where: string,
    lines: () => Generator<DelimitedLine>,
    split: (line: DelimitedLine) => string[],
    header: { cells: string[]; text: string } | null,
    delimiter: string,
    declaredMark: DecimalMark | undefined,
  ) {
    this.where = where
    this.lines = lines
    this.split = split
    this.header = header?.cells ?? null
    this.headerText = header?.text ?? null
    this.delimiter = delimiter
    this.declaredMark = declaredMark
  }

  *rows(): Generator<DelimitedRow> {
    let headers = 0
    for (const line of this.lines()) {
      // A logger that was started again, or files joined by `cat`, repeat the header.
      if (line.text === this.headerText) headers++
      else yield { number: line.number, cells: this.split(line), part: Math.max(0, headers - 1) }
    }
  }

  indexOf(column: string | number): number {
    const { header, where } = this
    const index = typeof column === 'number' ? column - 1 : (header?.indexOf(column) ?? -1)
    const isThere = Number.isInteger(index) && index >= 0 && (header === null || index < header.length)
    if (isThere && (typeof column === 'number' || header?.lastIndexOf(column) === index)) return index
    throw new InputError({
      where: `${where}:1`,
      expected: `${isThere ? 'one column' : 'a column'} ${show(column)}`,
      found: header === null ? 'no header' : show(header.join(','), 400),
      remedy:
        header === null ? 'name the column by its number from 1' : 'name one of these, or its number from 1',
    })
  }

  numbersOf(indices: readonly number[]): (cell: string) => number {
    const mark = this.declaredMark ?? this.findDecimalMark(indices)
    return (cell) => parseNumber(cell, mark)
  }

  /** The decimal mark that the first rows show; a point where they show none. */
  private findDecimalMark(indices: readonly number[]): DecimalMark {
    const seen: Partial<Record<DecimalMark | 'either', { readonly line: number; readonly cell: string }>> = {}
    let rows = 0
    for (const { number, cells } of this.rows()) {
      if (rows++ === SAMPLE_ROWS) break
      for (const index of indices) {
        const shown = decimalMarkOf(cells[index] ?? '')
        if (shown !== null) seen[shown] ??= { line: number, cell: cells[index] }
      }
    }
    if (seen['.'] !== undefined && seen[','] !== undefined) {
      const expected = `one decimal mark, as ${show(seen['.'].cell)} of line ${seen['.'].line} has it`
      throw lineError(this.where, seen[','].line, expected, seen[','].cell)
    }
    if (seen[','] !== undefined) return ','
    // Between commas, a comma inside a (quoted) number can only group its digits.
    if (seen.either === undefined || seen['.'] !== undefined || this.delimiter === ',') return '.'
    throw lineError(
      this.where,
      seen.either.line,
      'numbers whose comma is plain: it may be a decimal comma or group thousands',
      seen.either.cell,
      'declare the decimal mark: comma or point',
    )
  }
}

/** Rows without blank ones and comments. Takes LF, CRLF and CR. */
function* rowTexts(text: string, rowDelimiter: string | undefined): Generator<DelimitedLine> {
  const ends = rowDelimiter === undefined ? /\r\n|\n|\r/g : rowPattern(rowDelimiter)
  let number = 0
  let start = text.charCodeAt(0) === 0xfeff ? 1 : 0
  while (start < text.length) {
    ends.lastIndex = start
    const end = ends.exec(text)
    const row = text.slice(start, end?.index ?? text.length)
    number++
    start = end === null ? text.length : end.index + end[0].length
    const first = /\S/.exec(row)
    if (first === null || first[0] === '#' || /^\s*sep=.\s*$/i.test(row)) continue
    yield { number, text: row }
  }
}

const rowPattern = (rowDelimiter: string): RegExp =>
  new RegExp(`\\r\\n|\\n|\\r|${rowDelimiter.replace(/[\\^$.*+?()[\]{}|-]/, '\\$&')}`, 'g')

/**
 * The delimiter that splits the sample into rows of equal length, of two cells or more, most of which are numbers,
 * stamps or empty; '' if none does: a single column.
 */
function findDelimiter(sample: readonly DelimitedLine[]): string {
  let best = ''
  let bestScore = 0
  for (const delimiter of DELIMITERS) {
    const rows = sample.map((line) => splitLoosely(line.text, delimiter))
    const counts = new Map<number, number>()
    for (const { length } of rows) counts.set(length, (counts.get(length) ?? 0) + 1)
    const [width, times] = [...counts].reduce((most, next) => (next[1] > most[1] ? next : most))
    if (width < 2 || times < 0.8 * rows.length) continue
    const cells = rows.flat()
    const score = (times / rows.length) * (0.01 + cells.filter(isPlain).length / cells.length)
    if (score > bestScore + 1e-9) [best, bestScore] = [delimiter, score]
  }
  if (best !== '') return best
  // Rows of unequal length: the first one decides, so that the error names the row that is short.
  return DELIMITERS.find((delimiter) => delimiter !== ' ' && sample[0].text.includes(delimiter)) ?? ''
}

/** Whether a cell holds a number, a stamp, or nothing. */
const isPlain = (cell: string): boolean =>
  isMissing(cell) ||
  !Number.isNaN(parseNumber(cell, '.')) ||
  !Number.isNaN(parseNumber(cell, ',')) ||
  parseStamp(cell) !== null

/** A first row is a header if it has words where the second has figures, or no figure at all. */
function isHeader(first: readonly string[], second: readonly string[] | null): boolean {
  const isFigure = (cell: string): boolean => isPlain(cell) && !isMissing(cell)
  if (!first.some(isFigure)) return true
  return second !== null && first.some((cell, i) => !isPlain(cell) && i < second.length && isPlain(second[i]))
}

const splitLoosely = (text: string, delimiter: string): string[] =>
  cellsOf(text, delimiter) ?? text.split(delimiter)

function splitCells(line: DelimitedLine, delimiter: string, where: string): string[] {
  const cells = cellsOf(line.text, delimiter)
  if (cells !== null) return cells
  throw lineError(where, line.number, 'a cell whose double quote is closed on the same line', line.text)
}

/** Cells without the blanks around them; null if a quote is not closed. */
function cellsOf(text: string, delimiter: string): string[] | null {
  if (delimiter === '') return [text.trim().replace(/^"(.*)"$/, '$1')]
  if (delimiter === ' ') return text.trim().split(/\s+/)
  if (!text.includes('"')) return text.split(delimiter).map((cell) => cell.trim())
  const cells: string[] = []
  let at = 0
  for (;;) {
    while (text[at] === ' ') at++
    if (text[at] !== '"') {
      const end = text.indexOf(delimiter, at)
      cells.push(text.slice(at, end < 0 ? text.length : end).trim())
      if (end < 0) return cells
      at = end + 1
      continue
    }
    let cell = ''
    for (at++; ; at++) {
      const end = text.indexOf('"', at)
      if (end < 0) return null
      cell += text.slice(at, end)
      at = end + 1
      if (text[at] !== '"') break
      cell += '"'
    }
    cells.push(cell.trim())
    const end = text.indexOf(delimiter, at)
    if (end < 0) return cells
    at = end + 1
  }
}

const GROUPS = /^[+-]?\d{1,3}(?:[ '’_\u00a0\u202f]\d{3})+(?=[.,]|$)/

/** Which mark a cell shows to be decimal; null if it shows none. `1,234` may be either; `1.234` is taken as 1 and a bit. */
function decimalMarkOf(cell: string): DecimalMark | 'either' | null {
  const match = /^[+-]?\d[\d.,]*/.exec(cell)
  if (match === null) return null
  const points = match[0].split('.').length - 1
  const commas = match[0].split(',').length - 1
  if (points > 0 && commas > 0) return match[0].lastIndexOf('.') > match[0].lastIndexOf(',') ? '.' : ','
  if (points > 1) return ','
  if (commas > 1) return '.'
  if (points === 1) return /^[+-]?[1-9]\d{0,2}\.\d{3}$/.test(match[0]) ? null : '.'
  if (commas === 1) return /^[+-]?[1-9]\d{0,2},\d{3}$/.test(match[0]) ? 'either' : ','
  return null
}

/** A number whose digits may stand in groups of three; NaN for anything else. */
function parseNumber(cell: string, mark: DecimalMark): number {
  const plain = mark === '.' ? decimal(cell) : NaN
  if (!Number.isNaN(plain)) return plain
  const grouped = GROUPS.test(cell) ? cell.replace(/[ '’_\u00a0\u202f]/g, '') : cell
  if (mark === '.') {
    return decimal(/^[+-]?\d{1,3}(,\d{3})+(\.\d*)?$/.test(grouped) ? grouped.replaceAll(',', '') : grouped)
  }
  if (grouped.includes('.') && !/^[+-]?\d{1,3}(\.\d{3})+(,\d*)?$/.test(grouped)) return NaN
  return decimal(grouped.replaceAll('.', '').replace(',', '.'))
}

/** A point in time: whole seconds since 1970 (UTC), and what comes after them, which a double would round. */
interface Stamp {
  readonly wholeSeconds: number
  /** 0 up to 1. */
  readonly fraction: number
}

const STAMP =
  /^(\d{4})([-./]?)(\d\d?)\2(\d\d?)[T _]+(\d\d?)([:.]?)(\d\d)(?:\6(\d\d)(?:[.,](\d+))?)?\s*(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?$/i

/**
 * Reads a date with a time of day, year first: `2024-01-11 10:06:39`, `2024-01-11T10:06:39.123456789+01:00`,
 * `2020.02.14_09.38.22`. It is UTC unless it has an offset. null for anything else.
 */
export function parseStamp(cell: string): Stamp | null {
  const parts = STAMP.exec(cell)
  if (parts === null) return null
  const [year, month, day, hour, minute] = [parts[1], parts[3], parts[4], parts[5], parts[7]].map(Number)
  const second = Number(parts[8] ?? 0)
  const midnight = Date.UTC(year, month - 1, day)
  const isDate = new Date(midnight).getUTCDate() === day && month >= 1 && month <= 12
  if (!isDate || hour > 23 || minute > 59 || second > 60) return null
  const wholeSeconds = midnight / 1000 + 3600 * hour + 60 * minute + second - offsetSeconds(parts[10])
  return { wholeSeconds, fraction: parts[9] === undefined ? 0 : Number(`0.${parts[9]}`) }
}

function offsetSeconds(zone: string | undefined): number {
  const match = /^([+-])(\d\d):?(\d\d)?$/.exec(zone ?? '')
  if (match === null) return 0
  return (match[1] === '-' ? -1 : 1) * (3600 * Number(match[2]) + 60 * Number(match[3] ?? 0))
}
