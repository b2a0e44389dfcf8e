import { parquetMetadata, parquetReadObjects } from 'hyparquet'
import type { FileMetaData } from 'hyparquet'
import { ByteWriter, ParquetWriter } from 'hyparquet-writer'
import { z } from 'zod'
import { InputError, IntegrityError, show } from '../core/errors.ts'
import { canonicalJson, readCapped, sha256, writeAtomic } from '../core/files.ts'
import { check, parseJson } from '../core/schema.ts'
import { makeTrace, MAX_TRACE_ROWS, TRACE_COLUMNS } from './table.ts'
import type { Trace, TraceColumn, TraceMeta } from './table.ts'

/** Largest trace file that is read, in bytes. */
const MAX_TRACE_BYTES = 512 * 1024 * 1024

/** Column names in the file; they end with the unit, because any Parquet tool shows them. */
const FILE_COLUMNS: Record<TraceColumn, string> = {
  uplinkBitsPerSecond: 'uplink_bps',
  downlinkBitsPerSecond: 'downlink_bps',
  rttSeconds: 'rtt_s',
  lossRatio: 'loss',
}
const TIME = 'time_s'
const META_KEY = 'edgewise.trace'
const HASH_KEY = 'edgewise.sha256'
const HASH_DIGITS = 64
/** Thrift compact header of the hash's value in the key-value metadata: field 2, a string of 64 bytes. */
const HASH_HEADER = [0x18, HASH_DIGITS]
const NOT_OURS = 'make it with `edgewise trace import`; a changed or cut file must be fetched or made again'

/**
 * Encodes a trace as Parquet: one row for each interval, which lasts until the next row's time, null where nothing was
 * measured, and a last row of nulls at the end of the recording. The metadata holds the trace's own and the SHA-256 of
 * the whole file, computed with zeros in place of the hash.
 */
export function encodeTrace(trace: Trace): Uint8Array {
  const writer = new ByteWriter()
  const double = (name: string, repetition_type: 'REQUIRED' | 'OPTIONAL') =>
    ({ name, type: 'DOUBLE', repetition_type }) as const
  const kvMetadata = [
    { key: META_KEY, value: canonicalJson(trace.meta) },
    { key: HASH_KEY, value: '0'.repeat(HASH_DIGITS) },
  ]
  const parquet = new ParquetWriter({
    writer,
    schema: [
      { name: 'root', num_children: 1 + TRACE_COLUMNS.length },
      double(TIME, 'REQUIRED'),
      ...TRACE_COLUMNS.map((name) => double(FILE_COLUMNS[name], 'OPTIONAL')),
    ],
    kvMetadata,
    createdBy: 'edgewise',
  })
  const columnData = [
    { name: TIME, data: Array.from(trace.timeSeconds), offsetIndex: false },
    ...TRACE_COLUMNS.map((name) => ({
      name: FILE_COLUMNS[name],
      data: [...Array.from(trace[name], (value) => (Number.isNaN(value) ? null : value)), null],
      offsetIndex: false,
    })),
  ]
  void parquet.write({ columnData, rowGroupSize: 100_000 })
  void parquet.finish()
  const bytes = new Uint8Array(writer.getBuffer())
  const at = hashPlace(bytes)
  if (at === null) throw new Error('trace file: the Parquet writer did not write the placeholder of the hash')
  bytes.set(Buffer.from(sha256(bytes)), at)
  return bytes
}

/** Offset of the hash's digits; null if the file has none. */
function hashPlace(bytes: Uint8Array): number | null {
  const key = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).lastIndexOf(HASH_KEY)
  const at = key + HASH_KEY.length
  const found = key >= 0 && HASH_HEADER.every((byte, i) => bytes[at + i] === byte)
  return found && at + HASH_HEADER.length + HASH_DIGITS <= bytes.length ? at + HASH_HEADER.length : null
}

/** Verifies the hash before anything in the file is parsed. */
function checkHash(bytes: Uint8Array, where: string): void {
  const at = hashPlace(bytes)
  if (at === null) {
    const found = `none in ${bytes.length} bytes`
    throw new InputError({
      where,
      expected: `a trace file, with metadata ${HASH_KEY}`,
      found,
      remedy: NOT_OURS,
    })
  }
  const copy = Uint8Array.from(bytes)
  const written = Buffer.from(copy.subarray(at, at + HASH_DIGITS)).toString('latin1')
  copy.fill(0x30, at, at + HASH_DIGITS)
  const found = sha256(copy)
  if (found !== written) throw new IntegrityError(where, `SHA-256 ${show(written)}`, found)
}

/** Writes a trace file atomically. */
export function writeTrace(path: string, trace: Trace): void {
  writeAtomic(path, encodeTrace(trace))
}

/**
 * Reads a trace file.
 * @throws InputError naming file and field; IntegrityError if the hash does not match
 */
export async function readTrace(path: string): Promise<Trace> {
  return decodeTrace(readCapped(path, MAX_TRACE_BYTES), path)
}

/**
 * Decodes a trace from bytes. The hash over the whole file is verified first, so that damage is distinguished from a
 * malformed file and never reaches the Parquet decoder. The hash is not a signature: a forged file with a matching hash
 * may keep the decoder busy for long.
 */
export async function decodeTrace(bytes: Uint8Array, where: string): Promise<Trace> {
  checkHash(bytes, where)
  const file = exactBuffer(bytes)
  const footer = readFooter(file, where)
  checkSchema(footer, where)
  const text = footer.key_value_metadata?.find(({ key }) => key === META_KEY)?.value
  if (text === undefined) {
    throw new InputError({ where, expected: `metadata ${META_KEY}`, found: 'none', remedy: NOT_OURS })
  }
  const meta = parseJson(text, `${where}: ${META_KEY}`) as TraceMeta
  return makeTrace({ meta, ...(await readColumns(file, footer, where)) }, where)
}

/** The parts of the Parquet footer that are used; validated, because a damaged footer may parse into anything. */
const footerSchema = z.object({
  schema: z.array(
    z.object({ name: z.string(), type: z.string().optional(), repetition_type: z.string().optional() }),
  ),
  num_rows: z.bigint(),
  row_groups: z.array(
    z.object({ columns: z.array(z.object({ meta_data: z.object({}) })), num_rows: z.bigint() }),
  ),
  metadata_length: z.number().int().min(0),
  key_value_metadata: z.array(z.object({ key: z.string(), value: z.string().optional() })).optional(),
})

function readFooter(file: ArrayBuffer, where: string): FileMetaData {
  try {
    const footer = parquetMetadata(file, { geoparquet: false })
    check(footerSchema, footer, `${where}: footer`, NOT_OURS)
    return footer
  } catch (error) {
    if (error instanceof InputError) throw error
    const found = show((error as Error).message)
    throw new InputError({ where, expected: 'a Parquet file', found, remedy: NOT_OURS }, { cause: error })
  }
}

function checkSchema(footer: FileMetaData, where: string): void {
  const [, ...fields] = footer.schema
  const found = fields
    .map(({ name, type, repetition_type }) => `${name} ${type} ${repetition_type}`)
    .join(', ')
  const optional = TRACE_COLUMNS.map((name) => `${FILE_COLUMNS[name]} DOUBLE OPTIONAL`)
  const expected = [`${TIME} DOUBLE REQUIRED`, ...optional].join(', ')
  if (found !== expected)
    throw new InputError({ where: `${where}: columns`, expected, found: show(found, 300) })
  const rows = Number(footer.num_rows)
  if (!(rows >= 2 && rows <= MAX_TRACE_ROWS + 1)) {
    throw new InputError({
      where: `${where}: rows`,
      expected: `2..${MAX_TRACE_ROWS + 1}`,
      found: String(rows),
    })
  }
}

async function readColumns(file: ArrayBuffer, footer: FileMetaData, where: string) {
  const timeSeconds = await readColumn(file, footer, TIME, where)
  const columns: Partial<Record<TraceColumn, Float64Array>> = {}
  for (const name of TRACE_COLUMNS) {
    const values = await readColumn(file, footer, FILE_COLUMNS[name], where)
    const last = values[values.length - 1]
    if (!Number.isNaN(last)) {
      throw new InputError({
        where: `${where}: ${FILE_COLUMNS[name]} of the last row`,
        expected: 'null: the last row only marks the end of the recording',
        found: show(last),
      })
    }
    columns[name] = values.slice(0, -1)
  }
  return { timeSeconds, ...columns }
}

/** Reads one column, null as NaN. Row groups are read one at a time, so that every rejected promise is awaited. */
async function readColumn(file: ArrayBuffer, footer: FileMetaData, name: string, where: string) {
  const values = new Float64Array(Number(footer.num_rows))
  let at = 0
  for (const group of footer.row_groups) {
    const end = at + Number(group.num_rows)
    let rows: Record<string, unknown>[]
    try {
      rows = await parquetReadObjects({ file, metadata: footer, columns: [name], rowStart: at, rowEnd: end })
    } catch (error) {
      const found = show((error as Error).message)
      throw new InputError(
        { where: `${where}: ${name}`, expected: 'Parquet data', found, remedy: NOT_OURS },
        { cause: error },
      )
    }
    if (rows.length !== end - at || end > values.length) break
    for (const row of rows) values[at++] = isKnown(row[name]) ? Number(row[name]) : NaN
  }
  if (at !== values.length) {
    throw new InputError({ where: `${where}: ${name}`, expected: `${values.length} rows`, found: `${at}` })
  }
  return values
}

const isKnown = (value: unknown) => value !== null && value !== undefined

function exactBuffer(bytes: Uint8Array): ArrayBuffer {
  const buffer = new ArrayBuffer(bytes.byteLength)
  new Uint8Array(buffer).set(bytes)
  return buffer
}
