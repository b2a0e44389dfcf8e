import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import type { TlsMaterial } from '../../../src/run/wire/tls.ts'

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const YEAR = 365 * 24 * 3600 * 1000

x509.cryptoProvider.set(webcrypto)

/** An authority for tests, and what it signs. */
export interface TestAuthority {
  readonly pem: string
  readonly signingKey: webcrypto.CryptoKey
  /** Certificate for `name`, valid for 127.0.0.1, ::1 and `localhost` unless `names` says other DNS names. */
  issue(
    name: string,
    options?: { readonly expired?: boolean; readonly names?: string[] },
  ): Promise<TlsMaterial>
}

/** The authority's list of revoked certificates. */
export async function revoking(
  { pem, signingKey }: TestAuthority,
  revoked: TlsMaterial[],
  { expired = false }: { readonly expired?: boolean } = {},
): Promise<string> {
  const now = Date.now()
  const list = await x509.X509CrlGenerator.create({
    issuer: new x509.X509Certificate(pem).subject,
    thisUpdate: new Date(now - (expired ? YEAR / 2 : 1000)),
    nextUpdate: new Date(expired ? now - 1000 : now + YEAR / 2),
    signingAlgorithm: ALGORITHM,
    signingKey,
    entries: revoked.map(({ cert }) => ({
      serialNumber: new x509.X509Certificate(cert).serialNumber,
      revocationDate: new Date(now - 1000),
    })),
  })
  return x509.PemConverter.encode(list.rawData, 'X509 CRL')
}

export async function testAuthority(name = 'authority'): Promise<TestAuthority> {
  const keys = await generateKeys()
  const now = Date.now()
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: `CN=${name}`,
    notBefore: new Date(now - YEAR),
    notAfter: new Date(now + YEAR),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 1, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    ],
  })
  const pem = root.toString('pem')
  let serial = 16
  return {
    pem,
    signingKey: keys.privateKey,
    async issue(subject, { expired = false, names } = {}) {
      const own = await generateKeys()
      const certificate = await x509.X509CertificateGenerator.create({
        serialNumber: (serial++).toString(16),
        subject: subject === '' ? 'O=nameless' : `CN=${subject}`,
        issuer: root.subject,
        notBefore: new Date(now - YEAR / 2),
        notAfter: new Date(expired ? now - 1000 : now + YEAR / 2),
        signingAlgorithm: ALGORITHM,
        publicKey: own.publicKey,
        signingKey: keys.privateKey,
        extensions: [
          new x509.SubjectAlternativeNameExtension(
            names?.map((value) => ({ type: 'dns' as const, value })) ?? [
              { type: 'ip', value: '127.0.0.1' },
              { type: 'ip', value: '::1' },
              { type: 'dns', value: 'localhost' },
            ],
          ),
        ],
      })
      const exported = await webcrypto.subtle.exportKey('pkcs8', own.privateKey)
      const key = x509.PemConverter.encode(exported, 'PRIVATE KEY')
      return { ca: pem, cert: certificate.toString('pem'), key }
    },
  }
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
}
