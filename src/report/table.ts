import { stripVTControlCharacters, styleText } from 'node:util'
import Table from 'cli-table3'

/** A column of a table. */
export interface Column {
  readonly title: string
  readonly align?: 'left' | 'right' | 'center'
}

/** Columns and rows of a table. */
export interface TableData {
  readonly columns: readonly Column[]
  readonly rows: readonly (readonly string[])[]
  /** Indices of rows printed in bold. */
  readonly emphasis?: readonly number[]
}

/** How a table is printed. */
export interface TableStyle {
  /** Draws borders; without them columns are separated by two spaces, which suits files and pipes. */
  readonly isTerminal: boolean
  readonly colour: boolean
}

/** Style for files and pipes. */
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

/** Renders a table as text without a trailing newline. Contains control characters only with `colour`. */
export function renderTable(data: TableData, style: TableStyle = PLAIN): string {
  const table = new Table({
    head: data.columns.map((column) => paint(column.title, 'bold', style)),
    colAligns: data.columns.map((column) => column.align ?? 'left'),
    chars: NO_BORDERS,
    // By default cli-table3 colours head and border even when piped.
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

/** A line below the header, as wide as the widest line. */
function underline(lines: readonly string[], style: TableStyle): string {
  const width = Math.max(...lines.map((line) => stripVTControlCharacters(line).length))
  const rule = paint('─'.repeat(width), 'dim', style)
  return [lines[0], rule, ...lines.slice(1)].join('\n')
}

/** Styles text if colour is allowed, otherwise returns it unchanged. */
export function paint(
  text: string,
  format: Parameters<typeof styleText>[0],
  style: { readonly colour: boolean },
): string {
  return style.colour ? styleText(format, text, { validateStream: false }) : text
}
