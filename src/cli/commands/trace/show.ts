import { randomStream } from '../../../core/random.ts'
import { formatBitsPerSecond, formatSeconds } from '../../../report/numbers.ts'
import { sparkline } from '../../../report/sparkline.ts'
import { LINK_ARGUMENT, openLink } from '../../../trace/import/openLink.ts'
import type { LinkModel } from '../../../trace/markov.ts'
import { sampleLink } from '../../../trace/markov.ts'
import { combineParts } from '../../../trace/merge.ts'
import { resample } from '../../../trace/resample.ts'
import type { Trace, TraceColumn } from '../../../trace/table.ts'
import { TRACE_COLUMNS, measures } from '../../../trace/table.ts'
import type { LinkSeries } from '../../../trace/types.ts'
import type { CliCommand } from '../../command.ts'
import { addExamples, addJson } from '../../command.ts'
import type { Io } from '../../io.ts'
import { printJson, printLine } from '../../io.ts'
import { integerOption } from '../../options.ts'
import { addPartOptions, declaredParts } from '../link/source.ts'
import type { PartOptions } from '../link/source.ts'
import type { ReadOptions } from './load.ts'
import { addReadOptions, readSettings } from './load.ts'
import { describeTrace, summariseTrace } from './summary.ts'

const WIDTH = 72
/** Length of the sample drawn from a synthetic link, seconds. */
const SAMPLE_SECONDS = 600

interface Options extends ReadOptions, PartOptions {
  readonly json?: boolean
  readonly seed: number
}

export const traceShow: CliCommand<Options> = {
  name: 'show',
  summary: 'what is in a trace file or a synthetic link, and its course over time',
  configure(command) {
    command.argument('<link>', LINK_ARGUMENT)
    command.option(
      '--seed <n>',
      'synthetic link: seed of the sample that is drawn',
      integerOption({ min: 0 }),
      1,
    )
    addJson(addPartOptions(addReadOptions(command)))
    addExamples(command, [
      ['A trace file', 'trace show tmobile.parquet'],
      ['A sample of a synthetic link', 'trace show traces/links/3g-driving.yaml --seed 7'],
      ['Two recordings as one link', 'trace show drive.up+drive.down --rtt-ms 40'],
    ])
  },
  async run(options, io, [path]) {
    const declared = declaredParts(options)
    const opened = await openLink({ argument: path, declared, read: readSettings(options) })
    if (opened.kind === 'model') showModel(opened.model, options, io)
    else if (opened.kind === 'recorded') showTrace(combineParts(opened.parts), options, io)
    else if (options.json === true) printJson(io, { label: opened.series.label, ...lanesOf(opened.series) })
    else showSeries(opened.series, io)
  },
}

function showTrace(trace: Trace, options: Options, io: Io): void {
  if (options.json === true) {
    printJson(io, summariseTrace(trace))
    return
  }
  printLine(io, describeTrace(trace))
  const { timeSeconds } = trace
  const start = timeSeconds[0]
  const seconds = timeSeconds[timeSeconds.length - 1] - start
  const course = (column: TraceColumn): Float64Array => resample(trace, column, start, seconds / WIDTH, WIDTH)
  printLine(io)
  for (const column of TRACE_COLUMNS) {
    if (column !== 'lossRatio' && measures(trace, column)) printCourse(io, column, course(column))
  }
  printLine(io, `${''.padEnd(9)}0 to ${formatSeconds(seconds)}; blank: not measured, _: nothing came through`)
}

function showModel(model: LinkModel, options: Options, io: Io): void {
  const link = sampleLink(model, SAMPLE_SECONDS, randomStream(options.seed, 'trace show'))
  if (options.json === true) {
    printJson(io, { model, sample: { seed: options.seed, seconds: SAMPLE_SECONDS, ...lanesOf(link) } })
    return
  }
  printLine(
    io,
    `${model.name} (synthetic, split ${model.split})\n  ${model.description}\n  ${model.composition}`,
  )
  for (const origin of model.origin)
    printLine(io, `  fitted to ${origin.source}: ${origin.used} (${origin.licence}; ${origin.url})`)
  showSeries(link, io)
  printLine(io, `${''.padEnd(9)}a sample of ${formatSeconds(SAMPLE_SECONDS)}, seed ${options.seed}`)
}

function showSeries(link: LinkSeries, io: Io): void {
  printLine(io)
  printCourse(io, 'uplinkBitsPerSecond', link.upBitsPerSecond)
  printCourse(io, 'downlinkBitsPerSecond', link.downBitsPerSecond)
  printCourse(io, 'rttSeconds', link.rttSeconds)
}

function lanesOf(link: LinkSeries): Record<string, number[]> {
  return {
    timeSeconds: Array.from(link.timeSeconds),
    upBitsPerSecond: Array.from(link.upBitsPerSecond),
    downBitsPerSecond: Array.from(link.downBitsPerSecond),
    rttSeconds: Array.from(link.rttSeconds),
  }
}

const NAMES = { uplinkBitsPerSecond: 'uplink', downlinkBitsPerSecond: 'downlink', rttSeconds: 'RTT' } as const

function printCourse(io: Io, column: keyof typeof NAMES, values: Float64Array): void {
  const largest = values.reduce((most, value) => (value > most ? value : most), 0)
  const top = column === 'rttSeconds' ? formatSeconds(largest) : formatBitsPerSecond(largest)
  printLine(io, `${NAMES[column].padEnd(9)}${sparkline(values, WIDTH)}  up to ${top}`)
}
