import { createPrivateKey } from 'node:crypto'
import type { KeyObject, X509Certificate } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../clock.ts'
import { InputError } from '../errors.ts'
import { readCertificates, summarise } from './certificate.ts'
import { KEY_FILES, checkFolder, pemBlocks, readPem, readSecret } from './folder.ts'

/** Keys and certificates of one side of a TLS connection, as PEM texts that node:tls accepts. */
export interface TlsMaterial {
  /** Authorities whose certificates are accepted: one, or two during a rotation. */
  readonly ca: string
  readonly cert: string
  readonly key: string
  /** Revocation lists, one for each authority; absent if the folder has none. */
  readonly crl?: string[]
}

/**
 * Reads a folder made by `edgewise keys device`. Throws InputError with a remedy for a missing file, a key that others
 * can read, a key or authority that does not belong to the certificate, a certificate that is expired or not valid yet,
 * and revocation lists that do not cover the authorities.
 */
export function readTlsMaterial(folder: string, clock: Clock): TlsMaterial {
  if (!existsSync(join(folder, KEY_FILES.cert))) {
    throw new InputError({
      where: folder,
      expected: `a folder with ${KEY_FILES.ca}, ${KEY_FILES.cert} and ${KEY_FILES.key}`,
      found: `no ${KEY_FILES.cert}`,
      remedy: `edgewise keys device <name> --keys <authority> --out ${folder}`,
    })
  }
  checkFolder(folder)
  const [caPath, certPath, keyPath] = [KEY_FILES.ca, KEY_FILES.cert, KEY_FILES.key].map((file) =>
    join(folder, file),
  )
  const [ca, cert, key] = [readPem(caPath), readPem(certPath), readSecret(keyPath)]
  const authorities = readCertificates(ca, caPath)
  const [own] = readCertificates(cert, certPath)
  if (!own.checkPrivateKey(privateKey(key, keyPath))) {
    throw new InputError({
      where: keyPath,
      expected: `the key of ${certPath}`,
      found: 'another key',
      remedy: 'copy both files from where they were made, or make new ones with --force',
    })
  }
  if (!authorities.some((authority) => own.checkIssued(authority) && own.verify(authority.publicKey))) {
    throw new InputError({
      where: certPath,
      expected: `a certificate of an authority in ${caPath}`,
      found: `one of ${own.issuer.replaceAll('\n', ', ')}`,
      remedy: 'copy the whole folder, or make it again with `edgewise keys device`',
    })
  }
  checkValid(own, certPath, clock)
  const crl = revocations(join(folder, KEY_FILES.crl), authorities.length)
  return { ca, cert, key, ...(crl === null ? {} : { crl }) }
}

function privateKey(pem: string, where: string): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (error) {
    throw new InputError(
      { where, expected: 'a private key in PEM', found: 'something else' },
      { cause: error },
    )
  }
}

function checkValid(certificate: X509Certificate, where: string, clock: Clock): void {
  const { notBefore, notAfter, name } = summarise(certificate)
  const now = new Date(clock.wallTime()).toISOString()
  // ISO 8601 in UTC: text order is time order.
  if (notBefore <= now && now < notAfter) return
  const expired = now >= notAfter
  throw new InputError({
    where,
    expected: `a certificate that is valid now (${now})`,
    found: expired ? `it expired on ${notAfter}` : `it is valid from ${notBefore}`,
    remedy: expired
      ? `renew it: edgewise keys device ${name} --keys <authority> --out <folder> --force`
      : "set this machine's clock",
  })
}

function revocations(path: string, authorities: number): string[] | null {
  if (!existsSync(path)) return null
  const lists = pemBlocks(readPem(path), 'X509 CRL')
  // TLS refuses every peer whose authority has no revocation list, and does not say why.
  if (lists.length === authorities) return lists
  throw new InputError({
    where: path,
    expected: `a list of each of the ${authorities} authorities in ${KEY_FILES.ca}`,
    found: `${lists.length}`,
    remedy: `copy ${KEY_FILES.ca} and ${KEY_FILES.crl} together from the authority's folder`,
  })
}
