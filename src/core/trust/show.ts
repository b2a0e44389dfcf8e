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

export interface ShownCertificate extends CertificateSummary {
  /** Name of its file. */
  readonly file: string
  /** Whole days; negative once it has expired. */
  readonly daysLeft: number
  /** Whether the list beside it names it; null: no list is there. */
  readonly revoked: boolean | null
}

/** What a folder or file of keys holds; never a private key itself. */
export interface KeyReport {
  readonly path: string
  readonly certificates: readonly ShownCertificate[]
  /** Ed25519 keys that sign bundles, by the id that `verify` names. */
  readonly signingKeys: readonly { readonly file: string; readonly keyId: string }[]
  /** What the authority of this folder issued; null: this is no authority's folder. */
  readonly issued:
    | readonly {
        readonly name: string
        readonly serial: string
        readonly notAfter: string
        readonly revokedAt: string | null
      }[]
    | null
}

/** Reads a folder that `edgewise keys` made, or one PEM file. Throws InputError where there is nothing to show. */
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

/** An Ed25519 key, of which only the public half is kept; null for anything else. */
function signingKeyOf(text: string): KeyObject | null {
  if (text.includes('BEGIN CERTIFICATE')) return null
  try {
    const key = text.includes('PRIVATE KEY') ? createPublicKey(createPrivateKey(text)) : createPublicKey(text)
    return key.asymmetricKeyType === 'ed25519' ? key : null
  } catch {
    return null
  }
}

/** Serials of all lists in a file. */
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
