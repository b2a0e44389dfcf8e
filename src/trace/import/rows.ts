import { InputError, show } from '../../core/errors.ts'
import { isMissing, parseStamp } from '../delimited.ts'
import { Column, lineError } from '../lines.ts'
import type { TraceColumn } from '../table.ts'
import { layOut } from './intervals.ts'
import type { RecordedRows, RowIntervals } from './intervals.ts'
import { findUnit, requireUnit } from './units.ts'
import type { Quantity, Unit } from './units.ts'

/** What a column may be for. */
export const ROW_ROLES = ['time', 'end', 'duration', 'uplink', 'downlink', 'rtt', 'loss'] as const
/** What a column is for. */
export type RowRole = (typeof ROW_ROLES)[number]

/** The measured columns, in the order of a trace. */
export const MEASURED: Readonly<Partial<Record<RowRole, TraceColumn>>> = {
  uplink: 'uplinkBitsPerSecond',
  downlink: 'downlinkBitsPerSecond',
  rtt: 'rttSeconds',
  loss: 'lossRatio',
}

/** A column that is read: where it is, and what its figures are. */
export interface RowField {
  readonly role: RowRole
  readonly index: number
  readonly unit: Unit
}

/** How rows become intervals. */
export interface RowSettings {
  /** Whether a row's time is the start (default) or the end of its interval. */
  readonly stamp?: 'start' | 'end'
  /** A longer step counts as a gap; default: 10 times the usual step, at least 5 s. */
  readonly maxStepSeconds?: number
  /** For rows without a time: they come this far apart. */
  readonly everySeconds?: number
  /** Whether this file writes 0 for "not measured". */
  readonly zeroIsMissing?: boolean
}

/** The quantity of a role's figures. */
export function quantityOf(role: RowRole): Quantity {
  return role === 'uplink' || role === 'downlink' ? 'rate' : role === 'loss' ? 'loss' : 'time'
}

const isClock = (role: RowRole): boolean => role === 'time' || role === 'end'

/** The unit of a role's figures, by its name. @throws InputError if it is none, or a stamp where a clock has no place */
export function unitOf(role: RowRole, name: string, where: string): Unit {
  const unit = requireUnit(name, quantityOf(role), where)
  if (isClock(role) || !Number.isNaN(unit.scale)) return unit
  throw new InputError({ where, expected: 'a unit of a length of time', found: show(name) })
}

/**
 * Whether rows can be made of these columns: a time (or rows that come so far apart), one or more measured columns, each
 * once, and of end and duration at most one.
 */
export function makeRows(fields: readonly RowField[], everySeconds: number | undefined): boolean {
  const count = (role: RowRole): number => fields.filter((field) => field.role === role).length
  const isTimed = count('time') === 1 || (count('time') === 0 && everySeconds !== undefined)
  const isSingle = fields.every(({ role }) => count(role) === 1) && count('end') + count('duration') <= 1
  return isTimed && isSingle && fields.some(({ role }) => MEASURED[role] !== undefined)
}

/** Collects rows of one or more recordings, and lays them out as the rows of a trace. */
export class RowCollector {
  private readonly fields: readonly RowField[]
  private readonly settings: RowSettings
  private readonly where: string
  /** One for each field, and one that says which recording a row belongs to. */
  private readonly columns: readonly Column[]
  private readonly recordingOf = new Column()
  private readonly recordings = new Map<string, number>()
  /** Of each recording: its last time, and the lines at which times first fell and first rose (0: never). */
  private readonly latest = new Column()
  private readonly fellAt = new Column()
  private readonly roseAt = new Column()

  constructor(fields: readonly RowField[], settings: RowSettings, where: string) {
    this.fields = fields
    this.settings = settings
    this.where = where
    this.columns = fields.map(() => new Column())
    this.checkSettings()
  }

  private checkSettings(): void {
    const { fields, where } = this
    const { everySeconds: every, stamp } = this.settings
    if (every !== undefined && !(every > 0 && every < Infinity)) {
      throw new InputError({ where: `${where}: step`, expected: 'rows above 0 s apart', found: `${every} s` })
    }
    if (!fields.some(({ role }) => role === 'end')) return
    const isTimed = fields.some(({ role }) => role === 'time')
    if (isTimed && stamp !== 'end') return
    throw new InputError({
      where: `${where}: column end`,
      expected: 'a column of times at which the intervals begin',
      found: isTimed ? 'times at which they end (--stamp end)' : 'none',
      remedy: isTimed ? 'leave out --stamp end, or the column end' : 'declare the column time',
    })
  }

  get length(): number {
    return this.recordingOf.length
  }

  /** Adds a row of cells to a recording. @throws InputError naming the line */
  add(line: number, cellOf: (field: RowField) => string, numberOf: (cell: string) => number, key = ''): void {
    let recording = this.recordings.get(key)
    if (recording === undefined) {
      recording = this.recordings.size
      this.recordings.set(key, recording)
      this.latest.push(NaN)
      this.fellAt.push(0)
      this.roseAt.push(0)
    }
    let [start, end, duration] = [NaN, NaN, NaN]
    for (const [i, field] of this.fields.entries()) {
      const value = this.parse(cellOf(field), field, numberOf, line)
      this.columns[i].push(value)
      if (field.role === 'time') start = value
      else if (field.role === 'end') end = value
      else if (field.role === 'duration') duration = value
    }
    if (end <= start) throw lineError(this.where, line, `an end after ${start} s`, `${end} s`)
    if (duration <= 0) throw lineError(this.where, line, 'a duration above 0 s', `${duration} s`)
    const before = this.latest.at(recording)
    if (start < before && this.fellAt.at(recording) === 0) this.fellAt.set(recording, line)
    if (start > before && this.roseAt.at(recording) === 0) this.roseAt.set(recording, line)
    this.latest.set(recording, start)
    this.recordingOf.push(recording)
  }

  private parse(
    cell: string,
    { role, unit }: RowField,
    numberOf: (cell: string) => number,
    line: number,
  ): number {
    if (isMissing(cell) && !isClock(role)) return NaN
    const value = Number.isNaN(unit.scale) ? stampSeconds(cell) : figureOf(cell, role, unit, numberOf)
    const bad = role === 'loss' ? !(value >= 0 && value <= 1) : !(isClock(role) || value >= 0)
    if (bad || !Number.isFinite(value)) {
      const isStamp = Number.isNaN(unit.scale)
      throw lineError(
        this.where,
        line,
        isStamp
          ? 'a date and time, year first: 2024-01-31 10:06:39'
          : `a figure for ${role}${isClock(role) ? '' : ', or nothing'}`,
        cell,
        isStamp ? 'write dates so: day and month cannot be told apart otherwise' : 'check the declared unit',
      )
    }
    const isZeroMissing =
      this.settings.zeroIsMissing === true && MEASURED[role] !== undefined && role !== 'loss'
    return value === 0 && isZeroMissing ? NaN : value
  }

  /** The trace's times and columns, and what a reader should know of how they came about. */
  finish(): {
    timeSeconds: Float64Array
    columns: Partial<Record<TraceColumn, Float64Array>>
    notes: string[]
  } {
    const order = this.orderByRecording()
    const recordings = this.recordingsIn(order)
    const layout = layOut(recordings, this.settings.maxStepSeconds)
    const stated = Float64Array.from(recordings.flatMap(statedSeconds))
    const columns: Partial<Record<TraceColumn, Float64Array>> = {}
    for (const [i, { role, unit }] of this.fields.entries()) {
      const name = MEASURED[role]
      if (name === undefined) continue
      const values = this.columns[i]
      columns[name] = Float64Array.from(layout.row, (row, at) => {
        if (row < 0) return NaN
        const value = values.at(order[row])
        if (!unit.perRow) return value
        const seconds = layout.edgeSeconds[at + 1] - layout.edgeSeconds[at]
        return value / (Number.isNaN(stated[row]) ? seconds : stated[row])
      })
    }
    return { timeSeconds: layout.edgeSeconds, columns, notes: this.notesOf(layout) }
  }

  /** Rows of the first recording, then of the second, ...: their order in the file is kept within each. */
  private orderByRecording(): Int32Array {
    const starts = new Int32Array(this.recordings.size + 1)
    for (let row = 0; row < this.length; row++) starts[this.recordingOf.at(row) + 1]++
    for (let i = 1; i < starts.length; i++) starts[i] += starts[i - 1]
    const order = new Int32Array(this.length)
    for (let row = 0; row < this.length; row++) order[starts[this.recordingOf.at(row)]++] = row
    return order
  }

  private recordingsIn(order: Int32Array): RecordedRows[] {
    const { stamp = 'start', everySeconds = 1 } = this.settings
    const column = (role: RowRole): Column | undefined => {
      const at = this.fields.findIndex((field) => field.role === role)
      return at < 0 ? undefined : this.columns[at]
    }
    const [time, end, duration] = [column('time'), column('end'), column('duration')]
    const found: RecordedRows[] = []
    for (let first = 0; first < order.length;) {
      const recording = this.recordingOf.at(order[first])
      let last = first + 1
      while (last < order.length && this.recordingOf.at(order[last]) === recording) last++
      const rows = order.subarray(first, last)
      if (this.isReversed(recording)) rows.reverse()
      const timeSeconds = Float64Array.from(rows, (row, i) => time?.at(row) ?? i * everySeconds)
      const otherSeconds = Float64Array.from(rows, (row, i) => {
        if (end !== undefined) return end.at(row)
        if (duration === undefined) return NaN
        return timeSeconds[i] + (stamp === 'end' ? -1 : 1) * duration.at(row)
      })
      found.push({ timeSeconds, otherSeconds, stamp })
      first = last
    }
    return found
  }

  /** Whether the newest row comes first. @throws InputError if times go both ways */
  private isReversed(recording: number): boolean {
    const [fell, rose] = [this.fellAt.at(recording), this.roseAt.at(recording)]
    if (fell === 0) return false
    if (rose === 0) return true
    const remedy = 'sort the file by time, or name the columns that tell its recordings apart (--group)'
    const expected =
      fell > rose
        ? 'a time not before that of the line above'
        : 'times that fall throughout, as here, or rise'
    throw lineError(this.where, Math.max(fell, rose), expected, 'the other direction', remedy)
  }

  private notesOf({ gaps, gapSeconds, sharedRows, maxStepSeconds }: RowIntervals): string[] {
    const notes: string[] = []
    const count = this.recordings.size
    if (count > 1) notes.push(`${count} recordings, one after another`)
    let reversed = 0
    for (let i = 0; i < count; i++) if (this.isReversed(i)) reversed++
    if (reversed > 0) notes.push(`newest row first in ${reversed} of ${count}: turned round`)
    if (gaps > 0) {
      notes.push(
        `${gaps} gaps, ${Number(gapSeconds.toPrecision(6))} s in all, where rows do not touch or steps are longer than ` +
          `${Number(maxStepSeconds.toPrecision(6))} s (--max-step)`,
      )
    }
    if (sharedRows > 0) notes.push(`${sharedRows} rows have the time of another row: they share its interval`)
    return notes
  }
}

const statedSeconds = ({ timeSeconds, otherSeconds }: RecordedRows): number[] =>
  Array.from(otherSeconds, (other, i) => Math.abs(other - timeSeconds[i]))

function stampSeconds(cell: string): number {
  const stamp = parseStamp(cell)
  return stamp === null ? NaN : stamp.wholeSeconds + stamp.fraction
}

/** A figure in our unit. A cell may name a unit of its own: `12.5 Mbit/s`, `31 ms`. */
function figureOf(cell: string, role: RowRole, unit: Unit, numberOf: (cell: string) => number): number {
  const value = numberOf(cell)
  if (!Number.isNaN(value)) return value * unit.scale
  const parts = /^([^A-Za-zµ%]*\d)\s*([A-Za-zµ%][A-Za-zµ/]*)$/.exec(cell)
  const own = parts === null ? undefined : findUnit(parts[2], quantityOf(role))
  if (parts === null || own?.perRow !== unit.perRow) return NaN
  return numberOf(parts[1].trim()) * own.scale
}
