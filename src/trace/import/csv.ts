import { InputError, show } from '../../core/errors.ts'
import { readDelimited } from '../delimited.ts'
import type { DelimitedOptions, DelimitedTable } from '../delimited.ts'
import { emptyError, lineError } from '../lines.ts'
import { makeTrace } from '../table.ts'
import type { Trace } from '../table.ts'
import { makeRows, MEASURED, quantityOf, RowCollector, unitOf } from './rows.ts'
import type { RowField, RowRole, RowSettings } from './rows.ts'
import { sourceMeta } from './source.ts'
import type { SourceInfo } from './source.ts'
import { unitInHeader, unitNames } from './units.ts'

/** A column: its header (or its number from 1), and the unit of its values; without one, the header names it. */
export interface CsvColumn {
  readonly column: string | number
  readonly unit?: string
}

/** How the columns of a table are interpreted. */
export interface CsvOptions extends DelimitedOptions, RowSettings {
  /**
   * `end` or `duration`: where each row's interval ends, if the file says it. Without `time`, `everySeconds` says how far
   * apart the rows are.
   */
  readonly columns?: Readonly<Partial<Record<RowRole, CsvColumn>>>
  /** Columns whose values together tell the recordings in one file apart. */
  readonly group?: readonly (string | number)[]
  /** Rows with another value in one of these columns are left out. */
  readonly only?: readonly { readonly column: string | number; readonly value: string }[]
}

/** Headers that need no declaration: those of edgewise's own files. */
const KNOWN: Record<string, { readonly role: RowRole; readonly unit: string }> = {
  time_s: { role: 'time', unit: 's' },
  time_ms: { role: 'time', unit: 'ms' },
  end_s: { role: 'end', unit: 's' },
  uplink_bps: { role: 'uplink', unit: 'bit/s' },
  uplink_kbps: { role: 'uplink', unit: 'kbit/s' },
  uplink_mbps: { role: 'uplink', unit: 'Mbit/s' },
  downlink_bps: { role: 'downlink', unit: 'bit/s' },
  downlink_kbps: { role: 'downlink', unit: 'kbit/s' },
  downlink_mbps: { role: 'downlink', unit: 'Mbit/s' },
  rtt_s: { role: 'rtt', unit: 's' },
  rtt_ms: { role: 'rtt', unit: 'ms' },
  loss: { role: 'loss', unit: 'share' },
  loss_percent: { role: 'loss', unit: 'percent' },
}

/**
 * Reads a table (any delimiter) with declared columns, or with the headers of KNOWN. A cell that is empty or says so
 * means "not measured". Declared columns must exist; others are ignored and listed in the notes.
 */
export function importCsv(text: string, source: SourceInfo, options: CsvOptions = {}, format = 'csv'): Trace {
  const { where } = source
  const table = readDelimited(text, where, options)
  const fields = declare(options, table)
  const collector = new RowCollector(fields, options, where)
  const groups = (options.group ?? []).map((column) => table.indexOf(column))
  const filters = (options.only ?? []).map(({ column, value }) => ({ index: table.indexOf(column), value }))
  const used = new Set([...fields, ...filters].map(({ index }) => index).concat(groups))
  const width = Math.max(...used) + 1
  const numberOf = table.numbersOf(fields.flatMap(({ index, unit }) => (unit.scale > 0 ? [index] : [])))
  for (const { number, cells, part } of table.rows()) {
    if (cells.length < width) {
      throw lineError(where, number, `${width} cells or more`, cells.join(table.delimiter))
    }
    if (!filters.every(({ index, value }) => cells[index] === value)) continue
    const key = groups.reduce((text, index) => `${text}\u0000${cells[index]}`, `${part}`)
    collector.add(number, ({ index }) => cells[index], numberOf, key)
  }
  if (collector.length === 0) {
    throw emptyError(where, filters.length === 0 ? 'at least one row of data' : 'a row with these values')
  }
  const { timeSeconds, columns, notes } = collector.finish()
  const ignored = (table.header ?? []).filter((_, i) => !used.has(i))
  if (ignored.length > 0) notes.push(`columns not used: ${ignored.join(', ')}`.slice(0, 1000))
  const rates = fields.some(({ role }) => role === 'uplink' || role === 'downlink')
  const meta = sourceMeta(source, text, format, rates ? 'tcp-goodput' : null, notes)
  return makeTrace({ meta, timeSeconds, ...columns }, where)
}

/** Whether a text is a table whose header names columns of ours. */
export function hasKnownHeader(header: readonly string[] | null): boolean {
  const roles = (header ?? []).flatMap((name) => knownRole(name)?.role ?? [])
  return roles.includes('time') && roles.some((role) => MEASURED[role] !== undefined)
}

function knownRole(name: string): (typeof KNOWN)[string] | undefined {
  const key = name.toLowerCase()
  return Object.hasOwn(KNOWN, key) ? KNOWN[key] : undefined
}

function declare(options: CsvOptions, table: DelimitedTable): RowField[] {
  const fields: RowField[] = []
  if (options.columns !== undefined) {
    for (const [role, spec] of Object.entries(options.columns) as [RowRole, CsvColumn | undefined][]) {
      if (spec !== undefined) fields.push(fieldOf(role, spec, table))
    }
  } else {
    for (const [index, name] of (table.header ?? []).entries()) {
      const known = knownRole(name)
      if (known !== undefined)
        fields.push(fieldOf(known.role, { column: index + 1, unit: known.unit }, table))
    }
  }
  if (makeRows(fields, options.everySeconds)) return fields
  throw new InputError({
    where: `${table.where}:1`,
    expected: `one time and one or more measured columns, each once, among ${Object.keys(KNOWN).join(', ')}`,
    found: table.header === null ? 'no header' : show(table.header.join(','), 400),
    remedy:
      'declare the columns with their units, such as --column time=1:s --column uplink=2:kbit/s; without a column of ' +
      'times, say how far apart the rows are (--every)',
  })
}

function fieldOf(role: RowRole, spec: CsvColumn, table: DelimitedTable): RowField {
  const index = table.indexOf(spec.column)
  const quantity = quantityOf(role)
  const name = table.header?.[index]
  const unit = spec.unit ?? (name === undefined ? null : unitInHeader(name, quantity))
  const where = `${table.where}: column ${role}`
  if (unit === null) {
    const expected = `a unit among ${unitNames(quantity)}`
    const found = `none, and ${name === undefined ? 'the file has no header' : `its header ${show(name)} names none`}`
    throw new InputError({
      where,
      expected,
      found,
      remedy: `declare it, as in --column ${role}=${spec.column}:<unit>`,
    })
  }
  return { role, index, unit: unitOf(role, unit, where) }
}
