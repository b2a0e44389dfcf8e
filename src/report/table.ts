import { stripVTControlCharacters, styleText } from 'node:util'
import Table from 'cli-table3'

export interface Column {
  readonly title: string
  readonly align?: 'left' | 'right' | 'center'
}

export interface TableData {
  readonly columns: readonly Column[]
  readonly rows: readonly (readonly string[])[]
  /** Indices of rows to be set in bold. */
  readonly emphasis?: readonly number[]
}

export interface TableStyle {
  /** Borders; without them columns stand two spaces apart, which suits files and pipes. */
  readonly isTerminal: boolean
  readonly colour: boolean
}

export const PLAIN: TableStyle = { isTerminal: false, colour: false }

const NO_BORDERS = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
} as const

/** A table as text, without a trailing newline. No control characters unless `colour`. */
export function renderTable(data: TableData, style: TableStyle = PLAIN): string {
  const table = new Table({
    head: data.columns.map((column) => paint(column.title, 'bold', style)),
    colAligns: data.columns.map((column) => column.align ?? 'left'),
    chars: NO_BORDERS,
    // cli-table3 colours head and border by default, also when piped.
    style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': 0 },
  })
  for (const [index, row] of data.rows.entries()) {
    if (row.length !== data.columns.length) {
      throw new RangeError(`row ${index}: expected ${data.columns.length} cells, found ${row.length}`)
    }
    const bold = data.emphasis?.includes(index) === true
    table.push(row.map((cell) => (bold ? paint(cell, 'bold', style) : cell)))
  }
  const lines = table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
  return style.isTerminal ? underline(lines, style) : lines.join('\n')
}

/** A rule below the header as wide as the widest line. */
function underline(lines: readonly string[], style: TableStyle): string {
  const width = Math.max(...lines.map((line) => stripVTControlCharacters(line).length))
  const rule = paint('─'.repeat(width), 'dim', style)
  return [lines[0], rule, ...lines.slice(1)].join('\n')
}

/** Text in a style where colour is allowed, the bare text elsewhere. */
export function paint(
  text: string,
  format: Parameters<typeof styleText>[0],
  style: { readonly colour: boolean },
): string {
  return style.colour ? styleText(format, text, { validateStream: false }) : text
}
