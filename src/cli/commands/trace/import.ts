import { InputError } from '../../../base/errors.ts'
import { writeTrace } from '../../../trace/file.ts'
import type { CliCommand } from '../../command.ts'
import { addExamples, addJson } from '../../command.ts'
import { printJson, printLine } from '../../io.ts'
import { requireChoice } from '../../options.ts'
import type { ReadOptions } from './load.ts'
import { addReadOptions, loadTrace } from './load.ts'
import { describeTrace, summariseTrace } from './summary.ts'

interface Options extends ReadOptions {
  readonly out: string
  readonly origin: string
  readonly licence: string
  readonly name?: string
  readonly rateKind?: string
  readonly json?: boolean
}

export const traceImport: CliCommand<Options> = {
  name: 'import',
  summary: 'read a recording and write it as a trace file',
  configure(command) {
    command.argument('<recording>', 'a mahimahi, iperf3 JSON, Pensieve "time bw" or CSV file')
    command.requiredOption('--out <file>', 'trace file to write (Parquet)')
    command.requiredOption('--origin <text>', 'who recorded it and where: a URL or a sentence')
    command.requiredOption('--licence <text>', 'licence of the recording, or "none stated"')
    command.option('--name <text>', 'name of the trace (default: the file name)')
    command.option('--rate-kind <kind>', 'raw-capacity or tcp-goodput, where the format does not settle it')
    addJson(addReadOptions(command))
    addExamples(command, [
      [
        'A mahimahi uplink recording',
        'trace import tmobile.up --out tmobile.parquet --origin https://github.com/ravinet/mahimahi --licence GPL-3.0',
      ],
      [
        'A CSV with columns of its own',
        'trace import drive.csv --out drive.parquet --origin "own drive test" --licence own --column time=ts:ms --column uplink=UL:kbit/s',
      ],
    ])
  },
  async run(options, io, [path]) {
    if (!options.out.endsWith('.parquet')) {
      const remedy = 'trace files are Parquet; give --out a name that says so'
      throw new InputError({
        where: '--out',
        expected: 'a name that ends in .parquet',
        found: options.out,
        remedy,
      })
    }
    const { origin, licence, name, rateKind } = options
    const kind =
      rateKind === undefined
        ? undefined
        : requireChoice('--rate-kind', rateKind, ['raw-capacity', 'tcp-goodput'])
    const trace = await loadTrace(path, options, {
      origin,
      licence,
      ...(name === undefined ? {} : { name }),
      ...(kind === undefined ? {} : { rateKind: kind }),
    })
    writeTrace(options.out, trace)
    if (options.json === true) printJson(io, { file: options.out, ...summariseTrace(trace) })
    else printLine(io, `${describeTrace(trace)}\nwritten to ${options.out}`)
  },
}
