import { constants } from 'node:fs'
import { mkdir, open, readdir, rm } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { basename, dirname } from 'node:path'

/**
 * The disk as an argument, so that tests can make it fail at any byte. Every method rejects with the system's error.
 */
export interface Disk {
  /** Lists the names in a folder, and creates the folder if missing. */
  list(folder: string): Promise<string[]>
  /** Opens a file for reading and writing, and creates it if missing. */
  open(path: string): Promise<DiskFile>
  /** Deletes a file; does nothing if it does not exist. */
  remove(path: string): Promise<void>
}

export interface DiskFile {
  size(): Promise<number>
  /** Resolves to the number of bytes read: 0 at the end of the file. */
  read(into: Uint8Array, position: number): Promise<number>
  /** Resolves to the number of bytes written: at least 1, possibly fewer than all. */
  write(bytes: Uint8Array, position: number): Promise<number>
  /** Resolves when written bytes would survive a power loss. */
  sync(): Promise<void>
  truncate(length: number): Promise<void>
  close(): Promise<void>
}

/** The file system. Logs hold prompts and tokens, so files and folders are accessible to their owner only. */
export const systemDisk: Disk = {
  async list(folder) {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    return readdir(folder)
  },
  async open(path) {
    const known = (await readdir(dirname(path))).includes(basename(path))
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600)
    // A new file survives a power loss only once its folder is synced.
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
    // Not every file system can sync a folder; the file itself is still synced.
  }
}
