import { ProtoReader } from './wire.ts'

/** Callbacks of scanModel for what it finds anywhere in the file: in the graph, a nested graph or an attribute. */
interface ScanVisitor {
  opset(domain: string, version: number): void
  node(domain: string, opType: string): void
  metadata(key: string): void
  /** External data of a tensor: the raw entries, each key once. */
  external(entries: ReadonlyMap<string, string>): void
}

/** Limits on what scanModel accepts. */
interface ScanLimits {
  /** Fields of any kind in all messages together. What decoding the file allocates is proportional to this. */
  readonly fields: number
  /** Bytes of numbers outside raw_data; decoded, each takes up to eight times its size. */
  readonly looseBytes: number
  /** Nesting depth of graphs in attributes. */
  readonly graphDepth: number
}

/**
 * Known fields by number. `one` may occur once only: protobuf merges or replaces repeated ones, and two readers that
 * handle this differently would see two different models.
 */
type Field =
  | { readonly times: 'one' | 'many'; readonly kind: 'plain' }
  | { readonly times: 'many'; readonly kind: 'numbers' }
  | { readonly times: 'one' | 'many'; readonly kind: 'message'; readonly of: Message }
type Message = 'graph' | 'node' | 'attribute' | 'tensor' | 'pair' | 'opset' | 'value' | TypePart
type TypePart = 'type' | 'tensorType' | 'shape' | 'dim'
type Fields = Readonly<Record<number, Field>>

const one: Field = { times: 'one', kind: 'plain' }
const many: Field = { times: 'many', kind: 'plain' }
const numbers: Field = { times: 'many', kind: 'numbers' }
const oneOf = (of: Message): Field => ({ times: 'one', kind: 'message', of })
const manyOf = (of: Message): Field => ({ times: 'many', kind: 'message', of })

/**
 * onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto) without the parts that no model needs here:
 * training, functions, sparse and string tensors, segments, references, overloads, types of sequences and maps. A field
 * that is not listed is refused, because the runtime might use it.
 */
const MODEL: Fields = {
  1: one,
  2: one,
  3: one,
  4: one,
  5: one,
  6: one,
  7: oneOf('graph'),
  8: manyOf('opset'),
  14: manyOf('pair'),
}
const MESSAGES: Readonly<Record<Message, Fields>> = {
  graph: {
    1: manyOf('node'),
    2: one,
    5: manyOf('tensor'),
    10: one,
    11: manyOf('value'),
    12: manyOf('value'),
    13: manyOf('value'),
    16: manyOf('pair'),
  },
  node: { 1: many, 2: many, 3: one, 4: one, 5: manyOf('attribute'), 6: one, 7: one, 9: manyOf('pair') },
  attribute: {
    1: one,
    2: one,
    3: one,
    4: one,
    5: oneOf('tensor'),
    6: oneOf('graph'),
    7: numbers,
    8: numbers,
    9: many,
    13: one,
    20: one,
  },
  tensor: {
    1: numbers,
    2: one,
    4: numbers,
    5: numbers,
    7: numbers,
    8: one,
    9: one,
    10: numbers,
    11: numbers,
    12: one,
    13: manyOf('pair'),
    14: one,
    16: manyOf('pair'),
  },
  pair: { 1: one, 2: one },
  opset: { 1: one, 2: one },
  value: { 1: one, 2: oneOf('type'), 3: one, 4: manyOf('pair') },
  type: { 1: oneOf('tensorType'), 6: one },
  tensorType: { 1: one, 2: oneOf('shape') },
  shape: { 1: manyOf('dim') },
  dim: { 1: one, 2: one, 3: one },
}

/**
 * Checks a model's bytes before they are decoded, with almost no allocation. Throws InputError if they are not a model,
 * exceed a limit, or hold an unexpected field.
 */
export function scanModel(bytes: Uint8Array, where: string, limits: ScanLimits, visitor: ScanVisitor): void {
  new Scan(limits, visitor).model(new ProtoReader(bytes, where))
}

class Scan {
  private readonly limits: ScanLimits
  private readonly visitor: ScanVisitor
  private fields = 0
  private looseBytes = 0

  constructor(limits: ScanLimits, visitor: ScanVisitor) {
    this.limits = limits
    this.visitor = visitor
  }

  model(reader: ProtoReader): void {
    this.scan(reader, 'model', MODEL, 0, {
      14: (inner) => this.visitor.metadata(readTexts(inner)[0]),
    })
  }

  /** Scans one message; `depth` is its graph nesting. `also` reads the same message a second time. */
  private scan(
    reader: ProtoReader,
    name: string,
    fields: Fields,
    depth: number,
    also: Readonly<Record<number, (inner: ProtoReader) => void>> = {},
  ): void {
    const seen = new Set<number>()
    while (reader.next()) {
      const { field } = reader
      if (++this.fields > this.limits.fields) {
        throw reader.problem(`at most ${this.limits.fields} fields`, 'more')
      }
      const rule = Object.hasOwn(fields, field) ? fields[field] : undefined
      if (rule === undefined) throw reader.problem(`a ${name} of known fields`, `field ${field}`)
      if (rule.times === 'one' && seen.has(field))
        throw reader.problem(`field ${field} of a ${name} once`, 'twice')
      seen.add(field)
      if (rule.kind === 'numbers') this.loose(reader)
      else if (rule.kind === 'plain') reader.skip()
      else this.enter(reader.message(), rule.of, depth, also[field])
    }
  }

  private enter(inner: ProtoReader, of: Message, depth: number, also?: (inner: ProtoReader) => void): void {
    also?.(inner.again())
    if (of === 'graph' && depth > this.limits.graphDepth) {
      throw inner.problem(`graphs within graphs, at most ${this.limits.graphDepth} deep`, 'a deeper one')
    }
    const within = of === 'graph' ? depth + 1 : depth
    if (of === 'node') this.node(inner.again())
    else if (of === 'opset') this.opset(inner.again())
    else if (of === 'tensor') this.tensor(inner.again())
    this.scan(inner, of, MESSAGES[of], within)
  }

  private node(reader: ProtoReader): void {
    let [domain, opType] = ['', '']
    while (reader.next()) {
      if (reader.field === 4) opType = reader.text()
      else if (reader.field === 7) domain = reader.text()
      else reader.skip()
    }
    this.visitor.node(domain, opType)
  }

  private opset(reader: ProtoReader): void {
    let [domain, version] = ['', 0]
    while (reader.next()) {
      if (reader.field === 1) domain = reader.text()
      else if (reader.field === 2) version = reader.safeInteger()
      else reader.skip()
    }
    this.visitor.opset(domain, version)
  }

  private tensor(reader: ProtoReader): void {
    const entries = new Map<string, string>()
    let location = 0
    while (reader.next()) {
      if (reader.field === 13) {
        const [key, value] = readTexts(reader.message())
        if (entries.has(key))
          throw reader.problem('each entry of external data once', `${key.slice(0, 40)} twice`)
        if (entries.size >= MAX_ENTRIES) throw reader.problem(`at most ${MAX_ENTRIES} entries`, 'more')
        entries.set(key, value)
      } else if (reader.field === 14) location = reader.safeInteger()
      else reader.skip()
    }
    // Any other value would be truncated to 0 or 1 by a reader that keeps only 32 bits.
    if (location !== 0 && location !== 1) throw reader.problem('a data location of 0 or 1', `${location}`)
    if ((location === 1) !== entries.size > 0) {
      throw reader.problem('external data where the data location says so', 'one without the other')
    }
    if (location === 1) this.visitor.external(entries)
  }

  private loose(reader: ProtoReader): void {
    if (reader.type === LENGTH_DELIMITED) this.looseBytes += reader.bytes().byteLength
    else {
      reader.skip()
      this.looseBytes += 8
    }
    if (this.looseBytes > this.limits.looseBytes) {
      throw reader.problem(`at most ${this.limits.looseBytes} bytes of numbers outside raw_data`, 'more')
    }
  }
}

const LENGTH_DELIMITED = 2
/** onnx.proto defines four keys: location, offset, length, checksum. */
const MAX_ENTRIES = 4

/** Reads key and value of a StringStringEntryProto. */
function readTexts(reader: ProtoReader): [string, string] {
  let [key, value] = ['', '']
  while (reader.next()) {
    if (reader.field === 1) key = reader.text()
    else if (reader.field === 2) value = reader.text()
    else reader.skip()
  }
  return [key, value]
}
