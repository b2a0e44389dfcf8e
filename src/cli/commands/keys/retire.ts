import { retireOthers } from '../../../core/trust/keyFolder.ts'
import type { CliCommand } from '../../command.ts'
import { addExamples } from '../../command.ts'
import { printLine } from '../../io.ts'
import { needed } from '../../json/request.ts'

interface Options {
  readonly keys?: string
}

export const keysRetire: CliCommand<Options> = {
  name: 'retire',
  summary: 'end a rotation: trust only the new authority',
  configure(command) {
    command.option('--keys <folder>', 'the new authority')
    addExamples(command, [['Once every machine has keys of the new one', 'keys retire --keys keys-2']])
  },
  run(options, io) {
    const folder = needed('--keys', options.keys)
    const gone = retireOthers(folder)
    printLine(
      io,
      gone === 0
        ? `${folder}: it trusts no authority but itself already`
        : `${folder}: ${gone} older authority no longer trusted; copy ca.pem and crl.pem to every machine's folder`,
    )
  },
}
