import type { Attribute, Dim, Graph, Initializer, Model, Node, ValueInfo } from './proto.ts'
import { attributeCodes } from './proto.ts'
import { put, readInitializer, readPair } from './readTensor.ts'
import type { DType } from './tensor.ts'
import { dtypeOfCode } from './tensor.ts'
import { ProtoReader } from './wire.ts'

/** Deepest allowed nesting of graphs in attributes; real models stay below five. */
const maxDepth = 16

/**
 * Decodes a model. Allocation is bounded by the size of `bytes`; tensors in the machine's byte order and alignment are
 * views of it. Fields that this project does not use are skipped, and a model that depends on them (functions, sparse
 * or string tensors) is refused. Throws InputError.
 */
export function decodeModel(bytes: Uint8Array, where = 'model bytes'): Model {
  const reader = new ProtoReader(bytes, where)
  const opsets: Record<string, number> = {}
  const metadata: Record<string, string> = {}
  let irVersion = 0
  let producer = ''
  let graph: Graph | undefined
  while (reader.next()) {
    if (reader.field === 1) irVersion = reader.safeInteger()
    else if (reader.field === 2) producer = reader.text()
    else if (reader.field === 7) graph = readGraph(reader.message(), 0)
    else if (reader.field === 8) readOpset(reader.message(), opsets)
    else if (reader.field === 14) readPair(reader.message(), metadata)
    else if (reader.field === 25) throw reader.problem('a model without functions', 'a model function')
    else reader.skip()
  }
  if (graph === undefined) throw reader.problem('a graph', 'none')
  if (Object.keys(opsets).length === 0) throw reader.problem('an operator set', 'none')
  return { irVersion, producer, opsets, metadata, graph }
}

function readOpset(reader: ProtoReader, into: Record<string, number>): void {
  let domain = ''
  let version = 0
  while (reader.next()) {
    if (reader.field === 1) domain = reader.text()
    else if (reader.field === 2) version = reader.safeInteger()
    else reader.skip()
  }
  put(into, domain === 'ai.onnx' ? '' : domain, version)
}

function readGraph(reader: ProtoReader, depth: number): Graph {
  if (depth > maxDepth) throw reader.problem(`graphs at most ${maxDepth} deep`, 'a deeper one')
  const nodes: Node[] = []
  const initializers: Initializer[] = []
  const inputs: ValueInfo[] = []
  const outputs: ValueInfo[] = []
  let name = ''
  while (reader.next()) {
    if (reader.field === 1) nodes.push(readNode(reader.message(), depth))
    else if (reader.field === 2) name = reader.text()
    else if (reader.field === 5) initializers.push(readInitializer(reader.message()))
    else if (reader.field === 11) inputs.push(readValue(reader.message()))
    else if (reader.field === 12) outputs.push(readValue(reader.message()))
    else if (reader.field === 15) throw reader.problem('dense initializers', 'a sparse one')
    else reader.skip()
  }
  return { name, nodes, initializers, inputs, outputs }
}

function readNode(reader: ProtoReader, depth: number): Node {
  const inputs: string[] = []
  const outputs: string[] = []
  const attributes: Record<string, Attribute> = {}
  const texts = { 3: '', 4: '', 7: '' }
  while (reader.next()) {
    if (reader.field === 1) inputs.push(reader.text())
    else if (reader.field === 2) outputs.push(reader.text())
    else if (reader.field === 3 || reader.field === 4 || reader.field === 7)
      texts[reader.field] = reader.text()
    else if (reader.field === 5) readAttribute(reader.message(), attributes, depth)
    else reader.skip()
  }
  const domain = texts[7] === 'ai.onnx' ? '' : texts[7]
  return { opType: texts[4], domain, name: texts[3], inputs, outputs, attributes }
}

function readAttribute(reader: ProtoReader, into: Record<string, Attribute>, depth: number): void {
  const held: { [Type in Attribute['type']]?: Extract<Attribute, { type: Type }>['value'] } = {}
  const floats: number[] = []
  const ints: (number | bigint)[] = []
  const strings: string[] = []
  let name = ''
  let code = 0
  while (reader.next()) {
    if (reader.field === 1) name = reader.text()
    else if (reader.field === 2) held.float = reader.float()
    else if (reader.field === 3) held.int = reader.integer()
    else if (reader.field === 4) held.string = reader.text()
    else if (reader.field === 5) held.tensor = inlineTensor(reader)
    else if (reader.field === 6) held.graph = readGraph(reader.message(), depth + 1)
    else if (reader.field === 7) reader.floats(floats)
    else if (reader.field === 8) reader.integers(ints)
    else if (reader.field === 9) strings.push(reader.text())
    else if (reader.field === 20) code = reader.safeInteger()
    else reader.skip()
  }
  const type = (Object.keys(attributeCodes) as Attribute['type'][]).find(
    (key) => attributeCodes[key] === code,
  )
  if (type === undefined) throw reader.problem('an attribute of a type in 1..8', `type ${code} for ${name}`)
  const defaults = {
    float: 0,
    int: 0,
    string: '',
    floats,
    ints,
    strings,
    tensor: undefined,
    graph: undefined,
  }
  const value = held[type] ?? defaults[type]
  if (value === undefined) throw reader.problem(`a ${type} in attribute ${name}`, 'none')
  put(into, name, { type, value } as Attribute)
}

function inlineTensor(reader: ProtoReader) {
  const found = readInitializer(reader.message())
  if (!('tensor' in found)) throw reader.problem('a tensor inside the attribute', 'external data')
  return found.tensor
}

function readValue(reader: ProtoReader): ValueInfo {
  const out: { name: string; dtype: DType; dims: Dim[] } = { name: '', dtype: 'float32', dims: [] }
  let typed = false
  while (reader.next()) {
    if (reader.field === 1) out.name = reader.text()
    else if (reader.field === 2) typed = readType(reader.message(), out)
    else reader.skip()
  }
  if (!typed) throw reader.problem(`a tensor type for ${out.name}`, 'none')
  return out
}

function readType(reader: ProtoReader, out: { dtype: DType; dims: Dim[] }): boolean {
  let typed = false
  while (reader.next()) {
    if (reader.field !== 1) {
      reader.skip()
      continue
    }
    const inner = reader.message()
    while (inner.next()) {
      if (inner.field === 1) {
        const code = inner.safeInteger()
        const dtype = dtypeOfCode(code)
        if (dtype === undefined) throw inner.problem('a known element type', `code ${code}`)
        out.dtype = dtype
        typed = true
      } else if (inner.field === 2) out.dims = readShape(inner.message())
      else inner.skip()
    }
  }
  return typed
}

function readShape(reader: ProtoReader): Dim[] {
  const dims: Dim[] = []
  while (reader.next()) {
    if (reader.field !== 1) {
      reader.skip()
      continue
    }
    const inner = reader.message()
    let dim: Dim = `?${dims.length}`
    while (inner.next()) {
      if (inner.field === 1) dim = inner.safeInteger()
      else if (inner.field === 2) dim = inner.text()
      else inner.skip()
    }
    dims.push(dim)
  }
  return dims
}
