import { float } from '../onnx/graph.ts'
import type { AttributeInput, GraphRecorder, Handle } from '../onnx/graph.ts'
import { tensor, tensorOf } from '../onnx/tensor.ts'
import type { ModelSpec } from './spec.ts'

/** Pieces that the sub-block graphs share. Values are [tokens, width] unless said otherwise. */

/** One node with one output. */
export function op(
  graph: GraphRecorder,
  type: string,
  inputs: readonly Handle[],
  attributes: Readonly<Record<string, AttributeInput>> = {},
): Handle {
  return graph.node(type, inputs, attributes)[0]
}

export function weight(
  graph: GraphRecorder,
  name: string,
  dims: readonly number[],
  data: Float32Array,
): Handle {
  return graph.initializer(name, tensor('float32', dims, data))
}

export function integers(graph: GraphRecorder, values: readonly number[]): Handle {
  return graph.constantTensor(tensorOf('int64', [values.length], values))
}

export function scalar(graph: GraphRecorder, value: number): Handle {
  return graph.constantTensor(tensorOf('float32', [], [value]))
}

export function reshape(graph: GraphRecorder, value: Handle, dims: readonly number[]): Handle {
  return op(graph, 'Reshape', [value, integers(graph, dims)])
}

/** x W + b, with W [in, out]. */
export function linear(
  graph: GraphRecorder,
  name: string,
  x: Handle,
  out: number,
  matrix: Float32Array,
  bias: Float32Array | null,
): Handle {
  const y = op(graph, 'MatMul', [x, weight(graph, name, [matrix.length / out, out], matrix)])
  return bias === null ? y : op(graph, 'Add', [y, weight(graph, `${name}Bias`, [out], bias)])
}

/** LayerNorm (GPT-2, epsilon 1e-5) or RMSNorm (LLaMA, epsilon 1e-6 as in arXiv 2302.13971's code). */
export function norm(
  graph: GraphRecorder,
  model: ModelSpec,
  x: Handle,
  scale: Float32Array,
  bias: Float32Array | null,
): Handle {
  const gain = weight(graph, 'normScale', [model.width], scale)
  if (bias !== null) {
    const shift = weight(graph, 'normBias', [model.width], bias)
    return op(graph, 'LayerNormalization', [x, gain, shift], { axis: -1, epsilon: float(GPT2_EPSILON) })
  }
  // ONNX Runtime's own operator, in the default domain: opset 21 has no RMS normalisation.
  const outputs = [{ dtype: x.dtype, dims: x.dims }]
  return graph.node(
    'SimplifiedLayerNormalization',
    [x, gain],
    { axis: -1, epsilon: float(LLAMA_EPSILON) },
    { outputs },
  )[0]
}

export const GPT2_EPSILON = 1e-5
export const LLAMA_EPSILON = 1e-6
export const ROPE_BASE = 10_000

/** Cosines and sines of every position: [contextTokens, headDim / 2] each (RoFormer, arXiv 2104.09864, eq. 15). */
export function ropeTables(model: ModelSpec): { cosine: Float32Array; sine: Float32Array } {
  const half = model.headDim / 2
  const cosine = new Float32Array(model.contextTokens * half)
  const sine = new Float32Array(model.contextTokens * half)
  for (let position = 0; position < model.contextTokens; position++) {
    for (let pair = 0; pair < half; pair++) {
      const angle = position * ROPE_BASE ** (-pair / half)
      cosine[position * half + pair] = Math.cos(angle)
      sine[position * half + pair] = Math.sin(angle)
    }
  }
  return { cosine, sine }
}

/** Turns pairs (i, i + headDim / 2) of [.., tokens, headDim] by the angle of their position; the "half" layout of Hugging Face. */
export function rotate(
  graph: GraphRecorder,
  model: ModelSpec,
  x: Handle,
  cosine: Handle,
  sine: Handle,
): Handle {
  const half = model.headDim / 2
  const [a, b] = graph.node('Split', [x, integers(graph, [half, half])], { axis: -1 }, { outputs: 2 })
  const real = op(graph, 'Sub', [op(graph, 'Mul', [a, cosine]), op(graph, 'Mul', [b, sine])])
  const imaginary = op(graph, 'Add', [op(graph, 'Mul', [b, cosine]), op(graph, 'Mul', [a, sine])])
  return op(graph, 'Concat', [real, imaginary], { axis: -1 })
}
