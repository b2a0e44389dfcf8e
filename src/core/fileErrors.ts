import { accessSync, constants, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { InputError } from './errors.ts'

/** What the codes of a file system's errors mean, in words. */
const WORDS: Readonly<Record<string, string>> = {
  EACCES: 'no permission',
  EPERM: 'an operation that is not permitted',
  EROFS: 'a read-only file system',
  ENOSPC: 'no space left on the disk',
  EDQUOT: 'a disk quota that is used up',
  ENOENT: 'no such file or folder',
  ENOTDIR: 'a file where a folder should be',
  EISDIR: 'a folder where a file should be',
  EEXIST: 'a file or folder of that name',
  ENOTEMPTY: 'a folder with files in it',
  ENAMETOOLONG: 'a name that is too long',
  ELOOP: 'symbolic links that lead in a circle',
  EMFILE: 'too many open files in this process',
  ENFILE: 'too many open files on this machine',
  EBUSY: 'a file that is in use',
  ETXTBSY: 'a program that is running',
  EFBIG: 'a file larger than the file system or the process may have',
  EIO: 'a disk that does not answer',
  ESTALE: 'a network file system that no longer knows the file',
  ENXIO: 'a device that is not there',
  EXDEV: 'two file systems where one is needed',
}

const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: 'make space, or name a folder on another disk',
  EDQUOT: 'make space, or name a folder on another disk',
  EMFILE: 'raise the limit of open files (ulimit -n)',
}

/** System calls of a file system. Sockets and child processes have errors with the same codes. */
const CALLS = new Set(
  'access chmod close copyfile fchmod fdatasync fstat fsync ftruncate link lstat mkdir mkdtemp open opendir read readlink realpath rename rm rmdir scandir stat symlink unlink utime write'.split(
    ' ',
  ),
)

/**
 * An error of the file system as an InputError, which names the path, what was wanted and the reason; null for any other
 * error. `path` stands where the system names none, as for `write` and `fsync`.
 */
export function fileProblem(error: unknown, path?: string): InputError | null {
  if (!(error instanceof Error)) return null
  const { code, syscall, path: named, dest } = error as NodeJS.ErrnoException & { dest?: string }
  if (code === undefined || !(code in WORDS) || syscall === undefined || !CALLS.has(syscall)) return null
  const where = [named ?? path ?? 'a file', ...(dest === undefined ? [] : [dest])].join(' -> ')
  return new InputError(
    {
      where,
      expected: `the system to allow '${syscall}'`,
      found: `${WORDS[code]} (${code})`,
      remedy: REMEDIES[code] ?? 'check the path and its permissions, or name another one',
    },
    { cause: error },
  )
}

/** Whether an error says that a file is not there: the file system's, or the InputError that it became. */
export function isMissingFile(error: unknown): boolean {
  const origin = error instanceof InputError ? error.cause : error
  return origin instanceof Error && (origin as NodeJS.ErrnoException).code === 'ENOENT'
}

/** Runs `action`; an error of the file system is thrown as an InputError that names `path`. */
export function onPath<T>(path: string, action: () => T): T {
  try {
    return action()
  } catch (error) {
    throw fileProblem(error, path) ?? error
  }
}

/**
 * Throws InputError unless a file or folder could be made or replaced at `path` now. For commands that work for long
 * before they write: what they found would be lost. The disk can still fill up meanwhile.
 */
export function checkWritable(path: string): void {
  onPath(path, () => {
    let there = resolve(path)
    while (!existsSync(there) && dirname(there) !== there) there = dirname(there)
    const isFolder = statSync(there).isDirectory()
    if (!isFolder && there !== resolve(path)) {
      throw new InputError({
        where: path,
        expected: 'a path whose folders are folders',
        found: `${there} is a file`,
        remedy: 'name another path',
      })
    }
    accessSync(isFolder ? there : dirname(there), constants.W_OK | constants.X_OK)
  })
}

/**
 * Makes the folder `path` and lets `fill` write its files. If `fill` throws, what it wrote into a new or empty folder
 * is removed again, so that the name stays free.
 */
export function fillFolder(path: string, mode: number, fill: () => void): void {
  const isNew = !existsSync(path)
  const isFree = isNew || readdirSync(path).length === 0
  onPath(path, () => mkdirSync(path, { recursive: true, mode }))
  try {
    fill()
  } catch (error) {
    if (isNew) rmSync(path, { recursive: true, force: true })
    else if (isFree)
      for (const name of readdirSync(path)) rmSync(join(path, name), { recursive: true, force: true })
    throw error
  }
}
