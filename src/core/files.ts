import { createHash, randomUUID } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname, isAbsolute, join, relative, resolve } from 'node:path'
import { InputError } from './errors.ts'
import { fileProblem, onPath } from './fileErrors.ts'

/** Reads a whole file of at most `maxBytes` bytes. Checks the size before it allocates. */
export function readCapped(path: string, maxBytes: number): Buffer {
  let size: number
  try {
    const info = statSync(path)
    if (!info.isFile())
      throw new InputError({
        where: path,
        expected: 'a file',
        found: 'something else',
        remedy: 'name a regular file',
      })
    size = info.size
  } catch (error) {
    if (error instanceof InputError) throw error
    throw fileProblem(error, path) ?? error
  }
  if (size > maxBytes) {
    throw new InputError({
      where: path,
      expected: `at most ${maxBytes} bytes`,
      found: `${size} bytes`,
      remedy: 'check that this is the intended file and that it is undamaged',
    })
  }
  return onPath(path, () => readFileSync(path))
}

/** Reads a file of at most `maxBytes` bytes as UTF-8 text. */
export function readText(path: string, maxBytes = 64 * 1024 * 1024): string {
  return readCapped(path, maxBytes).toString('utf8')
}

/** Windows has no POSIX permissions: files are protected by access lists there. */
export const HAS_MODES = process.platform !== 'win32'

/** Permissions of a file as chmod takes them, e.g. `0640`. */
export function showMode(mode: number): string {
  return `0${(mode & 0o777).toString(8).padStart(3, '0')}`
}

/**
 * Reads a file with a secret, at most `maxBytes` long. Throws InputError if others can read it, because then it may be
 * known already. `what` names the secret in the error.
 */
export function readSecretText(path: string, maxBytes: number, what: string): string {
  const text = readText(path, maxBytes)
  const { mode } = onPath(path, () => statSync(path))
  if (!HAS_MODES || (mode & 0o077) === 0) return text
  throw new InputError({
    where: path,
    expected: `${what} that only its owner can read (mode 0600)`,
    found: `mode ${showMode(mode)}`,
    remedy: `chmod 600 ${path}; if somebody may have read it, make another and revoke this one`,
  })
}

/**
 * Writes a temporary file beside the target, syncs it and renames it: readers see the old file or the new one, never a
 * part. The file has permissions `mode` from its creation on.
 */
export function writeAtomic(path: string, data: string | Uint8Array, mode = 0o666): void {
  writeChunks(path, [typeof data === 'string' ? Buffer.from(data) : data], mode)
}

/** Like writeAtomic, from parts that are never joined: a layer's weights may take hundreds of megabytes. */
export function writeChunks(path: string, chunks: Iterable<Uint8Array>, mode = 0o666): void {
  onPath(path, () => replaceFile(path, chunks, mode))
}

function replaceFile(path: string, chunks: Iterable<Uint8Array>, mode: number): void {
  mkdirSync(dirname(path), { recursive: true })
  const temporary = temporaryName(path)
  try {
    const handle = openSync(temporary, 'wx', mode)
    try {
      for (const chunk of chunks) {
        for (let written = 0; written < chunk.byteLength;) written += writeSync(handle, chunk, written)
      }
      fsyncSync(handle)
    } finally {
      closeSync(handle)
    }
    sweep(dirname(path), statSync(temporary).mtimeMs)
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
}

const TEMPORARY = /\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tmp$/
/** A temporary file or folder of this age, in milliseconds, is one that a killed process left. */
const LEFT_BEHIND_MS = 3_600_000
const swept = new Set<string>()

/** A name beside `path` for what will be renamed to it when it is whole. Such names are swept if they stay behind. */
export function temporaryName(path: string): string {
  return `${path}.${randomUUID()}.tmp`
}

/** Removes what killed processes left in a folder, once in the life of this process. `nowMs` is the file system's time. */
function sweep(folder: string, nowMs: number): void {
  const name = resolve(folder)
  if (swept.has(name)) return
  swept.add(name)
  try {
    for (const left of readdirSync(folder)) {
      if (!TEMPORARY.test(left)) continue
      const path = join(folder, left)
      const info = statSync(path, { throwIfNoEntry: false })
      if (info !== undefined && nowMs - info.mtimeMs > LEFT_BEHIND_MS)
        rmSync(path, { recursive: true, force: true })
    }
  } catch (error) {
    // A folder that cannot be listed, or what another user left in a shared one, is no reason to write nothing.
    if (fileProblem(error) === null) throw error
  }
}

/** Resolves the relative path `path` inside `root`. Throws InputError if it would lead outside. */
export function resolveInside(root: string, path: string): string {
  const full = resolve(root, path)
  const inside = relative(resolve(root), full)
  if (isAbsolute(path) || inside === '' || inside.startsWith('..') || isAbsolute(inside)) {
    throw new InputError({
      where: path,
      expected: `a relative path inside ${root}`,
      found: 'a path that leaves it',
    })
  }
  return full
}

/** Lower-case hexadecimal SHA-256. */
export function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

/** JSON with sorted keys and no spaces: equal values give equal bytes. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner) && !ArrayBuffer.isView(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
}
