import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { InputError } from '../errors.ts'
import { HAS_MODES, readSecretText, readText, showMode, writeAtomic } from '../files.ts'

/** File names in key folders. */
export const KEY_FILES = {
  ca: 'ca.pem',
  caKey: 'ca-key.pem',
  crl: 'crl.pem',
  issued: 'issued.json',
  cert: 'cert.pem',
  key: 'key.pem',
  signingKey: 'signing-key.pem',
  signingPublic: 'signing-key.pub.pem',
  readme: 'README.md',
} as const

/** PEM files take a few kilobytes; a revocation list grows by about 40 bytes an entry. */
const MAX_PEM_BYTES = 4 * 1024 * 1024
/** Permissions of a folder with keys. */
export const OWNER_ONLY = 0o700

/** Refuses a folder that others can write to, and, unless `force`, one that has one of `files` already. */
export function checkKeyFolder(folder: string, files: readonly string[], force: boolean): void {
  if (existsSync(folder)) checkFolder(folder)
  const there = files.filter((file) => existsSync(join(folder, file)))
  if (there.length === 0 || force) return
  throw new InputError({
    where: folder,
    expected: 'a folder without keys',
    found: there.join(', '),
    remedy:
      'choose another folder; --force replaces the keys, and what was made with the old ones is no longer accepted',
  })
}

/** Refuses a folder that others can write to: they could replace the trusted keys. */
export function checkFolder(folder: string): void {
  const info = statSync(folder)
  if (!info.isDirectory())
    throw new InputError({ where: folder, expected: 'a folder', found: 'something else' })
  if (!HAS_MODES || (info.mode & 0o022) === 0) return
  throw new InputError({
    where: folder,
    expected: 'a folder that only its owner can write to',
    found: `mode ${showMode(info.mode)}`,
    remedy: `chmod go-w ${folder}`,
  })
}

/** Writes a file that only its owner can read. */
export function writeSecret(folder: string, file: string, text: string): void {
  writeAtomic(join(folder, file), text, 0o600)
}

/** Writes a file that everyone may read. */
export function writePublic(folder: string, file: string, text: string): void {
  writeAtomic(join(folder, file), text, 0o644)
}

/** Reads a PEM file. */
export function readPem(path: string): string {
  return readText(path, MAX_PEM_BYTES)
}

/** Reads a private key. Refuses one that others can read, because it may be known already. */
export function readSecret(path: string): string {
  return readSecretText(path, MAX_PEM_BYTES, 'a private key')
}

/** The PEM blocks with the given label, in order. */
export function pemBlocks(text: string, label: 'CERTIFICATE' | 'X509 CRL'): string[] {
  const pattern = new RegExp(`-----BEGIN ${label}-----[A-Za-z0-9+/=\\s]*-----END ${label}-----`, 'g')
  return [...text.matchAll(pattern)].map(([block]) => `${block}\n`)
}
