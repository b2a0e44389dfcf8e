import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { newApiKey, parseApiKeys } from '../../../serve/http/keys.ts'
import { readText, writeAtomic } from '../../../core/files.ts'
import type { CliCommand } from '../../command.ts'
import { addExamples } from '../../command.ts'
import { printLine } from '../../io.ts'

interface Options {
  readonly out?: string
}

const KEY_BYTES = 32
const MAX_FILE_BYTES = 256 * 1024

export const keysApi: CliCommand<Options> = {
  name: 'api',
  summary: 'make a key for an application that uses the API',
  configure(command) {
    command
      .argument('<name>', 'whose key it is')
      .option(
        '--out <file>',
        'file that `edgewise edge --api-keys` reads: gets a line more, with the hash of the key',
      )
    addExamples(command, [
      ['A key, and the line to put into the file', 'keys api alice'],
      ['Put there at once', 'keys api alice --out api-keys'],
    ])
  },
  run(options, io, [name]) {
    const { key, line } = newApiKey(name, randomBytes(KEY_BYTES))
    const { out } = options
    if (out === undefined) {
      printLine(io, `key:  ${key}\nline: ${line}`)
      return
    }
    const before = existsSync(out) ? readText(out, MAX_FILE_BYTES) : ''
    const text = `${before}${before === '' || before.endsWith('\n') ? '' : '\n'}${line}\n`
    parseApiKeys(text, out)
    writeAtomic(out, text, 0o600)
    printLine(io, `key: ${key}`)
    io.stderr.write(
      `${out} keeps its hash; the key is shown this once. The server reads the file when it starts\n`,
    )
  },
}
