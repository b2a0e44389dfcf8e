import { maskedCrc32c } from './crc32c.ts'

/**
 * TensorBoard's event file: TFRecords (length, masked crc of the length, data, masked crc of the data) of
 * tensorflow.Event messages (tensorflow/core/util/event.proto), scalars as simple_value.
 */

/** The record with which every event file begins. */
export function versionRecord(wallSeconds: number): Buffer {
  return tfRecord(Buffer.concat([double(1, wallSeconds), bytes(3, Buffer.from('brain.Event:2'))]))
}

/** One record with the scalars of one step; values that are not finite are omitted. */
export function scalarsRecord(
  wallSeconds: number,
  step: number,
  scalars: Readonly<Record<string, number>>,
): Buffer {
  const values = Object.entries(scalars)
    .filter(([, value]) => Number.isFinite(value))
    .map(([tag, value]) => bytes(1, Buffer.concat([bytes(1, Buffer.from(tag)), float(2, value)])))
  const event = [double(1, wallSeconds), varint(2, step), bytes(5, Buffer.concat(values))]
  return tfRecord(Buffer.concat(event))
}

function tfRecord(data: Buffer): Buffer {
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(data.byteLength))
  return Buffer.concat([length, uint32(maskedCrc32c(length)), data, uint32(maskedCrc32c(data))])
}

const DOUBLE = 1
const LENGTH_DELIMITED = 2
const FLOAT = 5

function double(field: number, value: number): Buffer {
  const buffer = Buffer.alloc(9)
  buffer[0] = (field << 3) | DOUBLE
  buffer.writeDoubleLE(value, 1)
  return buffer
}

function float(field: number, value: number): Buffer {
  const buffer = Buffer.alloc(5)
  buffer[0] = (field << 3) | FLOAT
  buffer.writeFloatLE(value, 1)
  return buffer
}

function bytes(field: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(field << 3) | LENGTH_DELIMITED]), base128(content.byteLength), content])
}

function varint(field: number, value: number): Buffer {
  return Buffer.concat([Buffer.from([field << 3]), base128(value)])
}

function base128(value: number): Buffer {
  const out: number[] = []
  let rest = value
  while (rest >= 128) {
    out.push((rest % 128) | 128)
    rest = Math.floor(rest / 128)
  }
  out.push(rest)
  return Buffer.from(out)
}

function uint32(value: number): Buffer {
  const buffer = Buffer.alloc(4)
  buffer.writeUInt32LE(value)
  return buffer
}
