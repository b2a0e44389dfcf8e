import { crc32 } from 'node:zlib'

/** Length of `,"crc":"` + 8 hexadecimal digits + `"}`, which ends every line. */
const TAIL_BYTES = 18
const TAIL_START = ',"crc":"'
const TAIL_END = '"}'

/** Why a line was rejected. `torn`: the last line of the file, without a line feed. */
export type LineFault = 'torn' | 'long' | 'crc' | 'json'

/**
 * Encodes one record as a line of JSON whose last member is a checksum: the CRC-32 (as in zlib) of all bytes before
 * `,"crc":`, as 8 lower-case hexadecimal digits. Everything after those bytes is fixed, so a change anywhere in the
 * line is detected.
 * @throws TypeError for a value that JSON cannot represent as an object with a member
 */
export function encodeLine(record: object): string {
  const json = JSON.stringify(record) as string | undefined
  if (json === undefined || json.length < 3 || !json.startsWith('{')) {
    throw new TypeError('a line holds an object with at least one member')
  }
  return sealLine(json.slice(0, -1))
}

/** Like `encodeLine`, for JSON text that was built by hand and still lacks its closing brace. */
export function sealLine(open: string): string {
  return `${open}${TAIL_START}${crc32(open).toString(16).padStart(8, '0')}${TAIL_END}\n`
}

/** Decodes a line (without its line feed): the record without its `crc`, or why there is none. */
export function decodeLine(line: Uint8Array): { readonly value: unknown } | LineFault {
  const bytes = Buffer.from(line.buffer, line.byteOffset, line.byteLength)
  const body = bytes.length - TAIL_BYTES
  if (body < 1) return 'crc'
  const tail = bytes.toString('latin1', body)
  const digits = tail.slice(TAIL_START.length, -TAIL_END.length)
  if (!tail.startsWith(TAIL_START) || !tail.endsWith(TAIL_END) || !/^[0-9a-f]{8}$/.test(digits)) return 'crc'
  if (crc32(bytes.subarray(0, body)) !== parseInt(digits, 16)) return 'crc'
  try {
    return { value: JSON.parse(`${bytes.toString('utf8', 0, body)}}`) as unknown }
  } catch {
    return 'json'
  }
}
