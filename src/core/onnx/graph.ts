import { InputError } from '../errors.ts'
import type { Attribute, Dim, ExternalData, Graph, Initializer, Model, Node, ValueInfo } from './proto.ts'
import { defaultIrVersion, defaultOpset } from './proto.ts'
import { showDims } from './dims.ts'
import type { OutputSpec } from './infer.ts'
import { inferOutputs } from './infer.ts'
import type { DType, Tensor } from './tensor.ts'
import { bytesOf } from './tensor.ts'
import { encodeModel } from './write.ts'

/** A value in a graph under construction. */
export interface Handle {
  readonly name: string
  readonly dtype: DType
  readonly dims: readonly Dim[]
}

/** An attribute, or a shorthand for one: an integer, a string, a list of integers. Floats need `float`. */
export type AttributeInput = Attribute | number | string | readonly number[]

/** A node as it was added; `gradients` goes through these. */
export interface NodeRecord {
  readonly opType: string
  readonly domain: string
  readonly inputs: readonly (Handle | null)[]
  readonly attributes: Readonly<Record<string, Attribute>>
  readonly outputs: readonly Handle[]
  /** Whether gradients stop at this node. */
  readonly stop: boolean
}

interface NodeOptions {
  /** Number of outputs (their shapes are inferred), or their types and shapes. Default 1. */
  outputs?: number | readonly OutputSpec[]
  domain?: string
  stop?: boolean
}

/** Options of a graph. */
interface GraphOptions {
  opset?: number
  irVersion?: number
  /** Further operator sets, e.g. { 'com.microsoft': 1 }. */
  opsets?: Readonly<Record<string, number>>
  metadata?: Readonly<Record<string, string>>
}

/** A float attribute. */
export function float(value: number): Attribute {
  return { type: 'float', value }
}

/** Records values and nodes in execution order; shapes are inferred as nodes are added. */
export class GraphRecorder {
  readonly name: string
  readonly nodes: NodeRecord[] = []
  private readonly options: GraphOptions
  private readonly inputs: Handle[] = []
  private readonly initializers = new Map<string, Initializer>()
  private readonly constants = new Map<string, Handle>()
  private readonly outputs = new Map<string, Handle>()
  private readonly values = new Map<string, Handle>()
  private counter = 0

  constructor(name: string, options: GraphOptions = {}) {
    this.name = name
    this.options = options
  }

  /** Adds a graph input; a dimension may be a name. */
  input(name: string, dtype: DType, dims: readonly Dim[]): Handle {
    const handle = this.declare(name, dtype, dims)
    this.inputs.push(handle)
    return handle
  }

  /** Adds a named constant, stored in the model under this name. */
  initializer(name: string, value: Tensor): Handle {
    const handle = this.declare(name, value.dtype, value.dims)
    this.initializers.set(name, { name, tensor: value })
    return handle
  }

  /** Adds a named constant whose data lies in a file beside the model. */
  external(name: string, dtype: DType, dims: readonly number[], external: ExternalData): Handle {
    const handle = this.declare(name, dtype, dims)
    this.initializers.set(name, { name, dtype, dims: [...dims], external })
    return handle
  }

  /** Adds an unnamed constant; equal small ones are stored once. */
  constantTensor(value: Tensor): Handle {
    if (value.data.length > 64) return this.initializer(this.fresh('const'), value)
    const key = `${value.dtype}|${value.dims.join(',')}|${Array.from(bytesOf(value)).join(',')}`
    const known = this.constants.get(key)
    if (known !== undefined) return known
    const handle = this.initializer(this.fresh('const'), value)
    this.constants.set(key, handle)
    return handle
  }

  /** The value of a constant; undefined for a value that is computed or fed. */
  constantValue(handle: Handle): Tensor | undefined {
    return this.valueOf(handle.name)
  }

  private valueOf(name: string): Tensor | undefined {
    const found = this.initializers.get(name)
    return found !== undefined && 'tensor' in found ? found.tensor : undefined
  }

  /**
   * Adds any operator. Output shapes are inferred if the operator is known (infer.ts), and must be given in
   * `options.outputs` otherwise. Throws InputError naming the operator and the shapes.
   */
  node(
    opType: string,
    inputs: readonly (Handle | null)[],
    attributes: Readonly<Record<string, AttributeInput>> = {},
    options: NodeOptions = {},
  ): Handle[] {
    for (const input of inputs) if (input !== null) this.owned(input, opType)
    const domain = options.domain ?? ''
    const full = normaliseAttributes(attributes, `${this.name}: ${opType}`)
    const wanted = options.outputs ?? 1
    const specs =
      typeof wanted === 'number'
        ? inferOutputs({
            opType: domain === '' ? opType : `${domain}::${opType}`,
            where: `graph ${this.name}: ${opType}`,
            inputs,
            attributes: full,
            outputs: wanted,
            constant: (name) => this.valueOf(name),
          })
        : wanted
    const outputs = specs.map((spec) => this.declare(this.fresh(opType), spec.dtype, spec.dims))
    this.nodes.push({ opType, domain, inputs, attributes: full, outputs, stop: options.stop ?? false })
    return outputs
  }

  /** Makes a value a graph output named `name`. */
  output(handle: Handle, name: string): void {
    this.owned(handle, 'output')
    const taken = this.values.get(name)
    if (this.outputs.has(name) || (taken !== undefined && taken !== handle)) {
      throw new InputError({
        where: `graph ${this.name}: output ${name}`,
        expected: 'a name not used yet',
        found: name,
      })
    }
    this.outputs.set(name, handle)
  }

  /** Builds the finished model. */
  toModel(): Model {
    const rename = new Map<string, string>()
    const copies: Node[] = []
    const produced = new Set(this.nodes.flatMap((node) => node.outputs.map((output) => output.name)))
    for (const [name, handle] of this.outputs) {
      if (name === handle.name) continue
      if (produced.has(handle.name) && !rename.has(handle.name) && !this.outputs.has(handle.name))
        rename.set(handle.name, name)
      else
        copies.push({
          opType: 'Identity',
          domain: '',
          name: '',
          inputs: [handle.name],
          outputs: [name],
          attributes: {},
        })
    }
    const final = (name: string): string => rename.get(name) ?? name
    const nodes = this.nodes.map(({ opType, domain, inputs, outputs, attributes }): Node => ({
      opType,
      domain,
      name: '',
      inputs: inputs.map((input) => (input === null ? '' : final(input.name))),
      outputs: outputs.map((output) => final(output.name)),
      attributes,
    }))
    const all = [...nodes, ...copies.map((node) => ({ ...node, inputs: node.inputs.map(final) }))]
    return {
      irVersion: this.options.irVersion ?? defaultIrVersion,
      producer: 'edgewise',
      opsets: { '': this.options.opset ?? defaultOpset, ...this.options.opsets },
      metadata: this.options.metadata ?? {},
      graph: this.pruned(all),
    }
  }

  /** Encodes the model as ONNX bytes. */
  serialize(): Uint8Array {
    return encodeModel(this.toModel())
  }

  /** Drops nodes and initializers that no output needs. */
  private pruned(nodes: readonly Node[]): Graph {
    if (this.outputs.size === 0) {
      throw new InputError({
        where: `graph ${this.name}`,
        expected: 'at least one output',
        found: 'none',
        remedy: 'call output()',
      })
    }
    const needed = new Set(this.outputs.keys())
    const kept: Node[] = []
    for (const node of [...nodes].reverse()) {
      if (!node.outputs.some((output) => needed.has(output))) continue
      kept.push(node)
      for (const input of [...node.inputs, ...outerNames(node)]) needed.add(input)
    }
    return {
      name: this.name,
      nodes: kept.reverse(),
      initializers: [...this.initializers.values()].filter(({ name }) => needed.has(name)),
      inputs: this.inputs,
      outputs: [...this.outputs].map(([name, { dtype, dims }]): ValueInfo => ({ name, dtype, dims })),
    }
  }

  private declare(name: string, dtype: DType, dims: readonly Dim[]): Handle {
    if (name === '' || this.values.has(name) || this.outputs.has(name)) {
      throw new InputError({
        where: `graph ${this.name}`,
        expected: 'a name not used yet',
        found: `'${name}'`,
      })
    }
    if (dims.some((dim) => (typeof dim === 'number' ? !Number.isInteger(dim) || dim < 0 : dim === ''))) {
      throw new InputError({
        where: `graph ${this.name}: ${name}`,
        expected: 'sizes >= 0 or names',
        found: showDims(dims),
      })
    }
    const handle: Handle = { name, dtype, dims: [...dims] }
    this.values.set(name, handle)
    return handle
  }

  private fresh(stem: string): string {
    let name: string
    do name = `${stem}_${this.counter++}`
    while (this.values.has(name) || this.outputs.has(name))
    return name
  }

  private owned(handle: Handle, opType: string): void {
    if (this.values.get(handle.name) !== handle) {
      throw new InputError({
        where: `graph ${this.name}: ${opType}`,
        expected: 'a value of this graph',
        found: `'${handle.name}' of another`,
      })
    }
  }
}

/** Names that a node's inner graphs read from the graph around them (a superset: all names that they read). */
function outerNames(node: Node): string[] {
  const out: string[] = []
  for (const attribute of Object.values(node.attributes)) {
    if (attribute.type !== 'graph') continue
    for (const inner of attribute.value.nodes) out.push(...inner.inputs, ...outerNames(inner))
    for (const output of attribute.value.outputs) out.push(output.name)
  }
  return out
}

function normaliseAttributes(
  attributes: Readonly<Record<string, AttributeInput>>,
  where: string,
): Record<string, Attribute> {
  const out: Record<string, Attribute> = {}
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'string') out[name] = { type: 'string', value }
    else if (typeof value === 'number') out[name] = { type: 'int', value: integer(value, `${where}.${name}`) }
    else if (Array.isArray(value)) {
      out[name] = {
        type: 'ints',
        value: (value as number[]).map((item) => integer(item, `${where}.${name}`)),
      }
    } else out[name] = value as Attribute
  }
  return out
}

function integer(value: number, where: string): number {
  if (!Number.isSafeInteger(value)) {
    throw new InputError({
      where,
      expected: 'an integer',
      found: String(value),
      remedy: 'use float(value) for a float attribute',
    })
  }
  return value
}
