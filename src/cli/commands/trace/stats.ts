import { formatNumber, formatShare } from '../../../report/numbers.ts'
import { renderTable } from '../../../report/table.ts'
import { EDGEWISE_FORMAT } from '../../../trace/import/edgewise.ts'
import type { RateStatistics, RttStatistics } from '../../../trace/statistics.ts'
import { rateStatistics, rttStatistics } from '../../../trace/statistics.ts'
import type { Trace } from '../../../trace/table.ts'
import type { CliCommand } from '../../command.ts'
import { addExamples, addJson } from '../../command.ts'
import type { Io } from '../../io.ts'
import { printHint, printJson, printLine } from '../../io.ts'
import { startProgress } from '../../progress.ts'
import type { ReadOptions } from './load.ts'
import { addReadOptions, loadTrace } from './load.ts'

interface Options extends ReadOptions {
  readonly json?: boolean
  readonly together?: boolean
}

/** CausalSim (A. Alomar et al., NSDI 2023): a recording is biased by the policy that produced it. */
const SERVED =
  '\nA served log shows the goodput of the transfers that its policy chose: smaller ones observe less of a link. ' +
  '`edgewise trace show` says how large they were.'

/** One row: a trace, or all of them together. */
interface StatsRow {
  readonly name: string
  readonly uplink: RateStatistics | null
  readonly downlink: RateStatistics | null
  readonly rtt: RttStatistics | null
}

export const traceStats: CliCommand<Options> = {
  name: 'stats',
  summary: 'rates, round-trip times and silences of recordings',
  configure(command) {
    command.argument('<files...>', 'trace files or recordings')
    command.option('--together', 'only the statistics over all files as one source')
    addJson(addReadOptions(command))
    addExamples(command, [
      ['Each file, and all together', 'trace stats a.parquet b.parquet'],
      ['A folder of recordings as one source', 'trace stats recordings/*.up --together --json'],
    ])
  },
  async run(options, io, args) {
    const traces = await loadAll(args, options, io)
    const all = statsOf(`all ${traces.length}`, traces)
    const each = options.together === true ? [] : traces.map((trace) => statsOf(trace.meta.name, [trace]))
    if (options.json === true) {
      printJson(io, { files: each, all })
      return
    }
    printLine(io, statsTable(each.length === 1 ? each : [...each, all], io))
    if (traces.some(({ meta }) => meta.format === EDGEWISE_FORMAT)) printHint(io, SERVED)
    printHint(
      io,
      '\nOver 1 s bins of covered time; silent: below 10 kbit/s. Gaps count neither as time nor as zeros.',
    )
  },
}

async function loadAll(paths: readonly string[], options: ReadOptions, io: Io): Promise<Trace[]> {
  const progress = startProgress(io, 'reading', paths.length)
  const traces: Trace[] = []
  try {
    for (const [index, path] of paths.entries()) {
      progress.update(index, path)
      traces.push(await loadTrace(path, options))
    }
  } finally {
    progress.stop()
  }
  return traces
}

function statsOf(name: string, traces: readonly Trace[]): StatsRow {
  return {
    name,
    uplink: rateStatistics(traces, 'uplinkBitsPerSecond'),
    downlink: rateStatistics(traces, 'downlinkBitsPerSecond'),
    rtt: rttStatistics(traces),
  }
}

function statsTable(rows: readonly StatsRow[], io: Io): string {
  const right = (title: string) => ({ title, align: 'right' as const })
  const columns = [
    { title: 'trace' },
    { title: 'lane' },
    ...['hours', 'step s', 'mean Mbit/s', 'sd', 'p5', 'p50', 'p95', 'silent', 'RTT ms p5/p50/p95'].map(right),
  ]
  return renderTable({ columns, rows: rows.flatMap(linesOf) }, io)
}

/** One line for each recorded direction; without any, a line that says so. */
function linesOf(row: StatsRow): string[][] {
  const rtt =
    row.rtt === null
      ? ''
      : [row.rtt.p5Seconds, row.rtt.p50Seconds, row.rtt.p95Seconds].map(milliseconds).join(' / ')
  const lanes = [
    ['up', row.uplink],
    ['down', row.downlink],
  ] as const
  const lines = lanes.flatMap(([lane, rate]) =>
    rate === null ? [] : [[row.name, lane, ...rateCells(rate), rtt]],
  )
  return lines.length > 0 ? lines : [[row.name, 'RTT only', '', '', '', '', '', '', '', '', rtt]]
}

function rateCells(rate: RateStatistics): string[] {
  const mbps = (value: number): string => formatNumber(value / 1e6)
  return [
    formatNumber(rate.hours),
    formatNumber(rate.dtSeconds),
    mbps(rate.meanBitsPerSecond),
    mbps(rate.sdBitsPerSecond),
    mbps(rate.p5BitsPerSecond),
    mbps(rate.p50BitsPerSecond),
    mbps(rate.p95BitsPerSecond),
    formatShare(rate.silentShare),
  ]
}

function milliseconds(seconds: number): string {
  return formatNumber(seconds * 1000)
}
