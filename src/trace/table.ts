import { z } from 'zod'
import { InputError, show } from '../core/errors.ts'
import { check } from '../core/schema.ts'

/** Version of the trace file; a reader refuses others. */
export const TRACE_SCHEMA_VERSION = 1
/** A trace of more rows is taken for damage: 20 M rows are 23 days at 0.1 s. */
export const MAX_TRACE_ROWS = 20_000_000

/** What is measured in each row; NaN = not measured, which is never 0. */
export const TRACE_COLUMNS = [
  'uplinkBitsPerSecond',
  'downlinkBitsPerSecond',
  'rttSeconds',
  'lossRatio',
] as const
export type TraceColumn = (typeof TRACE_COLUMNS)[number]

const metaSchema = z.strictObject({
  schemaVersion: z.literal(TRACE_SCHEMA_VERSION),
  name: z.string().min(1).max(300),
  /** Who recorded it, where: a URL and commit, or a sentence. */
  origin: z.string().min(1).max(2000),
  licence: z.string().min(1).max(2000),
  kind: z.enum(['recorded', 'synthetic']),
  /** A TCP goodput already contains losses; a raw capacity does not; null: no rates in it. */
  rateKind: z.enum(['raw-capacity', 'tcp-goodput']).nullable(),
  /** The importer that read it. */
  format: z.string().min(1).max(100),
  /** SHA-256 of the file it was read from; null where there was none. */
  sourceSha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/, '64 hexadecimal digits')
    .nullable(),
  /** Finer bins than this show the measuring tool, not the link (an iperf3 sender's socket buffer); 0: none known. */
  minBinSeconds: z.number().min(0).max(3600),
  notes: z.array(z.string().max(2000)).max(50),
})

export type TraceMeta = z.infer<typeof metaSchema>

/**
 * One recording. Row i holds over [timeSeconds[i], timeSeconds[i + 1]), so there is
 * one more time than there are rows. NaN says "not measured": a gap. Zero says zero.
 */
export interface Trace {
  readonly meta: TraceMeta
  /** Length n + 1, strictly ascending, seconds from an origin of the recording's own. */
  readonly timeSeconds: Float64Array
  /** Length n each. */
  readonly uplinkBitsPerSecond: Float64Array
  readonly downlinkBitsPerSecond: Float64Array
  readonly rttSeconds: Float64Array
  /** 0..1. */
  readonly lossRatio: Float64Array
}

export type TraceParts = { meta: TraceMeta; timeSeconds: Float64Array } & Partial<
  Record<TraceColumn, Float64Array>
>

/**
 * A checked trace; columns that are left out were not measured.
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

/** A stretch of rows first .. end - 1 over which something is known throughout. */
export interface GapFreeSpan {
  readonly first: number
  readonly end: number
  readonly startSeconds: number
  readonly endSeconds: number
}

/** The longest stretches without a gap in any of `columns`; an episode lies inside one of them. */
export function gapFreeSpans(trace: Trace, columns: readonly TraceColumn[]): GapFreeSpan[] {
  const segments: GapFreeSpan[] = []
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
    segments.push({ first, end, startSeconds: timeSeconds[first], endSeconds: timeSeconds[end] })
    first = end
  }
  return segments
}

/** True if any row of the column was measured. */
export function measures(trace: Trace, column: TraceColumn): boolean {
  return trace[column].some((value) => !Number.isNaN(value))
}
