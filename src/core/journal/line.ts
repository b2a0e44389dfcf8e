import { crc32 } from 'node:zlib'

/** Bytes of `,"crc":"` + 8 hexadecimal digits + `"}`: how every line ends. */
const TAIL_BYTES = 18
const TAIL_START = ',"crc":"'
const TAIL_END = '"}'

/** Why a line was not taken. `torn`: the file's last line, without its end. */
export type LineFault = 'torn' | 'long' | 'crc' | 'json'

/**
 * One record as a line of JSON whose last member is its checksum: the CRC-32 (zlib's) of all bytes of the line that
 * stand before `,"crc":`, as 8 lower-case hexadecimal digits. What comes after them is fixed, so a change anywhere in
 * the line shows.
 * @throws TypeError for what JSON cannot hold as an object with a member
 */
export function encodeLine(record: object): string {
  const json = JSON.stringify(record) as string | undefined
  if (json === undefined || json.length < 3 || !json.startsWith('{')) {
    throw new TypeError('a line holds an object with at least one member')
  }
  return sealLine(json.slice(0, -1))
}

/** As `encodeLine`, of JSON text that was put together by hand and still lacks its closing brace. */
export function sealLine(open: string): string {
  return `${open}${TAIL_START}${crc32(open).toString(16).padStart(8, '0')}${TAIL_END}\n`
}

/** The record of a line (without its line feed and without `crc`), or why there is none. */
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
