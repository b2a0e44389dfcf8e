import { createHash } from 'node:crypto'
import { closeSync, lstatSync, openSync, readdirSync, readSync, statSync } from 'node:fs'
import { join, sep } from 'node:path'
import { IntegrityError } from '../../core/errors.ts'

/** A file of a pack: where it comes from, and its path in the folder, with slashes. */
export interface PackedFile {
  readonly from: string
  readonly to: string
}

const CHUNK_BYTES = 1024 * 1024
/** A pack has about a hundred files; a folder far beyond is another thing. */
const MAX_ENTRIES = 100_000

/** Paths of all files below a folder, with slashes, sorted. Throws IntegrityError for a link: it may lead outside. */
export function filesBelow(folder: string): string[] {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  if (names.length > MAX_ENTRIES) {
    throw new IntegrityError(folder, `at most ${MAX_ENTRIES} files and folders`, String(names.length))
  }
  return names
    .filter((name) => {
      const info = lstatSync(join(folder, name))
      if (info.isDirectory()) return false
      if (info.isFile()) return true
      throw new IntegrityError(join(folder, name), 'a file or a folder', 'a link or a device')
    })
    .map((name) => name.split(sep).join('/'))
    .sort()
}

interface FileDigest {
  readonly bytes: number
  /** Lower-case hexadecimal SHA-256. */
  readonly sha256: string
}

/** Size and hash of a file of any size. */
export function digestOf(path: string): FileDigest {
  const hash = createHash('sha256')
  const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, Math.max(1, statSync(path).size)))
  const handle = openSync(path, 'r')
  try {
    let bytes = 0
    for (let read = readSync(handle, chunk); read > 0; read = readSync(handle, chunk)) {
      hash.update(chunk.subarray(0, read))
      bytes += read
    }
    return { bytes, sha256: hash.digest('hex') }
  } finally {
    closeSync(handle)
  }
}
