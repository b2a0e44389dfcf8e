import { writeDevice } from '../../../core/trust/keyFolder.ts'
import type { CliCommand } from '../../command.ts'
import { addExamples } from '../../command.ts'
import { printLine } from '../../io.ts'
import { needed } from '../../json/request.ts'
import { collect, numberOption } from '../../options.ts'

interface Options {
  readonly keys?: string
  readonly host?: readonly string[]
  readonly out?: string
  readonly days: number
  readonly force?: boolean
}

const ONE_YEAR_DAYS = 365

export const keysDevice: CliCommand<Options> = {
  name: 'device',
  summary: 'make, or renew, the keys of one machine',
  configure(command) {
    command
      .argument('<name>', 'what the other side knows it by')
      .option('--keys <folder>', 'the authority')
      .option(
        '--host <name>',
        'DNS name or IP address it is reached at, as others will write it; repeatable; a machine that only connects needs none',
        collect,
      )
      .option('--out <folder>', "the machine's folder: ca.pem, crl.pem, cert.pem, key.pem")
      .option('--days <n>', 'days of validity', numberOption({ min: 0, exclusiveMin: true }), ONE_YEAR_DAYS)
      .option('--force', 'renew: a new key and certificate take the place of those there')
    addExamples(command, [
      [
        'A cloud, by name and by address',
        'keys device cloud --keys keys --host cloud.example --host 10.0.0.5 --out cloud-keys',
      ],
      ['A device that connects to it', 'keys device edge-1 --keys keys --out edge-keys'],
      ['Renewed', 'keys device edge-1 --keys keys --out edge-keys --force'],
    ])
  },
  async run(options, io, [name]) {
    const out = needed('--out', options.out)
    const hosts = options.host ?? []
    const { notAfter } = await writeDevice(needed('--keys', options.keys), out, {
      clock: io.clock,
      name,
      hosts,
      validDays: options.days,
      force: options.force === true,
    })
    const reached = hosts.length === 0 ? 'to connect with' : `for ${hosts.join(', ')}`
    printLine(io, `${out}: ${name}, ${reached}, until ${notAfter.slice(0, 10)}`)
    printLine(io, `copy the folder to that machine and give it as --tls; then remove it here`)
  },
}
