import { basename, join } from 'node:path'
import { readText } from '../../core/files.ts'
import { check, parseJson } from '../../core/schema.ts'
import { formatBytes, formatNumber } from '../../report/numbers.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import { printJson, printLine } from '../io.ts'
import { exportJson, exportRun } from '../json/bundle.ts'
import { evalJsonSchema } from '../json/eval.ts'
import { readSigner } from '../trust.ts'

interface Options {
  readonly out?: string
  readonly evaluation?: string
  readonly force?: boolean
  readonly sign?: string
  readonly json?: boolean
}

const MAX_EVALUATION_BYTES = 4 * 1024 * 1024

export const exportCommand: CliCommand<Options> = {
  name: 'export',
  summary: "write a run's best policy as a verified ONNX bundle",
  configure(command) {
    command
      .argument('<run>', 'run folder')
      .option('--out <folder>', 'bundle to write (default: exports/<run>)')
      .option('--evaluation <file>', 'what `edgewise eval --json` printed, kept in the manifest')
      .option('--sign <key>', 'sign it with a private key, e.g. keys/signing-key.pem')
      .option('--force', 'take the place of a bundle that is there already')
    addJson(command)
    addExamples(command, [
      [
        'Export, after comparing file and trainer on thousands of observations',
        'export runs/quickstart-1 --out exports/mine',
      ],
      [
        'With its evaluation in the manifest',
        'export runs/quickstart-1 --out exports/mine --evaluation eval.json',
      ],
    ])
  },
  async run(options, io, [run]) {
    const { evaluation: file } = options
    const evaluation =
      file === undefined
        ? null
        : check(evalJsonSchema, parseJson(readText(file, MAX_EVALUATION_BYTES), file), file)
    const out = options.out ?? join('exports', basename(run))
    const sign = options.sign === undefined ? {} : { sign: readSigner(options.sign) }
    const summary = await exportRun(run, out, { evaluation, replace: options.force === true, ...sign })
    const json = exportJson(summary)
    if (options.json === true) {
      printJson(io, json)
      return
    }
    const { parity } = json
    printLine(
      io,
      `${json.folder}: ${formatBytes(json.bytes)}, the policy after update ${json.update}${json.signed ? ', signed' : ''}`,
    )
    printLine(
      io,
      `on ${parity.engines.join(' and ')} it does what was trained: ${formatNumber(parity.observations)} observations, ` +
        `largest difference ${formatNumber(parity.maxAbsError)}, ${parity.greedyDisagreements} greedy disagreements`,
    )
    printLine(io, `\nnext: edgewise decide ${out} --up-mbps 20 --down-mbps 50 --rtt-ms 40`)
  },
}
