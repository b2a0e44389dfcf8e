import { float } from '../../core/onnx/graph.ts'
import type { AttributeInput, GraphRecorder, Handle } from '../../core/onnx/graph.ts'
import { tensorOf } from '../../core/onnx/tensor.ts'
import { INT4_BLOCK, INT8_ZERO } from './quantize.ts'
import type { Scope } from './scope.ts'
import type { ModelSpec } from '../spec.ts'

/** Parts shared by the graphs of all blocks. Values are [tokens, width] unless said otherwise. */

/** Operator set that a graph must declare for ONNX Runtime's own operators. */
export const RUNTIME_OPSETS = { opsets: { 'com.microsoft': 1 } }

/** Adds one node with one output. */
export function op(
  graph: GraphRecorder,
  type: string,
  inputs: readonly Handle[],
  attributes: Readonly<Record<string, AttributeInput>> = {},
): Handle {
  return graph.node(type, inputs, attributes)[0]
}

/** Adds an int64 vector constant. */
export function integers(graph: GraphRecorder, values: readonly number[]): Handle {
  return graph.constantTensor(tensorOf('int64', [values.length], values))
}

/** Adds a float32 scalar constant. */
export function scalar(graph: GraphRecorder, value: number): Handle {
  return graph.constantTensor(tensorOf('float32', [], [value]))
}

/** Reshapes to constant dimensions. */
export function reshape(graph: GraphRecorder, value: Handle, dims: readonly number[]): Handle {
  return op(graph, 'Reshape', [value, integers(graph, dims)])
}

/** x W + b, with W [in, out] of the scope's block in the block's precision; `bias` names a weight [out], or is null. */
export function linear(scope: Scope, name: string, x: Handle, bias: string | null): Handle {
  const { graph } = scope
  const shift = bias === null ? null : scope.weight(bias)
  if (scope.block.precision === 'int8') return int8Product(scope, name, x, shift)
  const y =
    scope.block.precision === 'fp32'
      ? op(graph, 'MatMul', [x, scope.weight(name)])
      : int4Product(scope, name, x)
  return shift === null ? y : op(graph, 'Add', [y, shift])
}

/** Activations are quantised at run time, with one scale for all rows of x. */
function int8Product(scope: Scope, name: string, x: Handle, bias: Handle | null): Handle {
  const levels = scope.weight(`${name}.int8`)
  const zero = scope.graph.constantTensor(tensorOf('uint8', [], [INT8_ZERO]))
  const inputs = [x, levels, scope.weight(`${name}.scales`), zero, bias]
  const outputs = [{ dtype: x.dtype, dims: [x.dims[0], levels.dims[1]] }]
  return scope.graph.node('DynamicQuantizeMatMul', inputs, {}, { domain: 'com.microsoft', outputs })[0]
}

/** Activations are quantised to 8 bits in blocks of 32, each row separately. */
function int4Product(scope: Scope, name: string, x: Handle): Handle {
  const levels = scope.weight(`${name}.int4`)
  const [k, n] = [x.dims[1] as number, levels.dims[0] as number]
  const attributes = { K: k, N: n, bits: 4, block_size: INT4_BLOCK, accuracy_level: 4 }
  const outputs = [{ dtype: x.dtype, dims: [x.dims[0], n] }]
  const inputs = [x, levels, scope.weight(`${name}.scales`)]
  return scope.graph.node('MatMulNBits', inputs, attributes, { domain: 'com.microsoft', outputs })[0]
}

/** LayerNorm (GPT-2) or RMSNorm (LLaMA) with the scope's `normScale` and `normBias`. */
export function norm(scope: Scope, x: Handle): Handle {
  const { graph, model } = scope
  const attributes = { axis: -1, epsilon: float(normEpsilon(model)) }
  const gain = scope.weight('normScale')
  if (model.family === 'gpt2')
    return op(graph, 'LayerNormalization', [x, gain, scope.weight('normBias')], attributes)
  // ONNX Runtime's own operator, which is in the default domain: opset 21 has no RMS normalisation.
  const outputs = [{ dtype: x.dtype, dims: x.dims }]
  return graph.node('SimplifiedLayerNormalization', [x, gain], attributes, { outputs })[0]
}

/** Default norm epsilons: GPT-2's code; LLaMA's code (arXiv 2302.13971). */
const GPT2_EPSILON = 1e-5
const LLAMA_EPSILON = 1e-6
/** RoFormer, arXiv 2104.09864, section 3.2.2. */
const ROPE_BASE = 10_000

/** Epsilon of the model's norms. */
export function normEpsilon(model: ModelSpec): number {
  return model.normEpsilon ?? (model.family === 'gpt2' ? GPT2_EPSILON : LLAMA_EPSILON)
}

/** Cosines and sines of every position: [contextTokens, headDim / 2] each (RoFormer, arXiv 2104.09864, eq. 15). */
export function ropeTables(model: ModelSpec): { cosine: Float32Array; sine: Float32Array } {
  const base = model.ropeBase ?? ROPE_BASE
  const half = model.headDim / 2
  const cosine = new Float32Array(model.contextTokens * half)
  const sine = new Float32Array(model.contextTokens * half)
  for (let position = 0; position < model.contextTokens; position++) {
    for (let pair = 0; pair < half; pair++) {
      const angle = position * base ** (-pair / half)
      cosine[position * half + pair] = Math.cos(angle)
      sine[position * half + pair] = Math.sin(angle)
    }
  }
  return { cosine, sine }
}

/** Rotates rows [n, heads * headDim] of queries or keys by the positions of their tokens. */
export type Rope = (x: Handle) => Handle

/** For GPT-2, whose embedding contains the positions. */
export const noRope: Rope = (x) => x

/**
 * Rotates pairs (i, i + headDim / 2) of every head by the angle of the row's position: the "half" layout of Hugging
 * Face. `scope` holds the tables; positions int64 [n].
 */
export function ropeAt(scope: Scope, positions: Handle): Rope {
  const { graph } = scope
  const first = integers(graph, [0])
  const at = op(graph, 'Unsqueeze', [positions, first])
  const tables = [scope.weight('cosine'), scope.weight('sine')]
  return (x) => {
    // ONNX Runtime's operator: one node instead of eight standard ones. It takes [1, n, heads * headDim].
    const sequence = op(graph, 'Unsqueeze', [x, first])
    const outputs = [{ dtype: x.dtype, dims: sequence.dims }]
    const options = { domain: 'com.microsoft', outputs }
    const [turned] = graph.node('RotaryEmbedding', [sequence, at, ...tables], { interleaved: 0 }, options)
    return op(graph, 'Squeeze', [turned, first])
  }
}
