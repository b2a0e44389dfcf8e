import { InputError, show } from '../../core/errors.ts'
import { makeTrace } from '../table.ts'
import type { Trace, TraceColumn } from '../table.ts'
import { Column, decimal, emptyError, lineError, linesOf, medianStep } from '../lines.ts'
import type { Line } from '../lines.ts'
import { sourceMeta } from './source.ts'
import type { SourceInfo } from './source.ts'

/** Size of each accepted unit in ours: seconds, bit/s, a share of 1. */
const UNITS: Record<'time' | 'rate' | 'loss', Record<string, number>> = {
  time: { s: 1, ms: 1e-3, us: 1e-6, datetime: NaN },
  rate: { 'bit/s': 1, 'kbit/s': 1e3, 'Mbit/s': 1e6, 'Gbit/s': 1e9, 'byte/s': 8, 'Kibit/s': 1024 },
  loss: { share: 1, percent: 0.01 },
}

/** A column: its header (or its number from 1), and the unit of its values. */
export interface CsvColumn {
  readonly column: string | number
  readonly unit: string
}

/** How the columns of a CSV are interpreted. */
export interface CsvOptions {
  readonly columns?: {
    readonly time: CsvColumn
    /** Column with the end of each row's interval, if the file has one. */
    readonly end?: CsvColumn
    readonly uplink?: CsvColumn
    readonly downlink?: CsvColumn
    readonly rtt?: CsvColumn
    readonly loss?: CsvColumn
  }
  /** False: the file has no header line. */
  readonly header?: boolean
  /** Without an `end` column: whether a row's time is the start (default) or the end of its interval. */
  readonly stamp?: 'start' | 'end'
  /** A longer interval counts as a gap. */
  readonly maxStepSeconds?: number
  /** Whether this file writes 0 for "not measured". */
  readonly zeroIsMissing?: boolean
}

/** Headers that need no declaration: those of edgewise's own files. */
const KNOWN: Record<string, { readonly role: Role; readonly unit: string }> = {
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
type Role = 'time' | 'end' | 'uplink' | 'downlink' | 'rtt' | 'loss'
const MEASURED: Record<Exclude<Role, 'time' | 'end'>, TraceColumn> = {
  uplink: 'uplinkBitsPerSecond',
  downlink: 'downlinkBitsPerSecond',
  rtt: 'rttSeconds',
  loss: 'lossRatio',
}
const MISSING = new Set(['', '-', 'na', 'nan', 'null', 'none'])

interface Field {
  readonly role: Role
  readonly index: number
  readonly scale: number
}

/**
 * Reads a CSV with declared columns, or with the headers of KNOWN. An empty cell means "not measured". Declared columns
 * must exist; others are ignored and listed in the notes.
 */
export function importCsv(text: string, source: SourceInfo, options: CsvOptions = {}): Trace {
  const { where } = source
  const lines = [...linesOf(text)]
  if (lines.length === 0) throw emptyError(where, 'a header and rows')
  const hasHeader = options.header ?? true
  const header = hasHeader ? cells(lines[0].text) : null
  const fields = declare(options, header, where)
  const body = hasHeader ? lines.slice(1) : lines
  if (body.length === 0) throw emptyError(where, 'at least one row of data')
  const rows = new Rows(fields, options, where)
  for (const line of body) rows.add(line)
  const { timeSeconds, columns } = rows.finish()
  const used = new Set(fields.map(({ index }) => index))
  const ignored = (header ?? []).filter((_, i) => !used.has(i))
  const notes = ignored.length === 0 ? [] : [`columns not used: ${ignored.join(', ')}`.slice(0, 1000)]
  const rates = fields.some(({ role }) => role === 'uplink' || role === 'downlink')
  const meta = sourceMeta(source, text, 'csv', rates ? 'tcp-goodput' : null, notes)
  return makeTrace({ meta, timeSeconds, ...columns }, where)
}

function declare(options: CsvOptions, header: string[] | null, where: string): Field[] {
  const fields: Field[] = []
  if (options.columns !== undefined) {
    for (const [role, spec] of Object.entries(options.columns) as [Role, CsvColumn | undefined][]) {
      if (spec !== undefined) fields.push(field(role, spec, header, where))
    }
  } else {
    for (const [index, name] of (header ?? []).entries()) {
      const key = name.toLowerCase()
      const known = Object.hasOwn(KNOWN, key) ? KNOWN[key] : undefined
      if (known !== undefined)
        fields.push(field(known.role, { column: index + 1, unit: known.unit }, header, where))
    }
  }
  const count = (role: Role) => fields.filter((other) => other.role === role).length
  const doubled = fields.find(({ role }) => count(role) > 1)
  if (count('time') === 1 && doubled === undefined && fields.some(({ role }) => role in MEASURED))
    return fields
  throw new InputError({
    where: `${where}:1`,
    expected: `one time and one or more measured columns, each once, among ${Object.keys(KNOWN).join(', ')}`,
    found: header === null ? 'no header' : show(header.join(',')),
    remedy: 'declare the columns with their units',
  })
}

function field(role: Role, spec: CsvColumn, header: string[] | null, where: string): Field {
  const kind = role === 'uplink' || role === 'downlink' ? 'rate' : role === 'loss' ? 'loss' : 'time'
  const units = UNITS[kind]
  const datetime = spec.unit === 'datetime'
  if (!Object.hasOwn(units, spec.unit) || (datetime && role === 'rtt')) {
    const expected = `a unit among ${Object.keys(units).join(', ')}`
    throw new InputError({ where: `${where}: column ${role}`, expected, found: show(spec.unit) })
  }
  const index = typeof spec.column === 'number' ? spec.column - 1 : (header?.indexOf(spec.column) ?? -1)
  if (!Number.isInteger(index) || index < 0 || (header !== null && index >= header.length)) {
    const found = header === null ? 'no header' : show(header.join(','))
    throw new InputError({ where: `${where}:1`, expected: `a column ${show(spec.column)}`, found })
  }
  return { role, index, scale: units[spec.unit] }
}

/** Collects rows into intervals, with a gap between two that do not touch. */
class Rows {
  private readonly starts = new Column()
  private readonly ends = new Column()
  private readonly values: Record<string, Column> = {}
  private before: readonly number[] = []
  private readonly fields: readonly Field[]
  private readonly options: CsvOptions
  private readonly where: string

  constructor(fields: readonly Field[], options: CsvOptions, where: string) {
    this.fields = fields
    this.options = options
    this.where = where
    for (const { role } of fields) if (role in MEASURED) this.values[role] = new Column()
  }

  /** Adds a row unless it equals the previous one (some tools print their last row twice). */
  add(line: Line): void {
    const row = cells(line.text)
    const parsed = this.fields.map(({ role, index, scale }) => {
      if (index >= row.length)
        throw lineError(this.where, line.number, `${index + 1} cells or more`, line.text)
      return this.parse(row[index], role, scale, line)
    })
    if (parsed.every((value, i) => Object.is(value, this.before[i]))) return
    this.before = parsed
    let end = NaN
    this.fields.forEach(({ role }, i) => {
      if (role === 'time') this.addStart(parsed[i], line)
      else if (role === 'end') end = parsed[i]
      else this.values[role].push(parsed[i])
    })
    const start = this.starts.last()
    if (end <= start) throw lineError(this.where, line.number, `an end after ${start} s`, line.text)
    this.ends.push(end)
  }

  private addStart(start: number, line: Line): void {
    const before = this.starts.length === 0 ? -Infinity : this.starts.last()
    if (!(start > before)) {
      throw lineError(
        this.where,
        line.number,
        `a time after ${before} s`,
        `${start} s`,
        'sort the file by time',
      )
    }
    this.starts.push(start)
  }

  private parse(cell: string, role: Role, scale: number, line: Line): number {
    const clock = role === 'time' || role === 'end'
    if (MISSING.has(cell.toLowerCase()) && !clock) return NaN
    const value = clock && Number.isNaN(scale) ? dateSeconds(cell) : decimal(cell) * scale
    const bad = role === 'loss' ? !(value >= 0 && value <= 1) : !(clock || value >= 0)
    if (bad || !Number.isFinite(value)) {
      throw lineError(
        this.where,
        line.number,
        `a figure for ${role}, or nothing`,
        cell,
        'check the declared unit',
      )
    }
    return !clock && value === 0 && this.options.zeroIsMissing === true && role !== 'loss' ? NaN : value
  }

  finish(): { timeSeconds: Float64Array; columns: Partial<Record<TraceColumn, Float64Array>> } {
    const starts = this.starts.toArray()
    const explicit = this.ends.toArray()
    const closing = this.options.stamp === 'end'
    const limit = this.options.maxStepSeconds ?? Infinity
    const step = starts.length > 1 ? medianStep(starts) : 1
    const times = new Column()
    const kept = new Column() // the line of each trace row; NaN: a gap
    const add = (from: number, to: number, row: number) => {
      if (times.length === 0) times.push(from)
      else if (from > times.last()) {
        kept.push(NaN)
        times.push(from)
      }
      if (to <= times.last()) return
      kept.push(to - from > limit ? NaN : row)
      times.push(to)
    }
    for (let i = 0; i < starts.length; i++) {
      const next = i + 1 < starts.length ? starts[i + 1] : Infinity
      if (closing) add(i === 0 ? starts[0] - step : starts[i - 1], starts[i], i)
      else if (!Number.isNaN(explicit[i])) add(starts[i], Math.min(explicit[i], next), i)
      else add(starts[i], next === Infinity ? starts[i] + step : next, i)
    }
    const columns: Partial<Record<TraceColumn, Float64Array>> = {}
    const rows = kept.toArray()
    for (const [role, values] of Object.entries(this.values)) {
      const all = values.toArray()
      const column = MEASURED[role as keyof typeof MEASURED]
      columns[column] = rows.map((row) => (Number.isNaN(row) ? NaN : all[row]))
    }
    return { timeSeconds: times.toArray(), columns }
  }
}

/** Parses `2024-01-11 10:06:39` or ISO 8601, as UTC unless it has an offset; NaN for anything else. */
function dateSeconds(cell: string): number {
  const parts = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d+)?)(Z|[+-]\d\d:?\d\d)?$/.exec(cell)
  return parts === null ? NaN : Date.parse(`${parts[1]}T${parts[2]}${parts[3] ?? 'Z'}`) / 1000
}

/** Splits a line at commas, except inside double quotes. */
function cells(line: string): string[] {
  if (!line.includes('"')) return line.split(',').map((cell) => cell.trim())
  const found: string[] = []
  for (const match of line.matchAll(/(?:^|,)\s*(?:"((?:[^"]|"")*)"\s*|([^,]*))(?=,|$)/g)) {
    found.push((match[1]?.replaceAll('""', '"') ?? match[2] ?? '').trim())
  }
  return found
}
