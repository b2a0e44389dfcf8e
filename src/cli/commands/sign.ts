import { readBundle } from '../../policy/bundle/files.ts'
import { writeSignature } from '../../policy/bundle/signature.ts'
import type { CliCommand } from '../command.ts'
import { addExamples } from '../command.ts'
import { printLine } from '../io.ts'
import { needed } from '../json/request.ts'
import { readSigner } from '../trust.ts'

interface Options {
  readonly key?: string
}

export const sign: CliCommand<Options> = {
  name: 'sign',
  summary: 'sign a bundle, so that a device can verify who made it',
  configure(command) {
    command
      .argument('<bundle>', 'bundle folder')
      .option('--key <file>', 'Ed25519 private key, e.g. keys/signing-key.pem')
    addExamples(command, [
      ['Sign', 'sign exports/mine --key keys/signing-key.pem'],
      ['Check it as a device does', 'verify exports/mine --trust keys/signing-key.pub.pem'],
      [
        'A second key signs too, before the first is given up',
        'sign exports/mine --key keys-2/signing-key.pem',
      ],
    ])
  },
  run(options, io, [folder]) {
    const { pem, where } = readSigner(needed('--key', options.key))
    const { manifest } = readBundle(folder)
    const keyId = writeSignature(folder, pem, where)
    printLine(io, `${manifest.name}: signed by ${keyId}`)
  },
}
