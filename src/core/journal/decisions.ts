import { readdirSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { InputError, show } from '../errors.ts'
import { onPath } from '../fileErrors.ts'
import { openAppend } from './appendFile.ts'
import type { AppendFile } from './appendFile.ts'
import { systemDisk } from './disk.ts'
import type { LineFault } from './line.ts'
import { openLock } from './lock.ts'
import { numberedPath, numbersOf } from './rotation.ts'
import { chunksOf, scanLines } from './scan.ts'
import { claimedVersion, LOG_VERSIONS, logRecordSchema } from './schema.ts'
import type { AppendHealth, AppendOptions, HeaderRecord, LogRecord } from './types.ts'

const FILE_NAME = 'decisions.jsonl'
const LOCK_NAME = 'decisions.lock'
const DEFAULT_FILE_BYTES = 64 * 1024 * 1024
/** Longest line that the reader accepts and the writer writes, in bytes. */
const MAX_LOG_LINE_BYTES = 1024 * 1024
const MAX_LOG_FILE_BYTES = 4 * 1024 ** 3

/** AppendOptions that a caller of openDecisionLog may set. */
type DecisionLogOptions = Omit<AppendOptions, 'head' | 'prepare' | 'startAnew' | 'maxLineBytes'>

/**
 * Opens the decision log in `folder` (`decisions.00001.jsonl` and on; by default 64 MiB a file, and the last 10 files
 * are kept). A disk error does not reject: `health` reports it, and the log recovers by itself.
 * @throws InputError if another process writes to the folder, or a file is not a decision log
 */
export async function openDecisionLog(
  folder: string,
  header: HeaderRecord,
  options: DecisionLogOptions,
): Promise<DecisionLog> {
  const lock = openLock(join(folder, LOCK_NAME), options)
  const append: AppendOptions = {
    maxBytes: DEFAULT_FILE_BYTES,
    ...options,
    maxLineBytes: MAX_LOG_LINE_BYTES,
    head: () => [header],
    prepare: async () => {
      await (options.disk ?? systemDisk).list(folder)
      lock.acquire()
    },
    verify: () => lock.verify(),
  }
  try {
    const file = await openAppend(join(folder, FILE_NAME), append)
    return new DecisionLog(file, () => lock.release())
  } catch (error) {
    lock.release()
    throw error
  }
}

/** Writes the decisions of a device and their outcomes to disk. */
export class DecisionLog {
  private readonly file: AppendFile
  private readonly unlock: () => void

  constructor(file: AppendFile, unlock: () => void) {
    this.file = file
    this.unlock = unlock
  }

  /** Appends a record. Returns immediately and never throws. */
  write(record: LogRecord): void {
    // A heartbeat is worth no wear of a memory card: the next record of weight takes it along.
    this.file.append(record, record.kind === 'heartbeat')
  }

  /** Resolves true once everything written before is synced, false if it is known not to be. */
  flush(): Promise<boolean> {
    return this.file.flush()
  }

  get health(): AppendHealth {
    return this.file.health
  }

  async close(): Promise<void> {
    await this.file.close()
    this.unlock()
  }
}

/** A line that holds no record. `headless`: no header came before it, so its times have no origin. */
export interface LogProblem {
  readonly file: string
  /** Line number, from 1. */
  readonly line: number
  /** Bytes from the start of the file. */
  readonly offset: number
  readonly what: LineFault | 'schema' | 'headless'
  readonly detail: string
}

/** Callbacks of readDecisionLog. */
export interface ReadLogOptions {
  /** Called for each line that holds no record; reading goes on. */
  readonly onProblem?: (problem: LogProblem) => void
  /** Called with all bytes of the files in order, for example to hash them. */
  readonly onBytes?: (bytes: Uint8Array) => void
  readonly maxLineBytes?: number
  readonly maxFileBytes?: number
}

/**
 * Reads the records of a log folder (all files, in order) or of one file, one line at a time. Damaged lines are
 * reported and skipped.
 * @throws InputError if `path` is not a decision log, or has another version
 */
export function* readDecisionLog(path: string, options: ReadLogOptions = {}): Generator<LogRecord> {
  for (const file of logFiles(path)) {
    yield* decodeDecisions(
      watch(chunksOf(file, options.maxFileBytes ?? MAX_LOG_FILE_BYTES), options),
      file,
      options,
    )
  }
}

function* watch(chunks: Iterable<Uint8Array>, { onBytes }: ReadLogOptions): Generator<Uint8Array> {
  for (const chunk of chunks) {
    onBytes?.(chunk)
    yield chunk
  }
}

/**
 * Decodes the records of one file's bytes.
 * @throws InputError for a log of another version
 */
export function* decodeDecisions(
  chunks: Iterable<Uint8Array>,
  file: string,
  { onProblem, maxLineBytes = MAX_LOG_LINE_BYTES }: ReadLogOptions = {},
): Generator<LogRecord> {
  let headed = false
  for (const { line, offset, value, fault } of scanLines(chunks, maxLineBytes)) {
    const tell = (what: LogProblem['what'], detail: string) =>
      onProblem?.({ file, line, offset, what, detail })
    if (fault !== null) {
      tell(fault, FAULTS[fault])
      continue
    }
    checkVersion(value, `${file}:${line}`)
    const parsed = logRecordSchema.safeParse(value)
    if (!parsed.success) {
      const [issue] = parsed.error.issues
      tell('schema', show(`${issue.path.join('.')}: ${issue.message}`, 200))
      continue
    }
    headed ||= parsed.data.kind === 'header'
    if (headed) yield parsed.data
    else tell('headless', `a ${parsed.data.kind} before any header`)
  }
}

const FAULTS: Readonly<Record<LineFault, string>> = {
  torn: 'the last line has no end',
  long: 'longer than any line of a log',
  crc: 'not the bytes that were written',
  json: 'no JSON',
}

function checkVersion(value: unknown, where: string): void {
  const version = claimedVersion(value)
  if (version === null || LOG_VERSIONS.some((known) => known === version)) return
  throw new InputError({
    where,
    expected: `a decision log of version ${LOG_VERSIONS.join(' or ')}`,
    found: `version ${show(version)}`,
    remedy: 'read it with the edgewise that wrote it, or a newer one',
  })
}

/**
 * Paths of the log's files, in order.
 * @throws InputError if there is none, or `path` cannot be read
 */
function logFiles(path: string): string[] {
  if (!onPath(path, () => statSync(path)).isDirectory()) return [path]
  const base = join(path, FILE_NAME)
  const numbers = numbersOf(base, readdirSync(path))
  if (numbers.length === 0) {
    const expected = `files such as ${basename(numberedPath(base, 1))}`
    throw new InputError({
      where: path,
      expected,
      found: 'none',
      remedy: 'name the folder of a decision log',
    })
  }
  return numbers.map((number) => numberedPath(base, number))
}
