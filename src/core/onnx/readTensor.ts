import type { ExternalData, Initializer } from './proto.ts'
import type { DType, Tensor } from './tensor.ts'
import { dtypeOfCode, dtypes } from './tensor.ts'
import type { ProtoReader } from './wire.ts'

interface Fields {
  name: string
  code: number
  dims: (number | bigint)[]
  floats: number[]
  doubles: number[]
  integers: (number | bigint)[]
  raw: Uint8Array | undefined
  external: Record<string, string>
  isExternal: boolean
}

/** Reads a TensorProto. */
export function readInitializer(reader: ProtoReader): Initializer {
  const fields = readFields(reader)
  const dtype = dtypeOfCode(fields.code)
  if (dtype === undefined) throw reader.problem('a tensor of a known element type', `code ${fields.code}`)
  const dims = fields.dims.map((dim) => {
    if (typeof dim === 'bigint' || dim < 0) throw reader.problem('sizes of at least 0', `${dim}`)
    return dim
  })
  const size = dims.reduce((product, dim) => product * dim, 1)
  if (!Number.isSafeInteger(size))
    throw reader.problem('fewer than 2^53 elements', `[${dims.slice(0, 8).join(', ')}]`)
  if (fields.isExternal)
    return {
      name: fields.name,
      dtype,
      dims,
      external: externalOf(reader, fields, size * dtypes[dtype].bytes),
    }
  return { name: fields.name, tensor: { dtype, dims, data: dataOf(reader, fields, dtype, size) } }
}

function readFields(reader: ProtoReader): Fields {
  const out: Fields = {
    name: '',
    code: 0,
    dims: [],
    floats: [],
    doubles: [],
    integers: [],
    raw: undefined,
    external: {},
    isExternal: false,
  }
  while (reader.next()) {
    if (reader.field === 1) reader.integers(out.dims)
    else if (reader.field === 2) out.code = reader.safeInteger()
    else if (reader.field === 4) reader.floats(out.floats)
    else if (reader.field === 5 || reader.field === 7 || reader.field === 11) reader.integers(out.integers)
    else if (reader.field === 8) out.name = reader.text()
    else if (reader.field === 9) out.raw = reader.bytes()
    else if (reader.field === 10) reader.floats(out.doubles, 8)
    else if (reader.field === 13) readPair(reader.message(), out.external)
    else if (reader.field === 14) out.isExternal = reader.safeInteger() === 1
    else if (reader.field === 3 || reader.field === 6)
      throw reader.problem('a whole tensor of numbers', `field ${reader.field}`)
    else reader.skip()
  }
  return out
}

function externalOf(reader: ProtoReader, fields: Fields, bytes: number): ExternalData {
  const whole = (key: string, fallback: number): number => {
    if (!Object.hasOwn(fields.external, key)) return fallback
    const value = fields.external[key]
    if (!/^\d{1,15}$/.test(value))
      throw reader.problem(`${key} of external data as an integer`, value.slice(0, 40))
    return Number(value)
  }
  const location = Object.hasOwn(fields.external, 'location') ? fields.external.location : ''
  if (location === '') throw reader.problem('a location of external data', 'none')
  const lengthBytes = whole('length', bytes)
  if (lengthBytes !== bytes) throw reader.problem(`${bytes} bytes of external data`, `${lengthBytes}`)
  return { location, offsetBytes: whole('offset', 0), lengthBytes }
}

function dataOf(reader: ProtoReader, fields: Fields, dtype: DType, size: number): Tensor['data'] {
  const { bytes, array } = dtypes[dtype]
  if (fields.raw !== undefined) {
    if (fields.raw.byteLength !== size * bytes)
      throw reader.problem(`${size * bytes} bytes of data`, `${fields.raw.byteLength}`)
    const aligned = fields.raw.byteOffset % bytes === 0 ? fields.raw : new Uint8Array(fields.raw)
    return new array(aligned.buffer, aligned.byteOffset, size)
  }
  const values = dtype === 'float32' ? fields.floats : dtype === 'float64' ? fields.doubles : fields.integers
  if (values.length !== size) throw reader.problem(`${size} elements of data`, `${values.length}`)
  const out = new array(new ArrayBuffer(size * bytes), 0, size)
  const wide = out instanceof BigInt64Array || out instanceof BigUint64Array
  values.forEach((value, i) => (out[i] = wide ? BigInt(value) : Number(value)))
  return out
}

/** Reads a StringStringEntryProto into a record. */
export function readPair(reader: ProtoReader, into: Record<string, string>): void {
  let key = ''
  let value = ''
  while (reader.next()) {
    if (reader.field === 1) key = reader.text()
    else if (reader.field === 2) value = reader.text()
    else reader.skip()
  }
  put(into, key, value)
}

/** Sets a member with defineProperty: an assignment to a key named __proto__ would be lost. */
export function put<T>(into: Record<string, T>, key: string, value: T): void {
  Object.defineProperty(into, key, { value, enumerable: true, configurable: true, writable: true })
}
