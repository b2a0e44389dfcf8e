import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { onPath } from '../../core/fileErrors.ts'
import { InputError, show } from '../../core/errors.ts'
import { writeAtomic } from '../../core/files.ts'

/** One line of a log. NaN and infinities are written as null: not measured. */
export type LogRecord = Readonly<Record<string, number | string | boolean | null>>

/** Appends whole lines: a process that is killed leaves at most one torn line, at the end. */
export interface JsonlWriter {
  append(record: LogRecord): void
  /** Syncs the appended lines to disk; call it before writing a checkpoint that relies on them. */
  sync(): void
  close(): void
}

/**
 * Opens a log for appending, and removes a torn last line. With `keep`, the first record for which it is false and all
 * later ones are removed: a run that resumes from a checkpoint drops what came after it.
 */
export function openJsonl(path: string, keep: (record: LogRecord) => boolean = () => true): JsonlWriter {
  mkdirSync(dirname(path), { recursive: true })
  repair(path, keep)
  let handle: number | null = openSync(path, 'a')
  const open = (): number => {
    if (handle === null) throw new Error(`${path}: the log is closed`)
    return handle
  }
  return {
    append(record) {
      const bytes = Buffer.from(`${JSON.stringify(record)}\n`)
      let written = 0
      while (written < bytes.byteLength) written += onPath(path, () => writeSync(open(), bytes, written))
    },
    sync: () => onPath(path, () => fsyncSync(open())),
    close() {
      if (handle !== null) closeSync(handle)
      handle = null
    },
  }
}

/** Reads a log. Skips a torn last line; any other bad line is an InputError with its line number. */
export function readJsonl(path: string): LogRecord[] {
  return parseLines(path, readFileSync(path, 'utf8')).map(({ record }) => record)
}

interface ParsedLine {
  readonly text: string
  readonly record: LogRecord
}

function parseLines(path: string, text: string): ParsedLine[] {
  const lines = text.split('\n')
  // The text after the last newline is empty, or a line that was being written when the process died.
  lines.pop()
  return lines.map((line, index) => ({ text: line, record: parseRecord(line, `${path}:${index + 1}`) }))
}

function parseRecord(line: string, where: string): LogRecord {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (error) {
    throw new InputError({ where, expected: 'one JSON object a line', found: show(line) }, { cause: error })
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw new InputError({ where, expected: 'a JSON object', found: show(line) })
  }
  return value as LogRecord
}

function repair(path: string, keep: (record: LogRecord) => boolean): void {
  if (!existsSync(path)) return
  const text = readFileSync(path, 'utf8')
  const lines = parseLines(path, text)
  const end = lines.findIndex(({ record }) => !keep(record))
  const kept = (end === -1 ? lines : lines.slice(0, end)).map((line) => `${line.text}\n`).join('')
  if (kept !== text) writeAtomic(path, kept)
}
