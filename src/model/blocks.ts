import type { DType, TensorData } from '../onnx/tensor.ts'
import { ropeTables } from './layers.ts'
import { headsPerUnit } from './spec.ts'
import type { ModelSpec } from './spec.ts'
import type { WeightPrecision } from './segmentTypes.ts'
import type { AttentionWeights, EmbeddingWeights, FfnWeights, HeadWeights } from './weights.ts'

/** One tensor of a block, as it lies in a graph or in a file. Its data are made when they are asked for. */
export interface WeightTensor {
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly data: () => TensorData
}

/** The weights that a graph takes together: shapes are known at once, data on demand. */
export interface WeightBlock {
  /** Before each tensor's name in a graph, e.g. `layer3.attention`. */
  readonly name: string
  readonly precision: WeightPrecision
  readonly tensors: Readonly<Record<string, WeightTensor>>
}

/** Calls `make` at most once. */
export function once<T>(make: () => T): () => T {
  let made: { value: T } | null = null
  return () => (made ??= { value: make() }).value
}

type Fields = Record<string, WeightTensor>

/** One tensor as it is, e.g. a bias; left out where the model has none. */
function plain(name: string, dims: readonly number[], data: () => Float32Array | null): Fields {
  return { [name]: { dtype: 'float32', dims, data: () => data()! } }
}

function normFields(
  model: ModelSpec,
  weights: () => { normScale: Float32Array; normBias: Float32Array | null },
): Fields {
  const scale = plain('normScale', [model.width], () => weights().normScale)
  if (model.family === 'llama') return scale
  return { ...scale, ...plain('normBias', [model.width], () => weights().normBias) }
}

/** `units` K/V groups of one attention. Without units: the output bias alone. */
export function attentionBlock(
  name: string,
  model: ModelSpec,
  units: number,
  precision: WeightPrecision,
  weights: () => AttentionWeights,
): WeightBlock {
  const { width } = model
  const narrow = units * model.headDim
  const wide = narrow * headsPerUnit(model)
  const biased = model.family === 'gpt2'
  const outputBias = biased ? plain('outputBias', [width], () => weights().outputBias) : {}
  if (units === 0) return { name, precision, tensors: outputBias }
  const tensors: Fields = {
    ...normFields(model, weights),
    ...plain('query', [width, wide], () => weights().query),
    ...plain('key', [width, narrow], () => weights().key),
    ...plain('value', [width, narrow], () => weights().value),
    ...plain('output', [wide, width], () => weights().output),
    ...outputBias,
  }
  if (!biased) return { name, precision, tensors }
  const biases: Fields = {
    ...plain('queryBias', [wide], () => weights().queryBias),
    ...plain('keyBias', [narrow], () => weights().keyBias),
    ...plain('valueBias', [narrow], () => weights().valueBias),
  }
  return { name, precision, tensors: { ...tensors, ...biases } }
}

/** Norm and first matrix (and gate) of an FFN. */
export function ffnFirstBlock(
  name: string,
  model: ModelSpec,
  precision: WeightPrecision,
  weights: () => FfnWeights,
): WeightBlock {
  const { width, ffnWidth } = model
  const tensors: Fields = {
    ...normFields(model, weights),
    ...plain('first', [width, ffnWidth], () => weights().first),
    ...(model.family === 'gpt2'
      ? plain('firstBias', [ffnWidth], () => weights().firstBias)
      : plain('gate', [width, ffnWidth], () => weights().gate)),
  }
  return { name, precision, tensors }
}

/** Second matrix of an FFN. */
export function ffnSecondBlock(
  name: string,
  model: ModelSpec,
  precision: WeightPrecision,
  weights: () => FfnWeights,
): WeightBlock {
  const tensors: Fields = {
    ...plain('second', [model.ffnWidth, model.width], () => weights().second),
    ...(model.family === 'gpt2' ? plain('secondBias', [model.width], () => weights().secondBias) : {}),
  }
  return { name, precision, tensors }
}

/** Always float32: rows are looked up, not multiplied. */
export function embeddingBlock(name: string, model: ModelSpec, weights: () => EmbeddingWeights): WeightBlock {
  const { vocabulary, width, contextTokens } = model
  const tensors: Fields = {
    ...plain('tokens', [vocabulary, width], () => weights().tokens),
    ...(model.family === 'gpt2' ? plain('positions', [contextTokens, width], () => weights().positions) : {}),
  }
  return { name, precision: 'fp32', tensors }
}

/** Norm and matrix of an LM head; `tied`: the norm alone, the matrix is the embedding's. */
export function headBlock(
  name: string,
  model: ModelSpec,
  precision: WeightPrecision,
  tied: boolean,
  weights: () => HeadWeights,
): WeightBlock {
  const fields = normFields(model, weights)
  const matrix = plain('matrix', [model.vocabulary, model.width], () => weights().matrix)
  return { name, precision, tensors: tied ? fields : { ...fields, ...matrix } }
}

/** The rotary embedding's tables. */
export function ropeBlock(name: string, model: ModelSpec): WeightBlock {
  const tables = once(() => ropeTables(model))
  const dims = [model.contextTokens, model.headDim / 2]
  const tensors: Fields = {
    ...plain('cosine', dims, () => tables().cosine),
    ...plain('sine', dims, () => tables().sine),
  }
  return { name, precision: 'fp32', tensors }
}
