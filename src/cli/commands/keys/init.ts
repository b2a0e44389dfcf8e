import { initKeys } from '../../../core/trust/keyFolder.ts'
import type { CliCommand } from '../../command.ts'
import { addExamples } from '../../command.ts'
import { printLine } from '../../io.ts'
import { needed } from '../../json/request.ts'
import { numberOption } from '../../options.ts'

interface Options {
  readonly out?: string
  readonly days: number
  readonly also?: string
  readonly force?: boolean
}

const TEN_YEARS_DAYS = 3650

export const keysInit: CliCommand<Options> = {
  name: 'init',
  summary: 'make an authority and a signing key',
  configure(command) {
    command
      .option('--out <folder>', 'folder to write')
      .option(
        '--days <n>',
        'days that the authority is valid',
        numberOption({ min: 0, exclusiveMin: true }),
        TEN_YEARS_DAYS,
      )
      .option('--also <folder>', 'an authority that stays trusted beside this one, while they change')
      .option('--force', 'replace keys that are there; nothing that they issued is trusted any more')
    addExamples(command, [
      ['An authority and a signing key', 'keys init --out keys'],
      ['Its successor, with both trusted for a while', 'keys init --out keys-2 --also keys'],
    ])
  },
  async run(options, io) {
    const out = needed('--out', options.out)
    const { keyId } = await initKeys(out, {
      clock: io.clock,
      validDays: options.days,
      force: options.force === true,
      ...(options.also === undefined ? {} : { also: options.also }),
    })
    printLine(io, `${out}: an authority for ${options.days} days, and the signing key ${keyId}`)
    printLine(io, 'ca-key.pem and signing-key.pem are secret: keep this folder offline where you can')
    printLine(
      io,
      `\nnext: edgewise keys device cloud --keys ${out} --host <name or address> --out cloud-keys`,
    )
  },
}
