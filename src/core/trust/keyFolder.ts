import { X509Certificate, createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import type { Clock } from '../clock.ts'
import { InputError } from '../errors.ts'
import { fillFolder } from '../fileErrors.ts'
import { readText } from '../files.ts'
import { check, parseJson } from '../schema.ts'
import { createAuthority, issue, revocationList } from './authority.ts'
import type { KeyPair } from './authority.ts'
import { readCertificates } from './certificate.ts'
import { keyIdOf } from './dsse.ts'
import {
  KEY_FILES,
  OWNER_ONLY,
  checkKeyFolder,
  pemBlocks,
  readPem,
  readSecret,
  writePublic,
  writeSecret,
} from './folder.ts'
import { checkDeviceName } from './names.ts'

const MAX_ISSUED = 100_000
const MAX_ISSUED_BYTES = 32 * 1024 * 1024

const issuedSchema = z.strictObject({
  schema: z.literal('edgewise.issued/1'),
  certificates: z
    .array(
      z.strictObject({
        name: z.string().min(1).max(63),
        serial: z.string().regex(/^[0-9a-f]{32}$/, 'a serial of 32 hexadecimal digits'),
        hosts: z.array(z.string().max(253)).max(100),
        notAfter: z.iso.datetime(),
        /** Null if not revoked. */
        revokedAt: z.iso.datetime().nullable(),
      }),
    )
    .max(MAX_ISSUED),
})

/** The certificates that an authority issued. */
type IssuedList = z.infer<typeof issuedSchema>['certificates']

const README =
  'Keys of an edgewise authority. ca-key.pem and signing-key.pem stay here, best offline: who has them is trusted by every ' +
  'device. ca.pem, crl.pem and signing-key.pub.pem are public. `edgewise keys --help` says what to do with them.\n'
const DEVICE_README =
  'Keys of one machine for TLS between edge and cloud (`--tls <this folder>`). key.pem stays on that machine.\n'

/**
 * Writes a new authority and a new Ed25519 signing key to a folder. `also` is the folder of an older authority that
 * stays trusted during a rotation: its certificate and revocation list are included. Resolves to the signing key's id.
 */
export async function initKeys(
  folder: string,
  options: {
    readonly clock: Clock
    readonly validDays: number
    readonly force: boolean
    readonly also?: string
  },
): Promise<{ keyId: string }> {
  const before = options.also === undefined ? null : readTrusted(options.also)
  const { readme: _, ...files } = KEY_FILES
  checkKeyFolder(folder, Object.values(files), options.force)
  const authority = await createAuthority(options)
  const list = await revocationList(authority, [], options.clock)
  const signing = generateKeyPairSync('ed25519')
  const signingKey = signing.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  const signingPublic = signing.publicKey.export({ type: 'spki', format: 'pem' }) as string
  fillFolder(folder, OWNER_ONLY, () => {
    writeSecret(folder, KEY_FILES.caKey, authority.key)
    writeSecret(folder, KEY_FILES.signingKey, signingKey)
    writePublic(folder, KEY_FILES.signingPublic, signingPublic)
    writeIssued(folder, [])
    writePublic(folder, KEY_FILES.crl, [list, ...(before?.lists ?? [])].join(''))
    writePublic(folder, KEY_FILES.readme, README)
    // Written last: a folder that has an authority's certificate is complete.
    writePublic(folder, KEY_FILES.ca, [authority.certificate, ...(before?.certificates ?? [])].join(''))
  })
  return { keyId: keyIdOf(signing.publicKey) }
}

/** Issues a certificate and writes a machine's folder: ca.pem, crl.pem, cert.pem, key.pem. */
export async function writeDevice(
  keys: string,
  out: string,
  options: {
    readonly clock: Clock
    readonly name: string
    readonly hosts: readonly string[]
    readonly validDays: number
    readonly force: boolean
  },
): Promise<{ serial: string; notAfter: string }> {
  checkDeviceName(options.name)
  const authority = readAuthority(keys)
  const issued = readIssued(keys)
  const { certificates, lists } = readTrusted(keys)
  if (existsSync(join(out, KEY_FILES.caKey))) {
    throw new InputError({ where: out, expected: "a machine's own folder", found: "an authority's folder" })
  }
  checkKeyFolder(out, [KEY_FILES.cert, KEY_FILES.key, KEY_FILES.ca], options.force)
  const { serial, notAfter, certificate, key } = await issue(authority, options)
  const hosts = [...options.hosts]
  // Recorded before the certificate is written: one that is not recorded cannot be revoked.
  writeIssued(keys, [...issued, { name: options.name, serial, hosts, notAfter, revokedAt: null }])
  fillFolder(out, OWNER_ONLY, () => {
    writeSecret(out, KEY_FILES.key, key)
    writePublic(out, KEY_FILES.cert, certificate)
    writePublic(out, KEY_FILES.crl, lists.join(''))
    writePublic(out, KEY_FILES.readme, DEVICE_README)
    writePublic(out, KEY_FILES.ca, certificates.join(''))
  })
  return { serial, notAfter }
}

/**
 * Revokes all certificates of a name that are not revoked yet, and resolves to their serials. Throws InputError if
 * there are none.
 */
export async function revokeDevice(keys: string, name: string, clock: Clock): Promise<string[]> {
  const authority = readAuthority(keys)
  const issued = readIssued(keys)
  const revokedAt = new Date(clock.wallTime()).toISOString()
  const hit = issued.filter((entry) => entry.name === name && entry.revokedAt === null)
  if (hit.length === 0) {
    const known = [...new Set(issued.filter((entry) => entry.revokedAt === null).map((entry) => entry.name))]
    throw new InputError({
      where: `${keys}: ${name}`,
      expected: `the name of a device with a valid certificate (${known.slice(0, 20).join(', ') || 'there is none'})`,
      found: issued.some((entry) => entry.name === name) ? 'it is revoked already' : 'no such device',
    })
  }
  const after = issued.map((entry) => (hit.includes(entry) ? { ...entry, revokedAt } : entry))
  const revoked = after.flatMap(({ serial, revokedAt: at }) =>
    at === null ? [] : [{ serial, revokedAt: at }],
  )
  const list = await revocationList(authority, revoked, clock)
  const [, ...others] = readTrusted(keys).lists
  // Written before the records: if the process ends in between, the command can be repeated.
  writePublic(keys, KEY_FILES.crl, [list, ...others].join(''))
  writeIssued(keys, after)
  return hit.map(({ serial }) => serial)
}

/** Ends a rotation: from now on only the folder's own authority is trusted. Returns how many others were removed. */
export function retireOthers(keys: string): number {
  readAuthority(keys)
  const { certificates, lists } = readTrusted(keys)
  writePublic(keys, KEY_FILES.crl, lists[0])
  writePublic(keys, KEY_FILES.ca, certificates[0])
  return certificates.length - 1
}

/** The certificates that this folder's authority issued, oldest first. Throws InputError. */
export function readIssued(keys: string): IssuedList {
  const path = join(keys, KEY_FILES.issued)
  return check(issuedSchema, parseJson(readText(path, MAX_ISSUED_BYTES), path), path).certificates
}

function writeIssued(keys: string, certificates: IssuedList): void {
  // Checked before writing, so that a list that could not be read again is never written.
  const issued = check(
    issuedSchema,
    { schema: 'edgewise.issued/1', certificates },
    join(keys, KEY_FILES.issued),
  )
  writeSecret(keys, KEY_FILES.issued, `${JSON.stringify(issued, null, 2)}\n`)
}

/** The folder's own authority: the first certificate of ca.pem, and its key. */
function readAuthority(keys: string): KeyPair {
  const keyPath = join(keys, KEY_FILES.caKey)
  if (!existsSync(keyPath)) {
    throw new InputError({
      where: keys,
      expected: `an authority's folder (with ${KEY_FILES.caKey})`,
      found: 'none',
      remedy: `edgewise keys init --out ${keys}`,
    })
  }
  const key = readSecret(keyPath)
  const [certificate] = readTrusted(keys).certificates
  let fits = false
  try {
    fits = new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key))
  } catch {
    // Text that is not a private key counts as a key that does not match.
  }
  if (fits) return { certificate, key }
  throw new InputError({
    where: keyPath,
    expected: `the key of the first certificate in ${KEY_FILES.ca}`,
    found: 'another key',
    remedy: 'copy the whole folder from where it was made',
  })
}

/** Certificates and revocation lists in an authority's folder, its own first. */
function readTrusted(keys: string): { certificates: string[]; lists: string[] } {
  const path = join(keys, KEY_FILES.ca)
  const text = readPem(path)
  readCertificates(text, path)
  const certificates = pemBlocks(text, 'CERTIFICATE')
  const lists = pemBlocks(readPem(join(keys, KEY_FILES.crl)), 'X509 CRL')
  if (lists.length === certificates.length) return { certificates, lists }
  throw new InputError({
    where: join(keys, KEY_FILES.crl),
    expected: `a list of each of the ${certificates.length} authorities in ${KEY_FILES.ca}`,
    found: `${lists.length}`,
    remedy: 'copy the whole folder from where it was made',
  })
}
