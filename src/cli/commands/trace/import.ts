import { InputError } from '../../../core/errors.ts'
import { writeAtomic } from '../../../core/files.ts'
import { writeTrace } from '../../../trace/file.ts'
import { openLink } from '../../../trace/import/openLink.ts'
import { combineParts } from '../../../trace/merge.ts'
import { formatWorkload, readServedRequests } from '../../../trace/import/edgewiseRequests.ts'
import { formatSeconds } from '../../../report/numbers.ts'
import type { CliCommand } from '../../command.ts'
import { addExamples, addJson } from '../../command.ts'
import type { Io } from '../../io.ts'
import { printJson, printLine } from '../../io.ts'
import { requireChoice } from '../../options.ts'
import { addPartOptions, declaredParts } from '../link/source.ts'
import type { PartOptions } from '../link/source.ts'
import type { ReadOptions } from './load.ts'
import { addReadOptions, readSettings } from './load.ts'
import { describeTrace, summariseTrace } from './summary.ts'

interface Options extends ReadOptions, PartOptions {
  readonly out: string
  readonly origin: string
  readonly licence: string
  readonly name?: string
  readonly rateKind?: string
  readonly as: string
  readonly json?: boolean
}

export const traceImport: CliCommand<Options> = {
  name: 'import',
  summary: 'read a recording and write it as a trace file',
  configure(command) {
    command.argument(
      '<recordings...>',
      'a file of a recording, the folder of a decision log, or several files that are one link together',
    )
    command.requiredOption('--out <file>', 'file to write: a trace (.parquet), or a workload (.csv)')
    command.requiredOption('--origin <text>', 'who recorded it and where: a URL or a sentence')
    command.requiredOption('--licence <text>', 'licence of the recording, or "none stated"')
    command.option('--name <text>', 'name of the trace (default: the file name)')
    command.option('--rate-kind <kind>', 'raw-capacity or tcp-goodput, where the format does not settle it')
    command.option('--as <what>', 'what a decision log is read as: link, or workload', 'link')
    addJson(addPartOptions(addReadOptions(command)))
    addExamples(command, [
      [
        'A mahimahi uplink recording',
        'trace import tmobile.up --out tmobile.parquet --origin https://github.com/ravinet/mahimahi --licence GPL-3.0',
      ],
      [
        'Both directions of a drive, and the round trip that neither recorded',
        'trace import drive.up drive.down --rtt-ms 40 --out drive.parquet --origin "own drive test" --licence own',
      ],
      [
        'A CSV with columns of its own',
        'trace import drive.csv --out drive.parquet --origin "own drive test" --licence own --column time=ts:ms --column uplink=UL:kbit/s',
      ],
      [
        'The link that a served log met',
        'trace import logs/ --format edgewise --out served.parquet --origin "our edge" --licence own',
      ],
      [
        'Its requests, for `recorded: served.csv` in a scenario',
        'trace import logs/ --format edgewise --as workload --out served.csv --origin "our edge" --licence own',
      ],
    ])
  },
  async run(options, io, paths) {
    const as = requireChoice('--as', options.as, ['link', 'workload'])
    if (as === 'workload') {
      importWorkload(onlyOne(paths), options, io)
      return
    }
    checkEnding(options.out, '.parquet', 'trace files are Parquet')
    const { origin, licence, name, rateKind } = options
    const kind =
      rateKind === undefined
        ? undefined
        : requireChoice('--rate-kind', rateKind, ['raw-capacity', 'tcp-goodput'])
    const source: { origin: string; licence: string; name?: string; rateKind?: typeof kind } = {
      origin,
      licence,
    }
    if (kind !== undefined) source.rateKind = kind
    // Of several recordings each keeps the name of its file: `.up` and `.down` say that they belong together.
    if (name !== undefined && paths.length === 1) source.name = name
    const declared = declaredParts(options)
    const opened = await openLink({ argument: paths, declared, read: readSettings(options, source) })
    const trace = opened.kind === 'recorded' ? combineParts(opened.parts, name) : refuseSynthetic(paths)
    writeTrace(options.out, trace)
    if (options.json === true) printJson(io, { file: options.out, ...summariseTrace(trace) })
    else printLine(io, `${describeTrace(trace)}\nwritten to ${options.out}`)
  },
}

function onlyOne(paths: readonly string[]): string {
  if (paths.length === 1) return paths[0]
  throw new InputError({ where: '--as workload', expected: 'one decision log', found: paths.join(' ') })
}

function refuseSynthetic(paths: readonly string[]): never {
  throw new InputError({
    where: paths.join(' '),
    expected: 'recordings',
    found: 'a constant or a synthetic link',
    remedy: 'it needs no import: name it where a link is asked for',
  })
}

function importWorkload(path: string, options: Options, io: Io): void {
  if (options.format !== 'edgewise') {
    throw new InputError({
      where: '--as workload',
      expected: '--format edgewise: requests are read from a decision log',
      found: options.format ?? 'no format',
    })
  }
  checkEnding(options.out, '.csv', 'workloads are CSV')
  const requests = readServedRequests(path)
  writeAtomic(options.out, formatWorkload(requests, options))
  const { startedAt, sourceSha256, leftOut, cancelled, damagedLines, arrivalSeconds } = requests
  const count = arrivalSeconds.length
  const seconds = arrivalSeconds[count - 1]
  if (options.json === true) {
    const json = { requests: count, seconds, startedAt, sourceSha256, leftOut, cancelled, damagedLines }
    printJson(io, { file: options.out, ...json })
    return
  }
  printLine(
    io,
    `${count} requests over ${formatSeconds(seconds)} from ${startedAt}; ${leftOut} without an answer left out`,
  )
  printLine(io, `written to ${options.out}`)
}

function checkEnding(out: string, ending: string, why: string): void {
  if (out.endsWith(ending)) return
  const remedy = `${why}; give --out a name that says so`
  throw new InputError({ where: '--out', expected: `a name that ends in ${ending}`, found: out, remedy })
}
