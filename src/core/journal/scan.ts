import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { InputError } from '../errors.ts'
import { onPath } from '../fileErrors.ts'
import { decodeLine } from './line.ts'
import type { LineFault } from './line.ts'

const CHUNK_BYTES = 256 * 1024
const LINE_FEED = 0x0a

/** One line of a file: its record, or why it was rejected. */
interface ScannedLine {
  /** Line number, from 1. */
  readonly line: number
  /** Offset of the line in the file, in bytes. */
  readonly offset: number
  /** The record; undefined if there is a fault. */
  readonly value: unknown
  readonly fault: LineFault | null
}

/** Reads a file in chunks, up to the size that it had when opened: reading a log that is being written to ends, too. */
export function* chunksOf(path: string, maxBytes: number): Generator<Uint8Array> {
  const handle = onPath(path, () => openSync(path, 'r'))
  try {
    const info = fstatSync(handle)
    if (!info.isFile()) throw new InputError({ where: path, expected: 'a file', found: 'something else' })
    if (info.size > maxBytes) {
      const expected = `at most ${maxBytes} bytes`
      throw new InputError({ where: path, expected, found: `${info.size} bytes` })
    }
    for (let left = info.size; left > 0;) {
      const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, left))
      const count = readSync(handle, chunk, 0, chunk.length, null)
      if (count === 0) return
      left -= count
      yield chunk.subarray(0, count)
    }
  } finally {
    closeSync(handle)
  }
}

/**
 * Splits chunks into lines and decodes them. Holds at most one line, of at most `maxLineBytes`, in memory. Skips blank
 * lines.
 */
export function* scanLines(chunks: Iterable<Uint8Array>, maxLineBytes: number): Generator<ScannedLine> {
  let parts: Uint8Array[] = []
  let held = 0
  let long = false
  let line = 1
  let offset = 0
  const keep = (part: Uint8Array) => {
    held += part.length
    long ||= held > maxLineBytes
    if (long) parts = []
    else parts.push(part)
  }
  const scanned = (fault: LineFault | null, value?: unknown): ScannedLine => ({ line, offset, value, fault })
  for (const chunk of chunks) {
    let start = 0
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, start)) {
      keep(chunk.subarray(start, end))
      start = end + 1
      if (long) yield scanned('long')
      else if (held > 0) {
        const decoded = decodeLine(parts.length === 1 ? parts[0] : Buffer.concat(parts))
        yield typeof decoded === 'string' ? scanned(decoded) : scanned(null, decoded.value)
      }
      offset += held + 1
      line++
      parts = []
      held = 0
      long = false
    }
    if (start < chunk.length) keep(chunk.subarray(start))
  }
  if (held > 0) yield scanned(long ? 'long' : 'torn')
}
