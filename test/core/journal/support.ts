import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import ts from 'typescript'
import type { Clock } from '../../../src/core/clock.ts'
import type { Timers } from '../../../src/core/timers.ts'
import type { Disk, DiskFile } from '../../../src/core/journal/disk.ts'
import type { HeaderRecord } from '../../../src/core/journal/types.ts'
import { scanLines } from '../../../src/core/journal/scan.ts'

/** Calls `work` with a folder of its own, which is gone afterwards. */
export async function inFolder<T>(work: (folder: string) => Promise<T> | T): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'edgewise-journal-'))
  try {
    return await work(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Time that passes when a test says so. */
export class HandTime implements Clock, Timers {
  private now = 1000
  private readonly waiting = new Set<{ at: number; run: () => void }>()

  nowSeconds(): number {
    return this.now
  }

  wallTime(): string {
    return new Date(1e12 + 1000 * this.now).toISOString()
  }

  after(seconds: number, run: () => void): () => void {
    const entry = { at: this.now + seconds, run }
    this.waiting.add(entry)
    return () => this.waiting.delete(entry)
  }

  /** Time passes and nothing runs: the process is frozen. */
  jump(seconds: number): void {
    this.now += seconds
  }

  get pending(): number {
    return this.waiting.size
  }

  /** Lets time pass, and what it set off come to its end. */
  async pass(seconds: number): Promise<void> {
    this.now += seconds
    const due = [...this.waiting].filter(({ at }) => at <= this.now)
    for (const entry of due) if (this.waiting.delete(entry)) entry.run()
    await settled()
  }
}

/** Until nothing goes on any more on a disk in memory: it answers within a turn of the loop. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await new Promise((resolve) => setImmediate(resolve))
}

interface Stored {
  bytes: Buffer
  /** What a loss of power would leave. */
  durable: Buffer
}

/** A disk in memory that runs full or breaks when it is told to. */
export class MemoryDisk implements Disk {
  readonly files = new Map<string, Stored>()
  /** Bytes that may still be written; then `code`. */
  room = Infinity
  code = 'ENOSPC'
  /** While set, every call fails so. */
  broken: string | null = null
  brokenSync: string | null = null
  /** At most so many bytes a write. */
  most = Infinity
  syncs = 0
  writes = 0

  list(folder: string): Promise<string[]> {
    return this.answer(() =>
      [...this.files.keys()]
        .filter((path) => path.startsWith(folder))
        .map((path) => path.slice(folder.length + 1)),
    )
  }

  remove(path: string): Promise<void> {
    return this.answer(() => void this.files.delete(path))
  }

  open(path: string): Promise<DiskFile> {
    return this.answer(() => {
      const known = this.files.get(path)
      const file = known ?? { bytes: Buffer.alloc(0), durable: Buffer.alloc(0) }
      if (known === undefined) this.files.set(path, file)
      return this.handle(file)
    })
  }

  text(path: string): string {
    return this.files.get(path)?.bytes.toString('utf8') ?? ''
  }

  put(path: string, bytes: Uint8Array): void {
    this.files.set(path, { bytes: Buffer.from(bytes), durable: Buffer.from(bytes) })
  }

  private handle(file: Stored): DiskFile {
    return {
      size: () => this.answer(() => file.bytes.length),
      read: (into, position) =>
        this.answer(() =>
          file.bytes.copy(into, 0, position, Math.min(file.bytes.length, position + into.length)),
        ),
      write: (bytes, position) =>
        this.answer(() => {
          this.writes++
          const count = Math.min(bytes.length, this.room, this.most)
          if (count === 0) throw failure(this.code)
          this.room -= count
          const rest = file.bytes.subarray(position + count)
          file.bytes = Buffer.concat([file.bytes.subarray(0, position), bytes.subarray(0, count), rest])
          return count
        }),
      sync: () =>
        this.answer(() => {
          if (this.brokenSync !== null) throw failure(this.brokenSync)
          this.syncs++
          file.durable = Buffer.from(file.bytes)
        }),
      truncate: (length) => this.answer(() => void (file.bytes = file.bytes.subarray(0, length))),
      close: () => Promise.resolve(),
    }
  }

  private async answer<T>(work: () => T): Promise<T> {
    await Promise.resolve()
    if (this.broken !== null) throw failure(this.broken)
    return work()
  }
}

export function failure(code: string): Error {
  return Object.assign(new Error(`${code}: a disk of a test`), { code })
}

/** What a reader finds: records, and faults. */
export function scan(bytes: Uint8Array | string): { values: unknown[]; faults: string[] } {
  const lines = [...scanLines([Buffer.from(bytes)], 1 << 20)]
  return {
    values: lines.filter(({ fault }) => fault === null).map(({ value }) => value),
    faults: lines.flatMap(({ fault }) => (fault === null ? [] : [fault])),
  }
}

export const HEADER: HeaderRecord = {
  kind: 'header',
  version: 1,
  software: 'edgewise test',
  model: { id: 'tales', fingerprint: 'f00d' },
  observationVersion: 2,
  bundle: null,
  startedAt: '2026-03-01T12:00:00.000Z',
}

const root = resolve(import.meta.dirname, '../../..')

/** Puts the journal and a program as JavaScript into a folder, for a process of its own. Returns the program's path. */
export function writeProgram(folder: string, text: string): string {
  for (const room of ['src/core', 'src/core/journal']) {
    mkdirSync(join(folder, room), { recursive: true })
    for (const name of readdirSync(join(root, room)).filter((name) => name.endsWith('.ts'))) {
      const source = readFileSync(join(root, room, name), 'utf8')
      writeFileSync(join(folder, room, name.replace(/\.ts$/, '.js')), transpile(source))
    }
  }
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  const path = join(folder, 'program.js')
  writeFileSync(path, transpile(text))
  return path
}

function transpile(text: string): string {
  const { outputText } = ts.transpileModule(text, {
    compilerOptions: {
      module: ts.ModuleKind.ESNext,
      target: ts.ScriptTarget.ES2022,
      rewriteRelativeImportExtensions: true,
    },
  })
  return outputText
}
