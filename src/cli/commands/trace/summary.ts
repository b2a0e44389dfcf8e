import { formatNumber, formatSeconds, formatShare } from '../../../report/numbers.ts'
import type { RateStatistics, RttStatistics } from '../../../trace/statistics.ts'
import { rateStatistics, rttStatistics } from '../../../trace/statistics.ts'
import type { Trace, TraceColumn, TraceMeta } from '../../../trace/table.ts'
import { gapFreeSpans, measures, TRACE_COLUMNS } from '../../../trace/table.ts'

/** `--json` output for one trace. */
interface TraceSummary {
  readonly meta: TraceMeta
  readonly rows: number
  readonly seconds: number
  readonly columns: readonly ColumnSummary[]
  readonly uplink: RateStatistics | null
  readonly downlink: RateStatistics | null
  readonly rtt: RttStatistics | null
}

interface ColumnSummary {
  readonly column: TraceColumn
  /** Spans without a gap, and the time that they cover. */
  readonly segments: number
  readonly coveredSeconds: number
}

/** A trace as `--json` describes it: seconds without a gap of each column, and statistics; null where not measured. */
export function summariseTrace(trace: Trace): TraceSummary {
  const { timeSeconds, meta } = trace
  return {
    meta,
    rows: timeSeconds.length - 1,
    seconds: timeSeconds[timeSeconds.length - 1] - timeSeconds[0],
    columns: TRACE_COLUMNS.filter((column) => measures(trace, column)).map((column) => {
      const segments = gapFreeSpans(trace, [column])
      const coveredSeconds = segments.reduce(
        (sum, segment) => sum + segment.endSeconds - segment.startSeconds,
        0,
      )
      return { column, segments: segments.length, coveredSeconds }
    }),
    uplink: rateStatistics([trace], 'uplinkBitsPerSecond'),
    downlink: rateStatistics([trace], 'downlinkBitsPerSecond'),
    rtt: rttStatistics([trace]),
  }
}

const COLUMN_NAMES: Readonly<Record<TraceColumn, string>> = {
  uplinkBitsPerSecond: 'uplink',
  downlinkBitsPerSecond: 'downlink',
  rttSeconds: 'round trip',
  lossRatio: 'loss',
}

/** A few lines for people: origin, extent, gaps, and the contents of each column. */
export function describeTrace(trace: Trace): string {
  const summary = summariseTrace(trace)
  const { meta } = summary
  const rateKind =
    meta.rateKind === null ? '' : `, ${meta.rateKind === 'tcp-goodput' ? 'TCP goodput' : 'raw capacity'}`
  const lines = [
    `${meta.name} (${meta.kind}, ${meta.format}${rateKind})`,
    `  origin   ${meta.origin}`,
    `  licence  ${meta.licence}`,
    `  extent   ${formatSeconds(summary.seconds)} in ${formatNumber(summary.rows)} rows`,
    ...summary.columns.map((column) => describeColumn(column, summary)),
    ...meta.notes.map((note) => `  note     ${note}`),
  ]
  return lines.join('\n')
}

function describeColumn({ column, segments, coveredSeconds }: ColumnSummary, summary: TraceSummary): string {
  const gaps = segments === 1 ? 'without a gap' : `in ${segments} stretches with gaps between`
  return `  ${COLUMN_NAMES[column].padEnd(10)} ${valuesOf(column, summary)}; ${formatSeconds(coveredSeconds)} ${gaps}`
}

function valuesOf(column: TraceColumn, summary: TraceSummary): string {
  if (column === 'lossRatio') return 'recorded'
  if (column === 'rttSeconds') {
    const { rtt } = summary
    return `p5/p50/p95 ${[rtt?.p5Seconds, rtt?.p50Seconds, rtt?.p95Seconds].map(formatSeconds).join(' / ')}`
  }
  const rate = column === 'uplinkBitsPerSecond' ? summary.uplink : summary.downlink
  const mbps = (value: number | undefined): string => formatNumber(value === undefined ? null : value / 1e6)
  const quantiles = [rate?.p5BitsPerSecond, rate?.p50BitsPerSecond, rate?.p95BitsPerSecond]
    .map(mbps)
    .join(' / ')
  return `mean ${mbps(rate?.meanBitsPerSecond)}, p5/p50/p95 ${quantiles} Mbit/s, silent ${formatShare(rate?.silentShare)}`
}
