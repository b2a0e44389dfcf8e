import { verifyBundle } from '../../policy/bundleVerify.ts'
import { formatNumber } from '../../report/numbers.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import { printJson, printLine } from '../io.ts'
import { verifyJson } from '../json/bundle.ts'

interface Options {
  readonly json?: boolean
}

/** The bundle is whole, but computes something else here. */
const EXIT_DIFFERS = 1

export const verify: CliCommand<Options> = {
  name: 'verify',
  summary: 'check a bundle on this machine: every byte, and what it computes',
  configure(command) {
    command.argument('<bundle>', 'bundle folder')
    addJson(command)
    addExamples(command, [
      ['Compare policy.onnx with its own numbers on every engine here', 'verify exports/mine'],
      ['For a script', 'verify exports/mine --json'],
    ])
  },
  async run(options, io, [folder]) {
    const json = verifyJson(await verifyBundle(folder))
    if (options.json === true) printJson(io, json)
    else {
      printLine(
        io,
        `${json.bundle}: ${json.ok ? 'verified' : 'NOT verified'} on ${json.engines.join(' and ') || 'no engine'}`,
      )
      printLine(
        io,
        `${formatNumber(json.observations)} observations, largest difference ${formatNumber(json.maxAbsError)}, ` +
          `${json.greedyDisagreements} greedy and ${json.sampledDisagreements} sampled disagreements`,
      )
      for (const absent of json.absent) printLine(io, `not checked, the engine does not open here: ${absent}`)
      if (json.worst !== null && !json.ok) printLine(io, `worst: ${json.worst}`)
    }
    return json.ok ? 0 : EXIT_DIFFERS
  },
}
