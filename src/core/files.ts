import { createHash, randomUUID } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname, isAbsolute, relative, resolve } from 'node:path'
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
  const temporary = `${path}.${randomUUID()}.tmp`
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
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
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
