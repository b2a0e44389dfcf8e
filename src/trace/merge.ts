import { InputError } from '../core/errors.ts'
import { COLUMN } from './compose.ts'
import type { Lane, LinkPart } from './compose.ts'
import { makeTrace, measures, TRACE_COLUMNS } from './table.ts'
import type { Trace, TraceColumn } from './table.ts'

/** Stamps from here on are seconds since 1970, not seconds since the beginning of a recording (1973). */
const CLOCK_SECONDS = 1e8

/**
 * Merges recordings made at the same time into one trace on one time axis, for example an uplink and a downlink file of
 * one drive. Each column comes from the one trace that measured it.
 * @throws InputError if two traces measured the same column, or their rates are of different kinds
 */
export function mergeTraces(traces: readonly Trace[], name: string): Trace {
  const kinds = new Set(traces.map(({ meta }) => meta.rateKind).filter((kind) => kind !== null))
  if (traces.length === 0 || kinds.size > 1) {
    const found = traces.length === 0 ? 'none' : [...kinds].join(' and ')
    throw new InputError({ where: name, expected: 'one or more recordings with rates of one kind', found })
  }
  const edges = edgesOf(traces)
  const columns: Partial<Record<TraceColumn, Float64Array>> = {}
  for (const column of TRACE_COLUMNS) {
    const sources = traces.filter((trace) => measures(trace, column))
    if (sources.length > 1) {
      const found = sources.map(({ meta }) => meta.name).join(' and ')
      throw new InputError({ where: `${name}: ${column}`, expected: 'one recording that measures it', found })
    }
    if (sources.length === 1) columns[column] = onEdges(sources[0], column, edges)
  }
  const join = (values: string[]) => [...new Set(values)].join('; ')
  return makeTrace(
    {
      meta: {
        ...traces[0].meta,
        name,
        origin: join(traces.map(({ meta }) => meta.origin)),
        licence: join(traces.map(({ meta }) => meta.licence)),
        kind: traces.some(({ meta }) => meta.kind === 'synthetic') ? 'synthetic' : 'recorded',
        rateKind: [...kinds][0] ?? null,
        sourceSha256: null,
        minBinSeconds: Math.max(...traces.map(({ meta }) => meta.minBinSeconds)),
        notes: [`merged: ${traces.map(({ meta }) => `${meta.name} (${meta.sourceSha256})`).join(', ')}`],
      },
      timeSeconds: edges,
      ...columns,
    },
    name,
  )
}

/** All times of the traces, ascending, each once. */
function edgesOf(traces: readonly Trace[]): Float64Array {
  const all = new Float64Array(traces.reduce((sum, { timeSeconds }) => sum + timeSeconds.length, 0))
  let count = 0
  for (const { timeSeconds } of traces) {
    all.set(timeSeconds, count)
    count += timeSeconds.length
  }
  all.sort()
  let kept = 0
  for (const seconds of all) if (kept === 0 || seconds > all[kept - 1]) all[kept++] = seconds
  return all.slice(0, kept)
}

function onEdges(trace: Trace, column: TraceColumn, edges: Float64Array): Float64Array {
  const { timeSeconds } = trace
  const last = timeSeconds.length - 1
  let row = 0
  return Float64Array.from(edges.subarray(0, edges.length - 1), (at) => {
    while (row < last && timeSeconds[row + 1] <= at) row++
    return at < timeSeconds[0] || row >= last ? NaN : trace[column][row]
  })
}

/** Whether the names say that recordings are the two directions of one drive: `drive.up` and `drive.down`. */
export function areOneDrive(traces: readonly Trace[]): boolean {
  const names = traces.map(({ meta }) => meta.name)
  const stems = new Set(names.map((name) => name.replace(/\.(up|down)$/, '')))
  return stems.size === 1 && names.every((name) => /\.(up|down)$/.test(name))
}

/** Whether recordings have stamps of a clock, and were running at the same time. */
function overlap(traces: readonly Trace[]): boolean {
  const starts = traces.map(({ timeSeconds }) => timeSeconds[0])
  const ends = traces.map(({ timeSeconds }) => timeSeconds[timeSeconds.length - 1])
  return Math.min(...starts) >= CLOCK_SECONDS && Math.max(...starts) < Math.min(...ends)
}

/** A trace in which only these columns were measured. */
export function keepColumns(trace: Trace, kept: readonly TraceColumn[]): Trace {
  const dropped = TRACE_COLUMNS.filter((column) => !kept.includes(column) && measures(trace, column))
  const empty = (column: TraceColumn) => [column, new Float64Array(trace[column].length).fill(NaN)] as const
  return { ...trace, ...Object.fromEntries(dropped.map(empty)) }
}

/**
 * One trace of the parts of a link: recordings of one drive or of overlapping clocks stay on their common time axis;
 * others are paired, each from its own beginning, which a note says. A constant holds over all of it.
 * @throws InputError if no part is a recording
 */
export function combineParts(parts: Readonly<Record<Lane, LinkPart | null>>, name?: string): Trace {
  const { columnsOf, constants } = sortParts(parts)
  const sources = [...columnsOf.keys()]
  if (sources.length === 0) {
    const found = constants.length > 0 ? 'constants alone' : 'none'
    throw new InputError({ where: 'link', expected: 'one recording of a rate or a round trip', found })
  }
  const isTogether = sources.length === 1 || areOneDrive(sources) || overlap(sources)
  const kept = [...columnsOf].map(([trace, columns]) => keepColumns(trace, columns))
  const merged =
    kept.length === 1 ? kept[0] : mergeTraces(isTogether ? kept : kept.map(fromZero), name ?? nameOf(sources))
  const notes = isTogether ? [] : ['paired: not recorded together, each from its own beginning']
  const filled: Partial<Record<TraceColumn, Float64Array>> = {}
  for (const [lane, value] of constants) {
    filled[COLUMN[lane]] = new Float64Array(merged.rttSeconds.length).fill(value)
    notes.push(
      `${lane}: constant ${lane === 'rtt' ? `${1000 * value} ms` : `${value / 1e6} Mbit/s`}, declared`,
    )
  }
  const meta = { ...merged.meta, name: name ?? merged.meta.name, notes: [...merged.meta.notes, ...notes] }
  return makeTrace({ ...merged, ...filled, meta }, meta.name)
}

/** Which columns each recording gives, and what is constant. Loss belongs to no part: the first that measured it. */
function sortParts(parts: Readonly<Record<Lane, LinkPart | null>>) {
  const columnsOf = new Map<Trace, TraceColumn[]>()
  const constants: [Lane, number][] = []
  for (const [lane, part] of Object.entries(parts) as [Lane, LinkPart | null][]) {
    if (part === null) continue
    if (part.kind === 'constant') constants.push([lane, part.value])
    else if ('trace' in part) columnsOf.set(part.trace, [...(columnsOf.get(part.trace) ?? []), COLUMN[lane]])
  }
  const lossy = [...columnsOf.keys()].find((trace) => measures(trace, 'lossRatio'))
  if (lossy !== undefined) columnsOf.get(lossy)?.push('lossRatio')
  return { columnsOf, constants }
}

const nameOf = (traces: readonly Trace[]): string =>
  areOneDrive(traces)
    ? traces[0].meta.name.replace(/\.(up|down)$/, '')
    : traces.map(({ meta }) => meta.name).join(' + ')

const fromZero = (trace: Trace): Trace => ({
  ...trace,
  timeSeconds: trace.timeSeconds.map((seconds) => seconds - trace.timeSeconds[0]),
})
