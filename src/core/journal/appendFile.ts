import { dirname } from 'node:path'
import type { Clock } from '../clock.ts'
import type { Timers } from '../timers.ts'
import { InputError } from '../errors.ts'
import { systemDisk } from './disk.ts'
import type { Disk, DiskFile } from './disk.ts'
import { encodeLine } from './line.ts'
import { numberedPath, numbersOf } from './rotation.ts'
import { cutTornLine } from './tail.ts'
import type { AppendHealth, AppendOptions } from './types.ts'

const DEFAULT_SYNC_SECONDS = 1
/**
 * Shortest time between two syncs of lines that say nothing new by themselves, such as heartbeats: an idle device would
 * wear its memory card out.
 */
const LAZY_SYNC_SECONDS = 60
/**
 * Longest time between `append` and the write. Written lines survive a killed process, because the operating system
 * holds them; lines not yet written are lost.
 */
const MAX_WRITE_SECONDS = 0.1
const DEFAULT_RETRY_SECONDS = 5
const DEFAULT_KEEP_FILES = 10
const DEFAULT_LINE_BYTES = 1024 * 1024
/** Characters written in one go. When more than this waits, it is written without waiting for the timer. */
const BATCH_CHARS = 64 * 1024
/** When more characters than this wait, the disk is too slow, and further records are dropped. */
const MAX_WAITING_CHARS = 32 * 1024 * 1024

type Reason = 'write' | 'sync' | 'retry'

interface Waiter {
  readonly upTo: number
  resolve(synced: boolean): void
}

/**
 * Opens a log for appending; see AppendFile. Rejects only if the file is not an edgewise log, never for a disk error.
 */
export async function openAppend(path: string, options: AppendOptions): Promise<AppendFile> {
  const file = new AppendFile(path, options)
  await file.start()
  return file
}

/**
 * Appends JSON lines (line.ts) in order. `append` returns immediately: lines are written within MAX_WRITE_SECONDS and
 * synced at most every `syncSeconds`.
 * After a disk error records are dropped and counted, and the file is reopened every `retrySeconds`. `append` never
 * throws.
 */
export class AppendFile {
  private readonly path: string
  private readonly disk: Disk
  private readonly clock: Clock
  private readonly timers: Timers
  private readonly options: AppendOptions
  private readonly syncSeconds: number
  private readonly writeSeconds: number
  private readonly batchChars: number
  private file: DiskFile | null = null
  private number = 0
  private position = 0
  /**
   * Bytes written when the current file was opened (its head). It is rotated only after at least as many more bytes.
   */
  private headBytes = 0
  private waiting: string[] = []
  private waitingChars = 0
  private appended = 0
  private synced = 0
  /** `appended` after the last line that is not lazy. */
  private urgent = 0
  /** Lines in the file that are not synced: a power loss could lose them. */
  private unsynced = 0
  private dropped = 0
  private lastError: string | null = null
  /** The disk failed and the retry time has not come: every record is dropped. */
  private failed = false
  /** Whether anything was written since the file was opened. */
  private wrote = false
  /** True from an error until something was written and synced again. */
  private recovering = false
  private closed = false
  private lastSync = -Infinity
  private waiters: Waiter[] = []
  private pumping: Promise<void> | null = null
  private timer: { readonly reason: Reason; readonly cancel: () => void } | null = null

  constructor(path: string, options: AppendOptions) {
    this.path = path
    this.options = options
    this.disk = options.disk ?? systemDisk
    this.clock = options.clock
    this.timers = options.timers
    this.syncSeconds = options.syncSeconds ?? DEFAULT_SYNC_SECONDS
    this.writeSeconds = Math.min(this.syncSeconds, MAX_WRITE_SECONDS)
    this.batchChars = Math.min(BATCH_CHARS, options.maxBytes ?? Infinity)
  }

  /** Opens the file. Call once, before anything else. */
  async start(): Promise<void> {
    try {
      await this.openFile(this.options.startAnew === true)
    } catch (error) {
      if (error instanceof InputError) {
        await this.letGo()
        throw error
      }
      await this.fail(error)
    }
  }

  /**
   * Appends a record without throwing or waiting. A record that is not JSON or is too long is dropped and counted.
   * `isLazy`: it need not be synced before LAZY_SYNC_SECONDS are over, or another record is.
   */
  append(record: object, isLazy = false): void {
    let line: string
    try {
      line = encodeLine(record)
    } catch (error) {
      this.drop((error as Error).message)
      return
    }
    this.appendLine(line, isLazy)
  }

  /** Like `append`, for a line that is encoded already. */
  appendLine(line: string, isLazy = false): void {
    if (this.failed || this.closed) this.dropped++
    else if (this.isTooLong(line)) this.drop('a record too long')
    else if (this.waitingChars > MAX_WAITING_CHARS) this.drop('the disk is too slow')
    else {
      this.waiting.push(line)
      this.waitingChars += line.length
      this.appended++
      if (!isLazy) this.urgent = this.appended
      if (this.syncSeconds === 0 || this.waitingChars >= BATCH_CHARS) this.pump()
      else this.arm('write', this.writeSeconds)
    }
  }

  private isTooLong(line: string): boolean {
    const limit = this.options.maxLineBytes ?? DEFAULT_LINE_BYTES
    return 3 * line.length > limit && Buffer.byteLength(line) > limit
  }

  /** Resolves true once everything appended before is synced, false if it is known not to be. */
  async flush(): Promise<boolean> {
    if (this.failed || this.closed) return false
    if (this.synced >= this.appended) return !this.recovering
    const done = new Promise<boolean>((resolve) => this.waiters.push({ upTo: this.appended, resolve }))
    this.pump()
    return done
  }

  get health(): AppendHealth {
    const { recovering, dropped, lastError } = this
    return { ok: !recovering, dropped, lastError }
  }

  /** Writes waiting lines, then closes the file. Later records are dropped. */
  async close(): Promise<void> {
    if (this.closed) return
    await this.flush()
    this.closed = true
    this.disarm()
    await this.pumping
    await this.letGo()
  }

  private drop(reason: string): void {
    this.dropped++
    this.lastError = reason
  }

  private arm(reason: Reason, seconds: number): void {
    // A timer for a write replaces a pending, later one for a sync.
    if (this.timer !== null && !(this.timer.reason === 'sync' && reason === 'write')) return
    this.disarm()
    const cancel = this.timers.after(seconds, () => {
      this.timer = null
      if (reason === 'retry') this.retry()
      else this.pump()
    })
    this.timer = { reason, cancel }
  }

  private disarm(): void {
    this.timer?.cancel()
    this.timer = null
  }

  /** Starts the writer if none is running; lines that arrive meanwhile are written in its next round. */
  private pump(): void {
    if (this.pumping !== null || this.failed || this.file === null) return
    this.occupy(() => this.work())
  }

  /** Runs `work` after what is running. Records appended in one turn of the event loop are written together. */
  private occupy(work: () => Promise<void>): void {
    const mine = (this.pumping ?? Promise.resolve()).then(work).finally(() => {
      if (this.pumping !== mine) return
      this.pumping = null
      // A flush may have been requested since `waiters` was last checked.
      if (this.waiters.length > 0 || this.waiting.length > 0) this.pump()
    })
    this.pumping = mine
  }

  private async work(): Promise<void> {
    this.disarm()
    try {
      for (;;) {
        while (this.waiting.length > 0) await this.writeBatch(this.take())
        if (this.synced >= this.appended) break
        const pause =
          this.synced < this.urgent ? this.syncSeconds : Math.max(this.syncSeconds, LAZY_SYNC_SECONDS)
        const due = this.lastSync + pause - this.clock.nowSeconds()
        if (due > 0 && this.waiters.length === 0) {
          this.arm('sync', due)
          break
        }
        await this.sync()
      }
    } catch (error) {
      await this.fail(error)
    }
  }

  private take(): string[] {
    let count = 0
    let chars = 0
    while (count < this.waiting.length && chars < this.batchChars) chars += this.waiting[count++].length
    this.waitingChars -= chars
    return this.waiting.splice(0, count)
  }

  private async writeBatch(lines: readonly string[]): Promise<void> {
    const bytes = Buffer.from(lines.join(''))
    const { maxBytes } = this.options
    const limit = maxBytes === undefined ? Infinity : Math.max(maxBytes, 2 * this.headBytes)
    try {
      this.options.verify?.()
      if (this.position > this.headBytes && this.position + bytes.length > limit) await this.rotate()
    } catch (error) {
      this.dropped += lines.length
      throw error
    }
    await this.write(bytes, lines.length)
  }

  /** Counts a line as dropped unless it was written whole: the torn rest is cut off when the file is reopened. */
  private async write(bytes: Uint8Array, lines: number): Promise<void> {
    let done = 0
    try {
      while (done < bytes.length) done += await this.file!.write(bytes.subarray(done), this.position + done)
      this.position += done
      this.unsynced += lines
      this.wrote = true
    } catch (error) {
      this.dropped += Math.max(0, lines - countLines(bytes.subarray(0, done)))
      throw error
    }
  }

  private async sync(): Promise<void> {
    const upTo = this.appended
    this.lastSync = this.clock.nowSeconds()
    await this.syncFile()
    this.synced = upTo
    this.settle((waiter) => waiter.upTo <= upTo, true)
  }

  /**
   * After a sync error the state of all unsynced lines is unknown, and a second fsync would report success regardless.
   * So they count as dropped.
   */
  private async syncFile(): Promise<void> {
    const { unsynced } = this
    try {
      await this.file!.sync()
      this.unsynced -= unsynced
      // A sync alone proves nothing, because a full disk syncs what it has: only a write shows that there is space
      // again.
      if (this.wrote) this.recovering = false
    } catch (error) {
      this.dropped += unsynced
      this.unsynced = 0
      throw error
    }
  }

  private settle(which: (waiter: Waiter) => boolean, synced: boolean): void {
    const settled = this.waiters.filter(which)
    this.waiters = this.waiters.filter((waiter) => !which(waiter))
    for (const waiter of settled) waiter.resolve(synced)
  }

  private async rotate(): Promise<void> {
    await this.syncFile()
    await this.letGo()
    await this.openFile(true)
  }

  /** Opens the last file, or the next one if `anew`, and writes the head records. */
  private async openFile(anew: boolean): Promise<void> {
    await this.options.prepare?.()
    const numbers = numbersOf(this.path, await this.disk.list(dirname(this.path)))
    const rotates = this.options.maxBytes !== undefined
    const last = numbers.at(-1) ?? 0
    this.number = anew || last === 0 ? last + 1 : last
    const path = rotates ? numberedPath(this.path, this.number) : this.path
    this.file = await this.disk.open(path)
    this.wrote = false
    this.position = await cutTornLine(this.file, this.options.maxLineBytes ?? DEFAULT_LINE_BYTES, path)
    const start = this.position
    await this.writeHead()
    this.headBytes = this.position - start
    if (rotates) await this.prune(numbers)
  }

  private async writeHead(): Promise<void> {
    let lines: string[] = []
    let chars = 0
    const put = async () => {
      await this.write(Buffer.from(lines.join('')), 0)
      lines = []
      chars = 0
    }
    for (const record of this.options.head?.() ?? []) {
      const line = encodeLine(record)
      lines.push(line)
      chars += line.length
      if (chars >= BATCH_CHARS) await put()
    }
    if (lines.length > 0) await put()
    // Sync before pruning: a file that is about to be deleted may hold the only other copy.
    if (this.position > 0) await this.syncFile()
  }

  /** Deletes the oldest files beyond `keepFiles`. Deletion of a file that could not be deleted is retried next time. */
  private async prune(numbers: readonly number[]): Promise<void> {
    const keep = this.options.keepFiles ?? DEFAULT_KEEP_FILES
    const all = numbers.includes(this.number) ? numbers : [...numbers, this.number]
    for (const number of all.slice(0, Math.max(0, all.length - keep))) {
      await this.disk.remove(numberedPath(this.path, number)).catch(() => undefined)
    }
  }

  /** Drops waiting lines, reports the error once, and schedules a retry. */
  private async fail(error: unknown): Promise<void> {
    const cause = error instanceof Error ? error : new Error(String(error))
    const first = !this.recovering
    this.failed = true
    this.recovering = true
    this.dropped += this.waiting.length
    this.waiting = []
    this.waitingChars = 0
    this.synced = this.appended
    // The code of an InputError says less than its message.
    const code = cause instanceof InputError ? undefined : (cause as NodeJS.ErrnoException).code
    this.lastError = code ?? cause.message
    this.disarm()
    if (!this.closed) this.arm('retry', this.options.retrySeconds ?? DEFAULT_RETRY_SECONDS)
    const gone = this.letGo()
    if (first) this.options.onError?.(cause)
    this.settle(() => true, false)
    await gone
  }

  /** Accepts records again; they follow the head records of the reopened file. */
  private retry(): void {
    this.failed = false
    this.occupy(() => this.reopen())
  }

  private async reopen(): Promise<void> {
    try {
      await this.openFile(false)
    } catch (error) {
      await this.fail(error)
    }
  }

  private async letGo(): Promise<void> {
    const { file } = this
    this.file = null
    await file?.close().catch(() => undefined)
  }
}

function countLines(bytes: Uint8Array): number {
  let lines = 0
  for (const byte of bytes) if (byte === 0x0a) lines++
  return lines
}
