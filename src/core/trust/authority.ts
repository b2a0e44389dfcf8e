import { randomBytes, webcrypto } from 'node:crypto'
import type { Clock } from '../clock.ts'
import { InputError } from '../errors.ts'
import { checkDeviceName, parseHost } from './names.ts'
import { loadX509 } from './x509.ts'
import type { X509 } from './x509.ts'

type CryptoKey = webcrypto.CryptoKey

/** Certificate and private key, PEM. */
export interface KeyPair {
  readonly certificate: string
  readonly key: string
}

/** A certificate that was issued, with what the authority records of it. */
interface Issued extends KeyPair {
  /** Lower-case hexadecimal, 32 digits. */
  readonly serial: string
  /** ISO 8601. */
  readonly notAfter: string
}

/** A revoked certificate. */
interface Revocation {
  readonly serial: string
  /** ISO 8601. */
  readonly revokedAt: string
}

const EC = { name: 'ECDSA', namedCurve: 'P-256' } as const
const SIGNING = { name: 'ECDSA', hash: 'SHA-256' } as const
const DAY_MILLISECONDS = 86_400_000
/** New certificates are valid from one hour ago, because clocks of devices are often wrong. */
const BACKDATE_MILLISECONDS = 3_600_000
const MAX_VALID_DAYS = 36_500

/**
 * Creates an authority: ECDSA P-256, self-signed, allowed to sign device certificates and revocation lists, but no
 * further authorities. Its name ends with random digits, so that no two authorities share a name.
 */
export async function createAuthority(options: {
  readonly clock: Clock
  readonly validDays: number
}): Promise<KeyPair> {
  const x509 = await loadX509()
  const keys = await newKeys()
  const { notBefore, notAfter } = validity(options.clock, options.validDays)
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: nameOf(x509, `edgewise authority ${randomBytes(4).toString('hex')}`),
    notBefore,
    notAfter,
    keys,
    signingAlgorithm: SIGNING,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certificate: pem('CERTIFICATE', certificate.rawData), key: await exportKey(keys.privateKey) }
}

/**
 * Issues a certificate for TLS, as server and as client, with a new key: ECDSA P-256, a random serial of 128 bits,
 * `hosts` (DNS names, IP addresses) as subject alternative names. It expires no later than the authority. Throws
 * InputError for a bad name or host, or an expired authority.
 */
export async function issue(
  authority: KeyPair,
  options: {
    readonly clock: Clock
    readonly name: string
    readonly hosts: readonly string[]
    readonly validDays: number
  },
): Promise<Issued> {
  const x509 = await loadX509()
  const issuer = new x509.X509Certificate(authority.certificate)
  const { notBefore, notAfter } = validity(options.clock, options.validDays, issuer.notAfter)
  const serialNumber = newSerial()
  const keys = await newKeys()
  const hosts = options.hosts.map(parseHost)
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber,
    subject: nameOf(x509, checkDeviceName(options.name)),
    issuer: issuer.subjectName,
    notBefore,
    notAfter,
    publicKey: keys.publicKey,
    signingKey: await importKey(authority.key),
    signingAlgorithm: SIGNING,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      ...(hosts.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(hosts)]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  })
  return {
    certificate: pem('CERTIFICATE', certificate.rawData),
    key: await exportKey(keys.privateKey),
    serial: serialNumber,
    notAfter: notAfter.toISOString(),
  }
}

/**
 * The authority's signed list of revoked certificates (an X.509 CRL, PEM), which TLS checks. It expires with the
 * authority: with an expired list, TLS would refuse every peer.
 */
export async function revocationList(
  authority: KeyPair,
  revoked: readonly Revocation[],
  clock: Clock,
): Promise<string> {
  const x509 = await loadX509()
  const issuer = new x509.X509Certificate(authority.certificate)
  const now = new Date(clock.wallTime())
  const list = await x509.X509CrlGenerator.create({
    issuer: issuer.subjectName,
    thisUpdate: new Date(now.getTime() - BACKDATE_MILLISECONDS),
    nextUpdate: issuer.notAfter,
    entries: revoked.map(({ serial, revokedAt }) => ({
      serialNumber: serial,
      revocationDate: new Date(revokedAt),
    })),
    signingKey: await importKey(authority.key),
    signingAlgorithm: SIGNING,
    extensions: [
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      // CRL number (RFC 5280, 5.2.3): seconds since 1970, so that a later list has a higher number.
      new x509.Extension('2.5.29.20', false, derInteger(Math.floor(now.getTime() / 1000))),
    ],
  })
  return pem('X509 CRL', list.rawData)
}

function nameOf(x509: X509, commonName: string): InstanceType<X509['Name']> {
  return new x509.Name([{ CN: [commonName] }])
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(EC, true, ['sign', 'verify'])
}

/**
 * 128 random bits with the first two fixed, because a serial is positive and has no leading zeros (RFC 5280, 4.1.2.2).
 */
function newSerial(): string {
  const bytes = randomBytes(16)
  bytes[0] = (bytes[0] & 0x7f) | 0x40
  return bytes.toString('hex')
}

async function exportKey(key: CryptoKey): Promise<string> {
  return pem('PRIVATE KEY', await webcrypto.subtle.exportKey('pkcs8', key))
}

/** PEM (RFC 7468) with the label that OpenSSL expects. */
function pem(label: string, der: ArrayBuffer): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}

function importKey(text: string): Promise<CryptoKey> {
  const der = Buffer.from(text.replace(/-----[^-]+-----/g, ''), 'base64')
  return webcrypto.subtle.importKey('pkcs8', der, EC, false, ['sign'])
}

function validity(clock: Clock, days: number, latest?: Date): { notBefore: Date; notAfter: Date } {
  if (!(days > 0 && days <= MAX_VALID_DAYS)) {
    throw new InputError({
      where: 'days',
      expected: `more than 0 and at most ${MAX_VALID_DAYS}`,
      found: `${days}`,
    })
  }
  const now = new Date(clock.wallTime()).getTime()
  if (latest !== undefined && latest.getTime() <= now) {
    throw new InputError({
      where: 'the authority',
      expected: 'one that is valid',
      found: `it expired on ${latest.toISOString()}`,
      remedy: 'make another with `edgewise keys init`, and give out its certificates',
    })
  }
  // Certificates store whole seconds.
  const end = Math.floor((now + days * DAY_MILLISECONDS) / 1000) * 1000
  const start = Math.floor((now - BACKDATE_MILLISECONDS) / 1000) * 1000
  return { notBefore: new Date(start), notAfter: new Date(Math.min(end, latest?.getTime() ?? end)) }
}

/** DER encoding of a positive integer. */
function derInteger(value: number): Uint8Array<ArrayBuffer> {
  const digits = value.toString(16)
  const bytes = Buffer.from(digits.length % 2 === 0 ? digits : `0${digits}`, 'hex')
  const body = bytes[0] < 0x80 ? [...bytes] : [0, ...bytes]
  return Uint8Array.from([0x02, body.length, ...body])
}
