import { X509Certificate } from 'node:crypto'
import { InputError } from '../errors.ts'
import { pemBlocks } from './folder.ts'

/** What a person wants to know of a certificate. */
export interface CertificateSummary {
  readonly role: 'authority' | 'device'
  readonly name: string
  /** DNS names and IP addresses it is good for as a server. */
  readonly hosts: readonly string[]
  /** SHA-256 of the certificate, lower-case hexadecimal. */
  readonly fingerprint: string
  /** Lower-case hexadecimal. */
  readonly serial: string
  /** ISO 8601. */
  readonly notBefore: string
  readonly notAfter: string
}

/** The certificates of a PEM text. Throws InputError where there is none, or one that is damaged. */
export function readCertificates(text: string, where: string): X509Certificate[] {
  const blocks = pemBlocks(text, 'CERTIFICATE')
  if (blocks.length === 0) {
    throw new InputError({ where, expected: 'a certificate in PEM', found: 'none' })
  }
  return blocks.map((block) => {
    try {
      return new X509Certificate(block)
    } catch (error) {
      const expected = 'a certificate in PEM'
      throw new InputError({ where, expected, found: 'a damaged one' }, { cause: error })
    }
  })
}

/** What a certificate says of itself; nothing of it is checked. */
export function summarise(certificate: X509Certificate): CertificateSummary {
  const { subject, subjectAltName, fingerprint256, serialNumber } = certificate
  return {
    role: certificate.ca ? 'authority' : 'device',
    name: /(?:^|\n)CN=([^\n]*)/.exec(subject)?.[1] ?? subject,
    hosts: (subjectAltName ?? '')
      .split(', ')
      .filter((part) => part !== '')
      .map((part) => part.replace(/^(DNS|IP Address):/, '')),
    fingerprint: fingerprint256.replaceAll(':', '').toLowerCase(),
    serial: serialNumber.toLowerCase(),
    notBefore: new Date(certificate.validFrom).toISOString(),
    notAfter: new Date(certificate.validTo).toISOString(),
  }
}

/** Whole days until a time; negative once it is over. */
export function daysUntil(notAfter: string, now: string): number {
  return Math.floor((new Date(notAfter).getTime() - new Date(now).getTime()) / 86_400_000)
}
