import { join } from 'node:path'
import { KEY_FILES } from '../../../core/trust/folder.ts'
import { revokeDevice } from '../../../core/trust/keyFolder.ts'
import type { CliCommand } from '../../command.ts'
import { addExamples } from '../../command.ts'
import { printLine } from '../../io.ts'
import { needed } from '../../json/request.ts'

interface Options {
  readonly keys?: string
}

export const keysRevoke: CliCommand<Options> = {
  name: 'revoke',
  summary: 'refuse the certificates of a machine from now on',
  configure(command) {
    command.argument('<name>', 'the machine').option('--keys <folder>', 'the authority')
    addExamples(command, [['A device that was lost', 'keys revoke edge-1 --keys keys']])
  },
  async run(options, io, [name]) {
    const folder = needed('--keys', options.keys)
    const serials = await revokeDevice(folder, name, io.clock)
    for (const serial of serials) printLine(io, `revoked: ${name}, serial ${serial}`)
    printLine(
      io,
      `copy ${join(folder, KEY_FILES.crl)} to every machine's folder and restart what listens there`,
    )
  },
}
