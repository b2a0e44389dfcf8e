import { createHash, timingSafeEqual } from 'node:crypto'
import { InputError, show } from '../../core/errors.ts'
import { readSecretText, readText } from '../../core/files.ts'

/** Whose requests these are where no keys are asked for. */
export const ANONYMOUS = 'anonymous'

const KEY_BYTES = 32
const PREFIX = 'ew-'
const MAX_KEYS = 1024
const MAX_FILE_BYTES = 256 * 1024
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
const HASHED = /^([^\s:]+):([0-9a-f]{64})$/
const PLAIN = /^(\S+)\s+([\x21-\x7e]{16,256})$/

interface StoredKey {
  readonly name: string
  readonly digest: Buffer
}

/** API keys by name; only their hashes are kept. A name may have several, so that a key can be replaced by and by. */
export class ApiKeys {
  readonly size: number
  private readonly stored: readonly StoredKey[]

  constructor(stored: readonly StoredKey[]) {
    this.stored = stored
    this.size = stored.length
  }

  /** The name whose key this is, else null. Takes as long whichever key it is. */
  find(key: string): string | null {
    const digest = digestOf(key)
    let name: string | null = null
    for (const one of this.stored) if (timingSafeEqual(one.digest, digest)) name = one.name
    return name
  }
}

/**
 * Reads a file of keys, see parseApiKeys. Throws InputError for one that is unreadable, empty or wrong, and for one with
 * a key in plain text that others can read; hashes may be read by anyone.
 */
export function readApiKeys(path: string): ApiKeys {
  const text = readText(path, MAX_FILE_BYTES)
  const keys = parseApiKeys(text, path)
  if (linesOf(text).some(({ line }) => !HASHED.test(line)))
    readSecretText(path, MAX_FILE_BYTES, 'a file of API keys')
  return keys
}

/** The lines that hold keys, with their numbers from 1. */
function linesOf(text: string): { readonly line: string; readonly number: number }[] {
  return text
    .split('\n')
    .map((raw, i) => ({ line: raw.trim(), number: i + 1 }))
    .filter(({ line }) => line !== '' && !line.startsWith('#'))
}

/**
 * Lines of `name:<SHA-256 of the key in hexadecimal>` or `name key` (a key has 16 characters at least); empty ones and
 * those that begin with # are left out. Errors name the line, never the key.
 */
export function parseApiKeys(text: string, where: string): ApiKeys {
  const stored: StoredKey[] = []
  const owners = new Map<string, string>()
  for (const { line, number } of linesOf(text)) {
    const key = parseLine(line, `${where}:${number}`)
    const digest = key.digest.toString('hex')
    const owner = owners.get(digest) ?? key.name
    if (owner !== key.name) {
      const found = `the key of ${owner} again`
      throw new InputError({ where: `${where}:${number}`, expected: 'a key of its own for each name', found })
    }
    if (!owners.has(digest)) stored.push(key)
    owners.set(digest, key.name)
  }
  if (stored.length > 0 && stored.length <= MAX_KEYS) return new ApiKeys(stored)
  throw new InputError({ where, expected: `1 to ${MAX_KEYS} API keys`, found: `${stored.length}` })
}

function parseLine(line: string, where: string): StoredKey {
  const hashed = HASHED.exec(line)
  const [, name, rest] = hashed ?? PLAIN.exec(line) ?? []
  if (name === undefined || !NAME.test(name) || name === ANONYMOUS) {
    throw new InputError({
      where,
      expected: '`name:<SHA-256 in lower-case hexadecimal>` or `name key`, the key of 16 characters or more',
      found: name === undefined ? 'neither' : `the name ${show(name)}`,
      remedy: 'names have letters, digits, dots, underscores and hyphens, and are not `anonymous`',
    })
  }
  return { name, digest: hashed === null ? digestOf(rest) : Buffer.from(rest, 'hex') }
}

/**
 * A new key out of 32 random bytes (of a cryptographic source), and the line that a file of keys keeps of it. Throws
 * RangeError for fewer bytes, InputError for a name that cannot stand in such a file.
 */
export function newApiKey(
  name: string,
  randomBytes: Uint8Array,
): { readonly key: string; readonly line: string } {
  if (randomBytes.length < KEY_BYTES) {
    throw new RangeError(`randomBytes: expected at least ${KEY_BYTES}, found ${randomBytes.length}`)
  }
  const key = PREFIX + Buffer.from(randomBytes).toString('base64url')
  const line = `${name}:${digestOf(key).toString('hex')}`
  if (parseLine(line, `API key ${show(name)}`).name === name) return { key, line }
  throw new InputError({ where: 'API key', expected: 'a name without spaces', found: show(name) })
}

function digestOf(key: string): Buffer {
  return createHash('sha256').update(key).digest()
}
