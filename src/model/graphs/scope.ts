import type { GraphRecorder, Handle } from '../../core/onnx/graph.ts'
import { tensor } from '../../core/onnx/tensor.ts'
import type { WeightBlock, WeightTensor } from './blocks.ts'
import type { ModelSpec } from '../spec.ts'

/** Adds a block's tensor to a graph: inside it, or as a reference to a file. */
export type InitializerWriter = (
  graph: GraphRecorder,
  name: string,
  tensor: WeightTensor,
  block: WeightBlock,
) => Handle

/** Stores the tensor's data in the graph. */
export const inline: InitializerWriter = (graph, name, { dtype, dims, data }) =>
  graph.initializer(name, tensor(dtype, dims, data()))

/** One block's weights in one graph; each becomes a constant on first use. */
export class Scope {
  readonly graph: GraphRecorder
  readonly model: ModelSpec
  readonly block: WeightBlock
  private readonly place: InitializerWriter
  private readonly placed = new Map<string, Handle>()

  constructor(graph: GraphRecorder, model: ModelSpec, block: WeightBlock, place: InitializerWriter = inline) {
    this.graph = graph
    this.model = model
    this.block = block
    this.place = place
  }

  has(name: string): boolean {
    return Object.hasOwn(this.block.tensors, name)
  }

  /** Throws RangeError for a name that the block does not have. */
  weight(name: string): Handle {
    const known = this.placed.get(name)
    if (known !== undefined) return known
    if (!this.has(name)) throw new RangeError(`block ${this.block.name} has no tensor ${name}`)
    const handle = this.place(this.graph, `${this.block.name}.${name}`, this.block.tensors[name], this.block)
    this.placed.set(name, handle)
    return handle
  }
}
