import { z } from 'zod'
import { InputError, show } from '../core/errors.ts'
import { check, sha256Schema } from '../core/schema.ts'

/** Version of the trace file format; other versions are refused. */
export const TRACE_SCHEMA_VERSION = 1
/** Largest number of rows that is accepted (23 days at 0.1 s); more count as damage. */
export const MAX_TRACE_ROWS = 20_000_000

/** What each row may contain; NaN = not measured, which is never 0. */
export const TRACE_COLUMNS = [
  'uplinkBitsPerSecond',
  'downlinkBitsPerSecond',
  'rttSeconds',
  'lossRatio',
] as const
/** Name of a measured column. */
export type TraceColumn = (typeof TRACE_COLUMNS)[number]

const metaSchema = z.strictObject({
  schemaVersion: z.literal(TRACE_SCHEMA_VERSION),
  name: z.string().min(1).max(300),
  /** Who recorded it and where: a URL and commit, or a sentence. */
  origin: z.string().min(1).max(2000),
  licence: z.string().min(1).max(2000),
  kind: z.enum(['recorded', 'synthetic']),
  /** TCP goodput contains losses already, raw capacity does not; null: the trace has no rates. */
  rateKind: z.enum(['raw-capacity', 'tcp-goodput']).nullable(),
  /** The importer that read the recording. */
  format: z.string().min(1).max(100),
  /** SHA-256 of the imported file; null without one. */
  sourceSha256: sha256Schema.nullable(),
  /**
   * Finer bins would show the measuring tool, not the link (for example an iperf3 sender's socket buffer); 0: no such
   * limit is known.
   */
  minBinSeconds: z.number().min(0).max(3600),
  notes: z.array(z.string().max(2000)).max(50),
})

/** Metadata of a trace. */
export type TraceMeta = z.infer<typeof metaSchema>

/**
 * One recording. Row i covers [timeSeconds[i], timeSeconds[i + 1]), so there is one more time than rows. NaN means "not
 * measured" (a gap); 0 is a measured zero.
 */
export interface Trace {
  readonly meta: TraceMeta
  /** Length n + 1, strictly ascending, seconds from the recording's own origin. */
  readonly timeSeconds: Float64Array
  /** Length n each. */
  readonly uplinkBitsPerSecond: Float64Array
  readonly downlinkBitsPerSecond: Float64Array
  readonly rttSeconds: Float64Array
  /** 0..1. */
  readonly lossRatio: Float64Array
}

/** What makeTrace takes: metadata, times, and the measured columns. */
export type TraceParts = { meta: TraceMeta; timeSeconds: Float64Array } & Partial<
  Record<TraceColumn, Float64Array>
>

/**
 * Checks and creates a trace; columns that are absent were not measured.
 * @throws InputError naming the row and column of the first bad value
 */
export function makeTrace(parts: TraceParts, where: string): Trace {
  const meta: TraceMeta = check(metaSchema, parts.meta, `${where}: metadata`)
  const { timeSeconds } = parts
  const count = timeSeconds.length - 1
  if (count < 1 || count > MAX_TRACE_ROWS) {
    throw new InputError({
      where,
      expected: `1..${MAX_TRACE_ROWS} rows`,
      found: `${Math.max(count, 0)} rows`,
      remedy: 'a recording needs at least one interval with a beginning and an end',
    })
  }
  checkTimes(timeSeconds, where)
  const column = (name: TraceColumn) => parts[name] ?? new Float64Array(count).fill(NaN)
  const trace: Trace = {
    meta,
    timeSeconds,
    uplinkBitsPerSecond: column('uplinkBitsPerSecond'),
    downlinkBitsPerSecond: column('downlinkBitsPerSecond'),
    rttSeconds: column('rttSeconds'),
    lossRatio: column('lossRatio'),
  }
  for (const name of TRACE_COLUMNS) checkColumn(trace[name], name, count, where)
  return trace
}

function checkTimes(timeSeconds: Float64Array, where: string): void {
  for (let i = 0; i < timeSeconds.length; i++) {
    const ascends = i === 0 || timeSeconds[i] > timeSeconds[i - 1]
    if (ascends && Number.isFinite(timeSeconds[i])) continue
    const found = i === 0 ? show(timeSeconds[0]) : `${timeSeconds[i]} after ${timeSeconds[i - 1]}`
    throw new InputError({
      where: `${where}: time of row ${i}`,
      expected: 'finite, ascending seconds',
      found,
    })
  }
}

function checkColumn(values: Float64Array, name: TraceColumn, count: number, where: string): void {
  if (values.length !== count) {
    throw new InputError({ where: `${where}: ${name}`, expected: `${count} rows`, found: `${values.length}` })
  }
  const limit = name === 'lossRatio' ? 1 : Number.MAX_VALUE
  for (let i = 0; i < count; i++) {
    if (Number.isNaN(values[i]) || (values[i] >= 0 && values[i] <= limit)) continue
    const expected = name === 'lossRatio' ? 'a share 0..1, or nothing' : 'a finite number >= 0, or nothing'
    throw new InputError({ where: `${where}: ${name} of row ${i}`, expected, found: show(values[i]) })
  }
}

/** Rows first .. end - 1, in which the columns were measured throughout. */
export interface GapFreeSpan {
  readonly first: number
  readonly end: number
  readonly startSeconds: number
  readonly endSeconds: number
}

/** The longest spans without a gap in any of `columns`; an episode lies inside one of them. */
export function gapFreeSpans(trace: Trace, columns: readonly TraceColumn[]): GapFreeSpan[] {
  const spans: GapFreeSpan[] = []
  const { timeSeconds } = trace
  const count = timeSeconds.length - 1
  const known = (row: number) => columns.every((name) => !Number.isNaN(trace[name][row]))
  for (let first = 0; first < count;) {
    if (!known(first)) {
      first++
      continue
    }
    let end = first + 1
    while (end < count && known(end)) end++
    spans.push({ first, end, startSeconds: timeSeconds[first], endSeconds: timeSeconds[end] })
    first = end
  }
  return spans
}

/** Whether any row of the column was measured. */
export function measures(trace: Trace, column: TraceColumn): boolean {
  return trace[column].some((value) => !Number.isNaN(value))
}
