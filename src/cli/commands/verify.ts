import { verifyBundle } from '../../policy/bundle/verify.ts'
import { formatNumber } from '../../report/numbers.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import { printJson, printLine } from '../io.ts'
import { verifyJson } from '../json/bundle.ts'
import { addTrust, readTrust, signatureWords } from '../trust.ts'

interface Options {
  readonly trust?: readonly string[]
  readonly json?: boolean
}

/** Exit code if the bundle's bytes are intact but its outputs differ here. */
const EXIT_DIFFERS = 1

export const verify: CliCommand<Options> = {
  name: 'verify',
  summary: 'check a bundle on this machine: every byte, and what it computes',
  configure(command) {
    command.argument('<bundle>', 'bundle folder')
    addTrust(command)
    addJson(command)
    addExamples(command, [
      ['Compare policy.onnx with its own numbers on every engine here', 'verify exports/mine'],
      ['Only if this key signed it', 'verify exports/mine --trust keys/signing-key.pub.pem'],
      ['For a script', 'verify exports/mine --json'],
    ])
  },
  async run(options, io, [folder]) {
    const json = verifyJson(await verifyBundle(folder, readTrust(options.trust)))
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
      printLine(io, signatureWords(json.signature))
      for (const absent of json.absent) printLine(io, `not checked, the engine does not open here: ${absent}`)
      if (json.worst !== null && !json.ok) printLine(io, `worst: ${json.worst}`)
    }
    return json.ok ? 0 : EXIT_DIFFERS
  },
}
