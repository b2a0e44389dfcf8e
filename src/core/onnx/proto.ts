import type { DType, Tensor } from './tensor.ts'

/** A dimension: a size, or a name for a size that is known only when the graph runs. */
export type Dim = number | string

/** Where a tensor's data lies in another file beside the model. */
export interface ExternalData {
  location: string
  offsetBytes: number
  lengthBytes: number
}

/** A named constant of a graph, with its data inside the model or in a file beside it. */
export type Initializer =
  | { name: string; tensor: Tensor }
  | { name: string; dtype: DType; dims: readonly number[]; external: ExternalData }

/** An AttributeProto without its name. */
export type Attribute =
  | { type: 'float'; value: number }
  | { type: 'int'; value: number | bigint }
  | { type: 'string'; value: string }
  | { type: 'tensor'; value: Tensor }
  | { type: 'graph'; value: Graph }
  | { type: 'floats'; value: readonly number[] }
  | { type: 'ints'; value: readonly (number | bigint)[] }
  | { type: 'strings'; value: readonly string[] }

export interface Node {
  opType: string
  /** '' is ai.onnx. */
  domain: string
  name: string
  /** '' marks an optional input that is absent. */
  inputs: readonly string[]
  outputs: readonly string[]
  attributes: Readonly<Record<string, Attribute>>
}

export interface ValueInfo {
  name: string
  dtype: DType
  dims: readonly Dim[]
}

export interface Graph {
  name: string
  nodes: readonly Node[]
  initializers: readonly Initializer[]
  inputs: readonly ValueInfo[]
  outputs: readonly ValueInfo[]
}

export interface Model {
  irVersion: number
  producer: string
  /** Operator set version by domain; '' is ai.onnx. */
  opsets: Readonly<Record<string, number>>
  metadata: Readonly<Record<string, string>>
  graph: Graph
}

/** AttributeProto.AttributeType codes. */
export const attributeCodes = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
} as const

/** Operator set version of ai.onnx that graphs are written with. */
export const defaultOpset = 21
/** IR version that models are written with. */
export const defaultIrVersion = 10
