import type { Command } from 'commander'
import type { BundleSignature } from '../policy/bundle/signature.ts'
import { readPublicKey } from '../core/trust/dsse.ts'
import { readPem, readSecret } from '../core/trust/folder.ts'
import { collect } from './options.ts'

/** Adds `--trust`, which every command that opens a bundle has. */
export function addTrust(command: Command): Command {
  return command.option(
    '--trust <key>',
    'public key (PEM) that must have signed the bundle; repeated: one of them',
    collect,
  )
}

/** What `--trust` gave, as the readers of bundles take it; a file that is no public key is named. */
export function readTrust(files: readonly string[] | undefined): { trust?: readonly string[] } {
  if (files === undefined) return {}
  const trust = files.map((file) => {
    const pem = readPem(file)
    readPublicKey(pem, file)
    return pem
  })
  return { trust }
}

/** A private key for signing bundles. */
export function readSigner(file: string): { pem: string; where: string } {
  return { pem: readSecret(file), where: file }
}

/** What a person is told of a bundle's signature. */
export function signatureWords(signature: BundleSignature | null): string {
  if (signature === null) return 'not signed'
  if (signature.trustedKeyIds.length > 0)
    return `signed by ${signature.trustedKeyIds.join(' and ')}, which you trust`
  return `says it is signed by ${signature.claimedKeyIds.join(' and ')}; give --trust <public key> to check that`
}
