import { createPrivateKey, createPublicKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Clock } from '../clock.ts'
import { InputError } from '../errors.ts'
import { daysUntil, readCertificates, summarise } from './certificate.ts'
import type { CertificateSummary } from './certificate.ts'
import { keyIdOf } from './dsse.ts'
import { KEY_FILES, pemBlocks, readPem } from './folder.ts'
import { readIssued } from './keyFolder.ts'
import { loadX509 } from './x509.ts'

/** A certificate as `keys show` prints it. */
export interface ShownCertificate extends CertificateSummary {
  /** Name of the file that holds it. */
  readonly file: string
  /** Whole days until it expires; negative afterwards. */
  readonly daysLeft: number
  /** Whether the revocation list in the same folder names it; null without a list. */
  readonly revoked: boolean | null
}

/** The contents of a key folder or file, without private keys. */
export interface KeyReport {
  readonly path: string
  readonly certificates: readonly ShownCertificate[]
  /** Ed25519 keys that sign bundles, with the ids that `verify` names. */
  readonly signingKeys: readonly { readonly file: string; readonly keyId: string }[]
  /** What this folder's authority issued; null if this is not an authority's folder. */
  readonly issued:
    | readonly {
        readonly name: string
        readonly serial: string
        readonly notAfter: string
        readonly revokedAt: string | null
      }[]
    | null
}

/** Describes a folder made by `edgewise keys`, or one PEM file. Throws InputError if it holds nothing to show. */
export async function describeKeys(path: string, clock: Clock): Promise<KeyReport> {
  if (!existsSync(path)) {
    throw new InputError({ where: path, expected: 'a folder or file of keys', found: 'nothing' })
  }
  const isFolder = statSync(path).isDirectory()
  const folder = isFolder ? path : join(path, '..')
  const files = isFolder ? [KEY_FILES.ca, KEY_FILES.cert, KEY_FILES.signingPublic] : [basename(path)]
  const there = files.filter((file) => existsSync(join(folder, file)))
  const revoked = await revokedSerials(join(folder, KEY_FILES.crl))
  const certificates: ShownCertificate[] = []
  const signingKeys: { file: string; keyId: string }[] = []
  for (const file of there) {
    const text = readPem(join(folder, file))
    const key = signingKeyOf(text)
    if (key !== null) signingKeys.push({ file, keyId: keyIdOf(key) })
    else certificates.push(...shownCertificates(text, join(folder, file), file, revoked, clock))
  }
  if (there.length === 0) {
    const expected = `a folder with ${KEY_FILES.ca}, ${KEY_FILES.cert} or ${KEY_FILES.signingPublic}`
    throw new InputError({ where: path, expected, found: 'none of them' })
  }
  const issued = isFolder && existsSync(join(folder, KEY_FILES.issued)) ? readIssued(folder) : null
  return {
    path,
    certificates,
    signingKeys,
    issued:
      issued?.map(({ name, serial, notAfter, revokedAt }) => ({ name, serial, notAfter, revokedAt })) ?? null,
  }
}

function shownCertificates(
  text: string,
  where: string,
  file: string,
  revoked: ReadonlySet<string> | null,
  clock: Clock,
): ShownCertificate[] {
  return readCertificates(text, where).map((certificate) => {
    const summary = summarise(certificate)
    const daysLeft = daysUntil(summary.notAfter, clock.wallTime())
    return { file, ...summary, daysLeft, revoked: revoked?.has(summary.serial) ?? null }
  })
}

/** The public half of an Ed25519 key; null if the text is not one. */
function signingKeyOf(text: string): KeyObject | null {
  if (text.includes('BEGIN CERTIFICATE')) return null
  try {
    const key = text.includes('PRIVATE KEY') ? createPublicKey(createPrivateKey(text)) : createPublicKey(text)
    return key.asymmetricKeyType === 'ed25519' ? key : null
  } catch {
    return null
  }
}

/** Serials in all revocation lists of a file; null without the file. */
async function revokedSerials(path: string): Promise<ReadonlySet<string> | null> {
  if (!existsSync(path)) return null
  const { X509Crl } = await loadX509()
  const serials = pemBlocks(readPem(path), 'X509 CRL').flatMap((block) => {
    try {
      return new X509Crl(Buffer.from(block.replace(/-----[^-]+-----/g, ''), 'base64')).entries
    } catch (error) {
      const expected = 'lists of revoked certificates'
      throw new InputError({ where: path, expected, found: 'a damaged one' }, { cause: error })
    }
  })
  return new Set(serials.map(({ serialNumber }) => serialNumber.toLowerCase()))
}
