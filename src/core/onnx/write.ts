import type { Attribute, ExternalData, Graph, Initializer, Model, Node, ValueInfo } from './proto.ts'
import { attributeCodes } from './proto.ts'
import type { DType } from './tensor.ts'
import { bytesOf, dtypes } from './tensor.ts'
import { ProtoWriter } from './wire.ts'

/** Encodes a model (field numbers: onnx.proto3 of ONNX 1.17). Tensor data is referenced until the chunks are joined. */
export function encodeModel(model: Model): Uint8Array {
  const out = new ProtoWriter()
  out.integer(1, model.irVersion)
  if (model.producer !== '') out.text(2, model.producer)
  out.message(7, graphWriter(model.graph))
  for (const [domain, version] of Object.entries(model.opsets)) {
    const opset = new ProtoWriter()
    if (domain !== '') opset.text(1, domain)
    opset.integer(2, version)
    out.message(8, opset)
  }
  for (const [key, value] of Object.entries(model.metadata)) out.message(14, pairWriter(key, value))
  return out.finish()
}

function pairWriter(key: string, value: string): ProtoWriter {
  const out = new ProtoWriter()
  out.text(1, key)
  out.text(2, value)
  return out
}

function graphWriter(graph: Graph): ProtoWriter {
  const out = new ProtoWriter()
  for (const node of graph.nodes) out.message(1, nodeWriter(node))
  out.text(2, graph.name)
  for (const initializer of graph.initializers) out.message(5, initializerWriter(initializer))
  for (const input of graph.inputs) out.message(11, valueWriter(input))
  for (const output of graph.outputs) out.message(12, valueWriter(output))
  return out
}

function nodeWriter(node: Node): ProtoWriter {
  const out = new ProtoWriter()
  for (const input of node.inputs) out.text(1, input)
  for (const output of node.outputs) out.text(2, output)
  if (node.name !== '') out.text(3, node.name)
  out.text(4, node.opType)
  for (const [name, value] of Object.entries(node.attributes)) out.message(5, attributeWriter(name, value))
  if (node.domain !== '') out.text(7, node.domain)
  return out
}

function attributeWriter(name: string, attribute: Attribute): ProtoWriter {
  const out = new ProtoWriter()
  out.text(1, name)
  if (attribute.type === 'float') out.float(2, attribute.value)
  else if (attribute.type === 'int') out.integer(3, attribute.value)
  else if (attribute.type === 'string') out.text(4, attribute.value)
  else if (attribute.type === 'tensor')
    out.message(5, initializerWriter({ name: '', tensor: attribute.value }))
  else if (attribute.type === 'graph') out.message(6, graphWriter(attribute.value))
  else if (attribute.type === 'floats') out.floats(7, attribute.value)
  else if (attribute.type === 'ints') out.integers(8, attribute.value)
  else for (const value of attribute.value) out.text(9, value)
  out.integer(20, attributeCodes[attribute.type])
  return out
}

function initializerWriter(initializer: Initializer): ProtoWriter {
  const { dtype, dims } = 'tensor' in initializer ? initializer.tensor : initializer
  const out = new ProtoWriter()
  if (dims.length > 0) out.integers(1, dims)
  out.integer(2, dtypes[dtype].code)
  if (initializer.name !== '') out.text(8, initializer.name)
  if ('tensor' in initializer) out.bytes(9, bytesOf(initializer.tensor))
  else externalFields(out, initializer.external)
  return out
}

function externalFields(out: ProtoWriter, external: ExternalData): void {
  out.message(13, pairWriter('location', external.location))
  out.message(13, pairWriter('offset', String(external.offsetBytes)))
  out.message(13, pairWriter('length', String(external.lengthBytes)))
  out.integer(14, 1)
}

function valueWriter(value: ValueInfo): ProtoWriter {
  const shape = new ProtoWriter()
  for (const dim of value.dims) {
    const inner = new ProtoWriter()
    if (typeof dim === 'number') inner.integer(1, dim)
    else inner.text(2, dim)
    shape.message(1, inner)
  }
  const tensorType = new ProtoWriter()
  tensorType.integer(1, dtypeCode(value.dtype))
  tensorType.message(2, shape)
  const type = new ProtoWriter()
  type.message(1, tensorType)
  const out = new ProtoWriter()
  out.text(1, value.name)
  out.message(2, type)
  return out
}

function dtypeCode(dtype: DType): number {
  return dtypes[dtype].code
}
