import { InputError } from '../errors.ts'
import type { DiskFile } from './disk.ts'

const CHUNK_BYTES = 64 * 1024
/** First characters of every line of a log. */
const OPENING = '{"'

/**
 * Cuts an incomplete last line off: the rest of a killed process's write, or zeros that a power loss left. Resolves to
 * the remaining length in bytes.
 * @throws InputError if the file is not an edgewise log; it is then left unchanged
 */
export async function cutTornLine(file: DiskFile, maxLineBytes: number, where: string): Promise<number> {
  const size = await file.size()
  if (size === 0) return 0
  const head = Buffer.alloc(Math.min(size, OPENING.length))
  await readFully(file, head, 0)
  const zeros = head.every((byte) => byte === 0)
  if (!zeros && !OPENING.startsWith(head.toString('latin1'))) throw notOurs(where, 'something else')
  const end = await endOfLastLine(file, size, maxLineBytes)
  if (end === null) throw notOurs(where, `${size} bytes, the last ${maxLineBytes} without a line's end`)
  if (end < size) await file.truncate(end)
  return end
}

/** Position after the last line feed; 0 without one; null if it lies further back than a line can be long. */
async function endOfLastLine(file: DiskFile, size: number, maxLineBytes: number): Promise<number | null> {
  const floor = Math.max(0, size - maxLineBytes - 1)
  for (let end = size; end > floor;) {
    const start = Math.max(floor, end - CHUNK_BYTES)
    const chunk = Buffer.alloc(end - start)
    await readFully(file, chunk, start)
    const at = chunk.lastIndexOf(0x0a)
    if (at >= 0) return start + at + 1
    end = start
  }
  return floor === 0 ? 0 : null
}

async function readFully(file: DiskFile, into: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < into.length;) {
    const count = await file.read(into.subarray(done), position + done)
    if (count === 0) throw new Error('the file became shorter while it was read')
    done += count
  }
}

function notOurs(where: string, found: string): InputError {
  const remedy = 'name another folder, or move the file away'
  return new InputError({ where, expected: 'a log of edgewise, one JSON object a line', found, remedy })
}
