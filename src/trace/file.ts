import { parquetMetadata, parquetReadObjects } from 'hyparquet'
import type { FileMetaData } from 'hyparquet'
import { ByteWriter, ParquetWriter } from 'hyparquet-writer'
import { InputError, IntegrityError, show } from '../base/errors.ts'
import { canonicalJson, readCapped, sha256, writeAtomic } from '../base/files.ts'
import { parseJson } from '../base/schema.ts'
import { makeTrace, MAX_TRACE_ROWS, TRACE_COLUMNS } from './table.ts'
import type { Trace, TraceColumn, TraceMeta } from './table.ts'

/** A trace file of more bytes than this is refused. */
export const MAX_TRACE_BYTES = 512 * 1024 * 1024

/** Columns as the file names them: units at the end, as any Parquet tool will show them. */
const FILE_COLUMNS: Record<TraceColumn, string> = {
  uplinkBitsPerSecond: 'uplink_bps',
  downlinkBitsPerSecond: 'downlink_bps',
  rttSeconds: 'rtt_s',
  lossRatio: 'loss',
}
const TIME = 'time_s'
const META_KEY = 'edgewise.trace'
const HASH_KEY = 'edgewise.dataSha256'
const NOT_OURS = 'make it with `edgewise trace import`; a changed or cut file must be fetched or made again'

/**
 * A trace as Parquet: one row an interval that holds until the next row's time, nulls where
 * nothing was measured, and a last row of nulls that says where the recording ends. The metadata
 * carry the trace's own and the SHA-256 of all bytes before the footer.
 */
export function encodeTrace(trace: Trace): Uint8Array {
  const writer = new ByteWriter()
  const double = (name: string, repetition_type: 'REQUIRED' | 'OPTIONAL') =>
    ({ name, type: 'DOUBLE', repetition_type }) as const
  const kvMetadata = [{ key: META_KEY, value: canonicalJson(trace.meta) }]
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
  kvMetadata.push({ key: HASH_KEY, value: sha256(new Uint8Array(writer.getBuffer())) })
  void parquet.finish()
  return new Uint8Array(writer.getBuffer())
}

/** Writes the trace's file whole or not at all. */
export function writeTrace(path: string, trace: Trace): void {
  writeAtomic(path, encodeTrace(trace))
}

/** @throws InputError naming file and field; IntegrityError if the data are not those that were written */
export async function readTrace(path: string): Promise<Trace> {
  return decodeTrace(readCapped(path, MAX_TRACE_BYTES), path)
}

/**
 * Reads a trace from bytes. Nothing is decompressed before the hash over it was found right,
 * so damage is told apart from a malformed file, and cannot make the decoder allocate.
 */
export async function decodeTrace(bytes: Uint8Array, where: string): Promise<Trace> {
  const file = exactBuffer(bytes)
  const footer = readFooter(file, where)
  const entries = new Map((footer.key_value_metadata ?? []).map(({ key, value }) => [key, value ?? '']))
  const text = entries.get(META_KEY)
  const hash = entries.get(HASH_KEY)
  if (text === undefined || hash === undefined) {
    const expected = `metadata ${META_KEY} and ${HASH_KEY}`
    throw new InputError({ where, expected, found: show([...entries.keys()].join(', ')), remedy: NOT_OURS })
  }
  checkSchema(footer, where)
  const found = sha256(new Uint8Array(file, 0, file.byteLength - 8 - footer.metadata_length))
  if (found !== hash) throw new IntegrityError(`${where}: data`, `SHA-256 ${show(hash)}`, found)
  const meta = parseJson(text, `${where}: ${META_KEY}`) as TraceMeta
  return makeTrace({ meta, ...(await readColumns(file, footer, where)) }, where)
}

function readFooter(file: ArrayBuffer, where: string): FileMetaData {
  try {
    return parquetMetadata(file, { geoparquet: false })
  } catch (error) {
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
  let rows: Record<string, unknown>[]
  try {
    rows = await parquetReadObjects({ file, metadata: footer })
  } catch (error) {
    const found = show((error as Error).message)
    throw new InputError({ where, expected: 'Parquet data', found, remedy: NOT_OURS }, { cause: error })
  }
  if (rows.length < 2 || rows.length !== Number(footer.num_rows)) {
    throw new InputError({ where: `${where}: rows`, expected: `${footer.num_rows}`, found: `${rows.length}` })
  }
  const last = rows[rows.length - 1]
  const ends = TRACE_COLUMNS.find((name) => isKnown(last[FILE_COLUMNS[name]]))
  if (ends !== undefined) {
    const expected = 'nothing: the last row only says where the recording ends'
    throw new InputError({
      where: `${where}: ${FILE_COLUMNS[ends]} of the last row`,
      expected,
      found: show(last[FILE_COLUMNS[ends]]),
    })
  }
  const column = (name: TraceColumn) => {
    const values = new Float64Array(rows.length - 1)
    for (let i = 0; i < values.length; i++) {
      const value = rows[i][FILE_COLUMNS[name]]
      values[i] = isKnown(value) ? Number(value) : NaN
    }
    return values
  }
  return {
    timeSeconds: Float64Array.from(rows, (row) => Number(row[TIME])),
    uplinkBitsPerSecond: column('uplinkBitsPerSecond'),
    downlinkBitsPerSecond: column('downlinkBitsPerSecond'),
    rttSeconds: column('rttSeconds'),
    lossRatio: column('lossRatio'),
  }
}

const isKnown = (value: unknown) => value !== null && value !== undefined

function exactBuffer(bytes: Uint8Array): ArrayBuffer {
  const buffer = new ArrayBuffer(bytes.byteLength)
  new Uint8Array(buffer).set(bytes)
  return buffer
}
