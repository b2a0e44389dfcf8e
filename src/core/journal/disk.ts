import { constants } from 'node:fs'
import { mkdir, open, readdir, rm } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { basename, dirname } from 'node:path'

/** The disk as an argument: tests make it fail at any byte. Every method rejects with what the system said. */
export interface Disk {
  /** Names of the files in a folder, which is made where it is missing. */
  list(folder: string): Promise<string[]>
  /** Opens for reading and writing; makes the file where it is missing. */
  open(path: string): Promise<DiskFile>
  /** Does nothing where there is none. */
  remove(path: string): Promise<void>
}

export interface DiskFile {
  size(): Promise<number>
  /** Bytes read: 0 at the end. */
  read(into: Uint8Array, position: number): Promise<number>
  /** Bytes written: at least 1, perhaps fewer than all. */
  write(bytes: Uint8Array, position: number): Promise<number>
  /** Resolves when what was written would outlive a loss of power. */
  sync(): Promise<void>
  truncate(length: number): Promise<void>
  close(): Promise<void>
}

/** The file system. Prompts and tokens are nobody else's: files and folders are the user's own. */
export const systemDisk: Disk = {
  async list(folder) {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    return readdir(folder)
  },
  async open(path) {
    const known = (await readdir(dirname(path))).includes(basename(path))
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600)
    // A new file is there after a loss of power only once its folder is synced.
    if (!known) await syncFolder(dirname(path))
    return fileOf(handle)
  },
  remove: (path) => rm(path, { force: true }),
}

function fileOf(handle: FileHandle): DiskFile {
  return {
    size: async () => (await handle.stat()).size,
    read: async (into, position) => (await handle.read(into, 0, into.length, position)).bytesRead,
    write: async (bytes, position) => (await handle.write(bytes, 0, bytes.length, position)).bytesWritten,
    sync: () => handle.datasync(),
    truncate: (length) => handle.truncate(length),
    close: () => handle.close(),
  }
}

async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  } catch {
    // Not every file system syncs folders; the file itself is written all the same.
  }
}
