import type { GraphBuilder } from '../../../src/core/onnx/builder.ts'
import type { Handle } from '../../../src/core/onnx/graph.ts'
import type { Tensor } from '../../../src/core/onnx/tensor.ts'
import { tensorOf } from '../../../src/core/onnx/tensor.ts'
import { openEngine } from '../../../src/core/engine/open.ts'
import type { Engine } from '../../../src/core/engine/types.ts'

let engine: Promise<Engine> | undefined

/** Builds, loads and runs a graph once on the native engine. */
export async function runGraph(
  g: GraphBuilder,
  feeds: Record<string, Tensor>,
): Promise<Record<string, Tensor>> {
  return runModel(g.serialize(), feeds)
}

export async function runModel(
  model: Uint8Array,
  feeds: Record<string, Tensor>,
): Promise<Record<string, Tensor>> {
  const session = await load(model)
  try {
    return await session.run(feeds)
  } finally {
    await session.dispose()
  }
}

export async function load(model: Uint8Array) {
  engine ??= openEngine('native')
  return (await engine).create(model)
}

export function values(tensor: Tensor): number[] {
  return Array.from(tensor.data as ArrayLike<number | bigint>, Number)
}

/** Weights that tell the elements of a value apart, so that a gradient in the wrong place shows. */
export function weightedSum(g: GraphBuilder, y: Handle): Handle {
  const dims = y.dims as number[]
  const size = dims.reduce((product, dim) => product * dim, 1)
  const weights = Array.from({ length: size }, (_, i) => Math.cos(1.3 * i + 0.4))
  return g.reduceSum(g.mul(y, g.constantTensor(tensorOf(y.dtype, dims, weights))))
}
