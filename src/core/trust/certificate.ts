import { X509Certificate } from 'node:crypto'
import { InputError } from '../errors.ts'
import { pemBlocks } from './folder.ts'

/** The fields of a certificate that are shown to users. */
export interface CertificateSummary {
  readonly role: 'authority' | 'device'
  readonly name: string
  /** DNS names and IP addresses for which it is valid as a server certificate. */
  readonly hosts: readonly string[]
  /** SHA-256 of the certificate, lower-case hexadecimal. */
  readonly fingerprint: string
  /** Lower-case hexadecimal. */
  readonly serial: string
  /** ISO 8601. */
  readonly notBefore: string
  readonly notAfter: string
}

/** Reads the certificates in a PEM text. Throws InputError if there is none or one is damaged. */
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

/** Summarises a certificate without checking it. */
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

/** Whole days until `notAfter`; negative after it. */
export function daysUntil(notAfter: string, now: string): number {
  return Math.floor((new Date(notAfter).getTime() - new Date(now).getTime()) / 86_400_000)
}
