import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import { printHint, printJson, printLine } from '../io.ts'
import { compareCandidates, oracleJson } from '../json/oracle.ts'
import { addRequestOptions, requestOf, type RequestOptions } from '../json/request.ts'
import { describeOracle } from './oracleTable.ts'

interface Options extends RequestOptions {
  readonly json?: boolean
}

const EXAMPLE =
  'oracle --model llama-7b --edge jetson-orin-nx --cloud a100 --up-mbps 20 --down-mbps 100 --rtt-ms 30 --prompt 256 --output 128'

export const oracle: CliCommand<Options> = {
  name: 'oracle',
  summary: 'the best plan of one request over a constant link, and why',
  configure(command) {
    addRequestOptions(command)
    addJson(command)
    addExamples(command, [
      ['The optimum beside edge-only, cloud-only and the best layer cut', EXAMPLE],
      ['Energy and cloud time have a price', `${EXAMPLE} --weights energy=0.1,cloud=2`],
      ['4 GB of edge memory: what does not fit goes to the cloud', `${EXAMPLE} --memory-gb 4`],
      [
        'The ends of the model stay on the edge',
        `${EXAMPLE} --edge-layers-first 2 --edge-layers-last 2 --json`,
      ],
    ])
  },
  run(options, io) {
    const input = requestOf(options)
    const candidates = compareCandidates(input)
    if (options.json === true) {
      printJson(io, oracleJson(input, candidates))
      return
    }
    printLine(io, describeOracle(input, candidates, io))
    printHint(
      io,
      '\nComputed for one request alone on a warm link; `edgewise eval` compares planners under load.',
    )
  },
}
