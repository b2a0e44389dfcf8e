import { InputError } from '../errors.ts'

/**
 * The protobuf wire format (https://protobuf.dev/programming-guides/encoding/): a writer that keeps large byte fields
 * by reference, and a reader that checks every length against the remaining bytes before it allocates.
 */
const wireTypes = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const

const inlineLimitBytes = 512
const utf8 = new TextEncoder()

/** Encodes one message. Nested messages have writers of their own; large fields are not copied before `finish`. */
export class ProtoWriter {
  byteLength = 0
  private readonly parts: Uint8Array[] = []
  private scratch: number[] = []

  /** An unsigned or (two's complement, 64-bit) signed integer field. */
  integer(field: number, value: number | bigint): void {
    this.tag(field, wireTypes.varint)
    this.varint(value)
  }

  /** A float field: 32 bits, little-endian. */
  float(field: number, value: number): void {
    this.tag(field, wireTypes.fixed32)
    this.raw(new Uint8Array(new Float32Array([value]).buffer))
  }

  /** Packed floats. */
  floats(field: number, values: readonly number[]): void {
    this.bytes(field, new Uint8Array(new Float32Array(values).buffer))
  }

  /** Packed varints. */
  integers(field: number, values: readonly (number | bigint)[]): void {
    const packed = new ProtoWriter()
    for (const value of values) packed.varint(value)
    this.message(field, packed)
  }

  text(field: number, value: string): void {
    this.bytes(field, utf8.encode(value))
  }

  bytes(field: number, value: Uint8Array): void {
    this.tag(field, wireTypes.bytes)
    this.varint(value.byteLength)
    this.raw(value)
  }

  message(field: number, inner: ProtoWriter): void {
    this.tag(field, wireTypes.bytes)
    this.varint(inner.byteLength)
    for (const part of inner.chunks()) this.raw(part)
  }

  /** The encoded message as consecutive chunks, large ones by reference. */
  chunks(): Uint8Array[] {
    this.flush()
    return this.parts
  }

  /** The encoded message in one buffer. */
  finish(): Uint8Array {
    const out = new Uint8Array(this.byteLength)
    let at = 0
    for (const part of this.chunks()) {
      out.set(part, at)
      at += part.byteLength
    }
    return out
  }

  private tag(field: number, type: number): void {
    this.varint(field * 8 + type)
  }

  private varint(value: number | bigint): void {
    if (typeof value === 'bigint' || value < 0 || value > 0x7fffffff) {
      let rest = BigInt.asUintN(64, BigInt(value))
      while (rest > 127n) {
        this.byte(Number(rest & 127n) | 128)
        rest >>= 7n
      }
      this.byte(Number(rest))
      return
    }
    let rest = value
    while (rest > 127) {
      this.byte((rest & 127) | 128)
      rest >>>= 7
    }
    this.byte(rest)
  }

  private byte(value: number): void {
    this.scratch.push(value)
    this.byteLength++
  }

  private raw(value: Uint8Array): void {
    if (value.byteLength <= inlineLimitBytes) {
      for (let i = 0; i < value.byteLength; i++) this.scratch.push(value[i])
    } else {
      this.flush()
      this.parts.push(value)
    }
    this.byteLength += value.byteLength
  }

  private flush(): void {
    if (this.scratch.length === 0) return
    this.parts.push(Uint8Array.from(this.scratch))
    this.scratch = []
  }
}

/** Reads one message. `where` names the file for error messages. */
export class ProtoReader {
  readonly where: string
  /** Number of the field that `next` moved to. */
  field = 0
  /** Wire type of that field. */
  type = 0
  private readonly source: Uint8Array
  private readonly view: DataView
  private at: number
  private readonly end: number

  constructor(source: Uint8Array, where: string, start = 0, end: number = source.byteLength) {
    this.source = source
    this.where = where
    this.view = new DataView(source.buffer, source.byteOffset, source.byteLength)
    this.at = start
    this.end = end
  }

  /** Moves to the next field; returns false at the end of the message. */
  next(): boolean {
    if (this.at >= this.end) return false
    const tag = this.rawVarint()
    this.field = Number(tag >> 3n)
    this.type = Number(tag & 7n)
    if (this.field < 1 || this.field > 536870911)
      throw this.problem('a field number in 1..2^29-1', `${this.field}`)
    return true
  }

  /** Reads a signed 64-bit integer: a number if it is safe, otherwise a bigint. */
  integer(): number | bigint {
    this.expect(wireTypes.varint)
    return narrow(BigInt.asIntN(64, this.rawVarint()))
  }

  /** Reads an integer; throws if it is not a safe JavaScript number. */
  safeInteger(): number {
    const value = this.integer()
    if (typeof value === 'bigint') throw this.problem('an integer below 2^53', `${value}`)
    return value
  }

  float(): number {
    this.expect(wireTypes.fixed32)
    this.need(4)
    this.at += 4
    return this.view.getFloat32(this.at - 4, true)
  }

  /** Reads one float or a packed run of them, and appends to `into`. */
  floats(into: number[], bytes: 4 | 8 = 4): void {
    const single = bytes === 4 ? wireTypes.fixed32 : wireTypes.fixed64
    const length = this.type === single ? bytes : this.length()
    if (length % bytes !== 0) throw this.problem(`a multiple of ${bytes} bytes`, `${length}`)
    this.need(length)
    for (const end = this.at + length; this.at < end; this.at += bytes) {
      into.push(bytes === 4 ? this.view.getFloat32(this.at, true) : this.view.getFloat64(this.at, true))
    }
  }

  /** Reads one varint or a packed run of them, and appends to `into`. */
  integers(into: (number | bigint)[]): void {
    if (this.type === wireTypes.varint) {
      into.push(this.integer())
      return
    }
    const length = this.length()
    const end = this.at + length
    while (this.at < end) into.push(narrow(BigInt.asIntN(64, this.rawVarint())))
    if (this.at !== end)
      throw this.problem('packed integers that end with their field', 'one that runs past it')
  }

  /** Reads a byte field as a view. */
  bytes(): Uint8Array {
    const length = this.length()
    this.at += length
    return this.source.subarray(this.at - length, this.at)
  }

  text(): string {
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(this.bytes())
    } catch (error) {
      if (error instanceof InputError) throw error
      throw this.problem('UTF-8 text', 'other bytes')
    }
  }

  /** A reader over the nested message in this field. */
  message(): ProtoReader {
    const length = this.length()
    this.at += length
    return new ProtoReader(this.source, this.where, this.at - length, this.at)
  }

  /** A second reader over the same message from here on; this reader does not move. */
  again(): ProtoReader {
    return new ProtoReader(this.source, this.where, this.at, this.end)
  }

  /** Skips a field of any type. */
  skip(): void {
    if (this.type === wireTypes.varint) this.rawVarint()
    else if (this.type === wireTypes.fixed64) this.advance(8)
    else if (this.type === wireTypes.fixed32) this.advance(4)
    else this.advance(this.length())
  }

  problem(expected: string, found: string): InputError {
    return new InputError({
      where: `${this.where} (byte ${this.at})`,
      expected,
      found,
      remedy: 'this is not an ONNX model, or it is damaged',
    })
  }

  private length(): number {
    this.expect(wireTypes.bytes)
    const length = this.rawVarint()
    if (length > BigInt(this.end - this.at))
      throw this.problem(`at most ${this.end - this.at} bytes`, `a field of ${length}`)
    return Number(length)
  }

  private expect(type: number): void {
    if (this.type !== type) throw this.problem(`wire type ${type} for field ${this.field}`, `${this.type}`)
  }

  private need(bytes: number): void {
    if (this.end - this.at < bytes) throw this.problem(`${bytes} more bytes`, `${this.end - this.at}`)
  }

  private advance(bytes: number): void {
    this.need(bytes)
    this.at += bytes
  }

  private rawVarint(): bigint {
    let low = 0
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.take()
      low |= (byte & 127) << shift
      if (byte < 128) return BigInt(low)
    }
    let value = BigInt(low)
    for (let shift = 28n; shift < 70n; shift += 7n) {
      const byte = this.take()
      value |= BigInt(byte & 127) << shift
      if (byte < 128) return BigInt.asUintN(64, value)
    }
    throw this.problem('a varint of at most 10 bytes', 'a longer one')
  }

  private take(): number {
    if (this.at >= this.end) throw this.problem('another byte', 'the end of the message')
    return this.source[this.at++]
  }
}

function narrow(value: bigint): number | bigint {
  return value >= -9007199254740991n && value <= 9007199254740991n ? Number(value) : value
}
