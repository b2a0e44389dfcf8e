import { canonicalJson, sha256 } from './files.ts'
import { InputError, IntegrityError } from './errors.ts'

/**
 * An archive: named typed arrays and one JSON value in one block of bytes. Equal contents give equal bytes; a changed
 * byte is detected on reading.
 * Layout: magic, header length (u32, little-endian), header (JSON), arrays (8-byte aligned), SHA-256 of everything
 * before it.
 */
interface Archive {
  readonly json: unknown
  readonly arrays: Readonly<Record<string, ArchiveArray>>
}

/** Array types that an archive can store. */
export type ArchiveArray = Float32Array | Float64Array | Int32Array | Uint32Array | Uint8Array

const MAGIC = 'EDGEWISE-ARCHIVE-1\n'
const HASH_BYTES = 32
const TYPES = { Float32Array, Float64Array, Int32Array, Uint32Array, Uint8Array }

interface Entry {
  name: string
  type: keyof typeof TYPES
  length: number
  offset: number
}

/** Packs an archive; arrays are stored in the order of their names. */
export function packArchive(archive: Archive): Uint8Array {
  const entries: Entry[] = []
  let size = 0
  for (const name of Object.keys(archive.arrays).sort()) {
    const array = archive.arrays[name]
    entries.push({ name, type: typeName(array), length: array.length, offset: size })
    size += align(array.byteLength)
  }
  const header = Buffer.from(canonicalJson({ json: archive.json, arrays: entries }))
  const dataStart = align(MAGIC.length + 4 + header.length)
  const bytes = Buffer.alloc(dataStart + size + HASH_BYTES)
  bytes.write(MAGIC, 'latin1')
  bytes.writeUInt32LE(header.length, MAGIC.length)
  header.copy(bytes, MAGIC.length + 4)
  for (const entry of entries) {
    const array = archive.arrays[entry.name]
    bytes.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), dataStart + entry.offset)
  }
  Buffer.from(sha256(bytes.subarray(0, dataStart + size)), 'hex').copy(bytes, dataStart + size)
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/**
 * Unpacks `bytes` into copies of the arrays. Throws InputError if `bytes` is not an archive, IntegrityError if its
 * checksum does not match. `where` names the source in the message.
 */
export function unpackArchive(bytes: Uint8Array, where: string): Archive {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (buffer.length < MAGIC.length + 4 + HASH_BYTES || buffer.toString('latin1', 0, MAGIC.length) !== MAGIC) {
    throw new InputError({ where, expected: 'an Edgewise archive, version 1', found: 'other bytes' })
  }
  const end = buffer.length - HASH_BYTES
  const written = buffer.toString('hex', end)
  const found = sha256(buffer.subarray(0, end))
  if (written !== found) throw new IntegrityError(where, `SHA-256 ${written}`, found)
  const headerLength = buffer.readUInt32LE(MAGIC.length)
  const headerStart = MAGIC.length + 4
  const dataStart = align(headerStart + headerLength)
  if (dataStart > end) throw outOfBounds(where)
  const header = JSON.parse(buffer.toString('utf8', headerStart, headerStart + headerLength)) as {
    json: unknown
    arrays: Entry[]
  }
  const arrays: Record<string, ArchiveArray> = {}
  for (const { name, type, length, offset } of header.arrays) {
    const array = readArray(buffer.subarray(dataStart, end), type, length, offset)
    if (array === null) throw outOfBounds(where)
    arrays[name] = array
  }
  return { json: header.json, arrays }
}

/** Copies array `name` of an archive into `target`. Throws InputError unless type and length agree. */
export function loadArray(archive: Archive, name: string, target: ArchiveArray, where: string): void {
  const array = archive.arrays[name]
  const expected = `${target.constructor.name} of length ${target.length}`
  if (array === undefined || array.constructor !== target.constructor || array.length !== target.length) {
    const found = array === undefined ? 'nothing' : `${array.constructor.name} of length ${array.length}`
    throw new InputError({
      where: `${where}: ${name}`,
      expected,
      found,
      remedy: 'the archive was written with another configuration',
    })
  }
  target.set(array)
}

function readArray(
  data: Uint8Array,
  type: keyof typeof TYPES,
  length: number,
  offset: number,
): ArchiveArray | null {
  const Type = Object.hasOwn(TYPES, type) ? TYPES[type] : undefined
  if (Type === undefined || !(length >= 0) || !(offset >= 0)) return null
  const bytes = length * Type.BYTES_PER_ELEMENT
  if (!Number.isInteger(bytes + offset) || offset + bytes > data.length) return null
  return new Type(Uint8Array.prototype.slice.call(data, offset, offset + bytes).buffer)
}

function outOfBounds(where: string): InputError {
  return new InputError({
    where,
    expected: 'arrays inside the archive',
    found: 'a header that points outside it',
  })
}

function typeName(array: ArchiveArray): keyof typeof TYPES {
  for (const name of Object.keys(TYPES) as (keyof typeof TYPES)[])
    if (array instanceof TYPES[name]) return name
  throw new TypeError(`array: expected one of ${Object.keys(TYPES).join(', ')}`)
}

function align(bytes: number): number {
  return Math.ceil(bytes / 8) * 8
}
