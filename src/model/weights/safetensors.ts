import { closeSync, fstatSync } from 'node:fs'
import { z } from 'zod'
import { InputError, show } from '../../core/errors.ts'
import { nameForeignFile } from '../../core/foreign.ts'
import { check } from '../../core/schema.ts'
import { jsonShape, parseObject } from '../json.ts'
import { elementCount, openFile, readExactly } from './tensorFile.ts'
import type { TensorEntry } from './tensorFile.ts'

/**
 * The safetensors format (https://github.com/huggingface/safetensors#format): u64 length N, N bytes of JSON
 * { name: { dtype, shape, data_offsets: [begin, end] } }, then the tensors' bytes without holes, little-endian.
 */

/** The limit of the reference implementation. */
const MAX_HEADER_BYTES = 100_000_000
const MAX_RANK = 16
/** Nesting of header, tensor, shape. */
const HEADER_DEPTH = 3
const LENGTH_BYTES = 8

const DTYPE_BYTES: Readonly<Record<string, number>> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
}

const size = z.int().min(0)
const entrySchema = z.strictObject({
  dtype: z
    .string()
    .refine((name) => Object.hasOwn(DTYPE_BYTES, name), `one of ${Object.keys(DTYPE_BYTES).join(', ')}`),
  shape: z.array(size).max(MAX_RANK),
  data_offsets: z.tuple([size, size]),
})
const metadataSchema = z.record(z.string(), z.string())

/** Reads the header of a safetensors file. Allocates at most the header's size. */
export function openSafetensors(path: string): Map<string, TensorEntry> {
  const file = openFile(path)
  try {
    const fileBytes = fstatSync(file).size
    const length = headerLength(file, path, fileBytes)
    const header = Buffer.alloc(length)
    readExactly(file, header, LENGTH_BYTES, path, 'header')
    return readHeader(header, path, LENGTH_BYTES + length, fileBytes)
  } finally {
    closeSync(file)
  }
}

function headerLength(file: number, path: string, fileBytes: number): number {
  const prefix = Buffer.alloc(LENGTH_BYTES)
  readExactly(file, prefix, 0, path, 'header length')
  const length = prefix.readBigUInt64LE()
  const most = Math.min(MAX_HEADER_BYTES, fileBytes - LENGTH_BYTES)
  if (length >= 2n && length <= BigInt(most)) return Number(length)
  const foreign = nameForeignFile(path)
  if (foreign !== null) {
    throw new InputError({
      where: path,
      expected: 'a safetensors file',
      found: foreign.what,
      remedy: foreign.remedy,
    })
  }
  throw new InputError({
    where: `${path}: header length`,
    expected: `2 to ${most} bytes (the file has ${fileBytes})`,
    found: `${length.toString()} bytes`,
    remedy: 'this is no safetensors file, or it is truncated',
  })
}

function readHeader(
  header: Buffer,
  path: string,
  dataStart: number,
  fileBytes: number,
): Map<string, TensorEntry> {
  const text = decodeUtf8(header, path)
  const value = parseObject(text, `${path}: header`, HEADER_DEPTH)
  const spans: { name: string; begin: number; end: number }[] = []
  const entries = new Map<string, TensorEntry>()
  let keys = 0
  for (const [name, raw] of Object.entries(value)) {
    if (name === '__metadata__') {
      keys += 1 + Object.keys(check(metadataSchema, raw, `${path}: __metadata__`)).length
      continue
    }
    const where = `${path}: tensor ${show(name)}`
    const { dtype, shape, data_offsets } = check(entrySchema, raw, where)
    const [begin, end] = data_offsets
    const bytes = elementCount(shape) * DTYPE_BYTES[dtype]
    if (end - begin !== bytes) {
      throw new InputError({
        where,
        expected: `${bytes} bytes for ${dtype} [${shape.join(', ')}]`,
        found: `data_offsets [${begin}, ${end}]`,
      })
    }
    keys += 1 + Object.keys(entrySchema.shape).length
    spans.push({ name, begin, end })
    entries.set(name, { path, fileBytes, dtype, dims: shape, offset: dataStart + begin })
  }
  // JSON.parse silently keeps the last of repeated keys.
  if (jsonShape(text).keys !== keys) {
    throw new InputError({
      where: `${path}: header`,
      expected: 'every name once',
      found: 'a name that occurs twice',
    })
  }
  checkCover(spans, path, fileBytes - dataStart)
  return entries
}

/** The tensors must cover the data without overlaps and gaps, so that no bytes are read twice or stay hidden. */
function checkCover(
  spans: { name: string; begin: number; end: number }[],
  path: string,
  dataBytes: number,
): void {
  spans.sort((a, b) => a.begin - b.begin || a.end - b.end)
  let end = 0
  for (const span of spans) {
    if (span.begin !== end) {
      throw new InputError({
        where: `${path}: tensor ${show(span.name)}`,
        expected: `data from byte ${end} on, where the tensor before it ends`,
        found: `byte ${span.begin}`,
      })
    }
    end = span.end
  }
  if (end === dataBytes) return
  throw new InputError({
    where: path,
    expected: `${end} bytes of tensors, as its header says`,
    found: `${dataBytes} bytes after the header`,
    remedy: 'the file is truncated or damaged: copy it again',
  })
}

function decodeUtf8(header: Buffer, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(header)
  } catch (error) {
    throw new InputError(
      { where: `${path}: header`, expected: 'JSON in UTF-8', found: 'other bytes' },
      { cause: error },
    )
  }
}
