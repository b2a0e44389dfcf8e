import {
  linkSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import type { Clock } from '../clock.ts'
import type { Timers } from '../timers.ts'
import { InputError } from '../errors.ts'
import { isMissingFile } from '../fileErrors.ts'

/** How often a holder renews its lock, in seconds. */
const BEAT_SECONDS = 5
/**
 * A holder that cannot be checked (in another container or on another machine) counts as dead after this many seconds
 * without a renewal.
 */
const STALE_SECONDS = 30

/** Keeps a second process out of a folder. The lock of a process that died in any way is released. */
export interface FolderLock {
  /**
   * Takes the lock; does nothing if it is held already.
   * @throws InputError if another process holds it; the disk's errors as they are
   */
  acquire(): void
  /**
   * Call before writing to the folder. Throws InputError if another process has taken the lock, because this one was
   * frozen for so long that it counted as dead. It never gets the lock back: the other one has written since.
   */
  verify(): void
  release(): void
}

/**
 * Identifies the process that holds a lock. Process ids are reused, so start time and, across a reboot, the boot id are
 * compared too.
 */
interface Holder {
  readonly pid: number
  readonly started: string | null
  readonly boot: string | null
  /** PID namespace in which `pid` is valid; null if unknown. */
  readonly space: string | null
}

/** Creates the lock object for `path`; nothing is locked before `acquire`. Errors tell each `who` to have its own folder. */
export function openLock(
  path: string,
  { clock, timers }: { clock: Clock; timers: Timers },
  who = 'edge',
): FolderLock {
  /** Contents of the lock file while it is held. */
  let text: string | null = null
  let isLost = false
  let cancel: (() => void) | null = null
  /** When the lock file was last seen to be ours, on the monotonic clock, which goes on while a container is frozen. */
  let seenSeconds = -Infinity
  const nowSeconds = () => Date.parse(clock.wallTime()) / 1000
  /** False if another process took the lock: a holder that was suspended for long counts as dead. */
  const isOurs = () => readHolder(path)?.text === text
  const renew = () => {
    utimesSync(path, nowSeconds(), nowSeconds())
    seenSeconds = clock.nowSeconds()
  }
  const beat = () => {
    cancel = timers.after(BEAT_SECONDS, () => {
      try {
        if (isOurs()) renew()
      } catch {
        // Ignored here: the log reports disk errors itself.
      }
      beat()
    })
  }
  return {
    acquire() {
      if (isLost) throw heldBy(path, readHolder(path)?.holder ?? null, who)
      if (text !== null) return
      text = take(path, nowSeconds, who)
      seenSeconds = clock.nowSeconds()
      beat()
    },
    verify() {
      // Nobody takes a lock over that was renewed within STALE_SECONDS.
      if (text === null || clock.nowSeconds() - seenSeconds < STALE_SECONDS / 2) return
      if (isOurs()) {
        renew()
        return
      }
      isLost = true
      throw heldBy(path, readHolder(path)?.holder ?? null, who)
    },
    release() {
      if (text === null) return
      cancel?.()
      try {
        if (isOurs()) rmSync(path, { force: true })
      } catch {
        // Ignored: other processes see that the holder is dead, and take the lock.
      }
      text = null
    },
  }
}

/**
 * Writes the lock through a hard link, which is created whole or not at all, so nobody reads half a lock. Returns its
 * contents.
 */
function take(path: string, nowSeconds: () => number, who: string): string {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const mine = `${path}.${process.pid}`
  const text = JSON.stringify(self())
  writeFileSync(mine, text, { mode: 0o600 })
  try {
    for (let attempt = 0; attempt < 3; attempt++) {
      if (tryLink(mine, path)) {
        utimesSync(path, nowSeconds(), nowSeconds())
        return text
      }
      const seen = readHolder(path)
      if (seen === null) continue
      if (!isDead(seen.holder, path, nowSeconds())) throw heldBy(path, seen.holder, who)
      removeStale(path, seen.text)
    }
    throw heldBy(path, null, who)
  } finally {
    rmSync(mine, { force: true })
  }
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/**
 * Deletes a stale lock. Another process may do the same at the same moment: a lock that was deleted by mistake is put
 * back.
 */
function removeStale(path: string, text: string): void {
  const aside = `${path}.${process.pid}.stale`
  try {
    renameSync(path, aside)
  } catch (error) {
    if (isMissingFile(error)) return
    throw error
  }
  if (readFileSync(aside, 'utf8') !== text) tryLink(aside, path)
  rmSync(aside, { force: true })
}

function readHolder(path: string): { holder: Holder | null; text: string } | null {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (isMissingFile(error)) return null
    throw error
  }
  try {
    const { pid, started, boot, space } = JSON.parse(text) as Partial<Holder>
    if (!Number.isInteger(pid)) return { holder: null, text }
    return { holder: { pid: pid!, started: started ?? null, boot: boot ?? null, space: space ?? null }, text }
  } catch {
    return { holder: null, text }
  }
}

function isDead(holder: Holder | null, path: string, nowSeconds: number): boolean {
  const me = self()
  if (holder !== null) {
    if (holder.boot !== me.boot) return silentSeconds(path, nowSeconds) > STALE_SECONDS
    if (holder.space === me.space) return !lives(holder)
  }
  return silentSeconds(path, nowSeconds) > STALE_SECONDS
}

function silentSeconds(path: string, nowSeconds: number): number {
  try {
    return nowSeconds - statSync(path).mtimeMs / 1000
  } catch {
    return Infinity
  }
}

function lives({ pid, started }: Holder): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    // EPERM: the process is alive and belongs to another user.
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  const now = startOf(pid)
  return started === null || now === null || now === started
}

function self(): Holder {
  return {
    pid: process.pid,
    started: startOf(process.pid),
    boot: readOr(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()),
    space: readOr(() => readlinkSync('/proc/self/ns/pid')),
  }
}

/** Clock ticks from boot to the start of a process (proc(5), field 22 of stat); null without /proc. */
function startOf(pid: number): string | null {
  return readOr(() => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The process name in parentheses may itself hold spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // A zombie has ended and holds no lock.
    return fields[0] === 'Z' ? 'ended' : fields[19]
  })
}

function readOr(read: () => string): string | null {
  try {
    return read()
  } catch {
    return null
  }
}

function heldBy(path: string, holder: Holder | null, who: string): InputError {
  return new InputError({
    where: dirname(path),
    expected: 'a folder that no other process writes to',
    found: holder === null ? 'a lock' : `process ${holder.pid} at work`,
    remedy: `give each ${who} a folder of its own; a process that ended lets go within ${STALE_SECONDS} s`,
  })
}
