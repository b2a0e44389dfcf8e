import type { DType, TensorData } from '../../core/onnx/tensor.ts'
import { ropeTables } from './layers.ts'
import { int4Scales, INT4_BLOCK, int8Scales, quantizeInt4, quantizeInt8, transposed } from './quantize.ts'
import { headsPerUnit } from '../spec.ts'
import type { ModelSpec } from '../spec.ts'
import type { RuntimePrecision } from '../precision.ts'
import type { AttentionWeights, EmbeddingWeights, FfnWeights, LmHeadWeights } from './weights.ts'

/** One tensor of a block. `data` creates its values when called. */
export interface WeightTensor {
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly data: () => TensorData
}

/**
 * Weights that a graph uses together. Names and shapes are known immediately; values are created on demand and not
 * kept, so that a model larger than memory can be processed block by block.
 */
export interface WeightBlock {
  /** Prefix of each tensor's name in a graph, e.g. `layer3.attention`. */
  readonly name: string
  /** Distinguishes blocks with the same name, e.g. by their units: `u0-3`. */
  readonly variant?: string
  readonly precision: RuntimePrecision
  readonly tensors: Readonly<Record<string, WeightTensor>>
}

type Fields = Record<string, WeightTensor>
type Shape = readonly [rows: number, columns: number]

/** A tensor that is stored unquantised, e.g. a bias; empty if the model has none. */
function plain(name: string, dims: readonly number[], data: () => Float32Array | null): Fields {
  return { [name]: { dtype: 'float32', dims, data: () => data()! } }
}

/**
 * A matrix [in, out] that rows are multiplied by, in the block's precision. If quantised, its levels and scales are
 * separate tensors.
 */
function matrix(name: string, [k, n]: Shape, precision: RuntimePrecision, data: () => Float32Array): Fields {
  if (precision === 'fp32') return plain(name, [k, n], data)
  if (precision === 'int8') {
    return {
      [`${name}.int8`]: { dtype: 'uint8', dims: [k, n], data: () => quantizeInt8(data(), k, n).values },
      ...plain(`${name}.scales`, [n], () => int8Scales(data(), k, n)),
    }
  }
  const blocks = Math.ceil(k / INT4_BLOCK)
  const dims = [n, blocks, INT4_BLOCK / 2]
  return {
    [`${name}.int4`]: { dtype: 'uint8', dims, data: () => quantizeInt4(data(), k, n).values },
    ...plain(`${name}.scales`, [n, blocks], () => int4Scales(data(), k, n)),
  }
}

function normFields(
  model: ModelSpec,
  weights: () => { normScale: Float32Array; normBias: Float32Array | null },
): Fields {
  const scale = plain('normScale', [model.width], () => weights().normScale)
  if (model.family === 'llama') return scale
  return { ...scale, ...plain('normBias', [model.width], () => weights().normBias) }
}

/** `units` K/V groups of one attention. Without units: the output bias only. */
export function attentionBlock(
  name: string,
  model: ModelSpec,
  units: number,
  precision: RuntimePrecision,
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
    ...matrix('query', [width, wide], precision, () => weights().query),
    ...matrix('key', [width, narrow], precision, () => weights().key),
    ...matrix('value', [width, narrow], precision, () => weights().value),
    ...matrix('output', [wide, width], precision, () => weights().output),
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
  precision: RuntimePrecision,
  weights: () => FfnWeights,
): WeightBlock {
  const { width, ffnWidth } = model
  const tensors: Fields = {
    ...normFields(model, weights),
    ...matrix('first', [width, ffnWidth], precision, () => weights().first),
    ...(model.family === 'gpt2'
      ? plain('firstBias', [ffnWidth], () => weights().firstBias)
      : matrix('gate', [width, ffnWidth], precision, () => weights().gate!)),
  }
  return { name, precision, tensors }
}

/** Second matrix of an FFN. */
export function ffnSecondBlock(
  name: string,
  model: ModelSpec,
  precision: RuntimePrecision,
  weights: () => FfnWeights,
): WeightBlock {
  const tensors: Fields = {
    ...matrix('second', [model.ffnWidth, model.width], precision, () => weights().second),
    ...(model.family === 'gpt2' ? plain('secondBias', [model.width], () => weights().secondBias) : {}),
  }
  return { name, precision, tensors }
}

/** Always float32, because rows are looked up and not multiplied. */
export function embeddingBlock(name: string, model: ModelSpec, weights: () => EmbeddingWeights): WeightBlock {
  const { vocabulary, width, contextTokens } = model
  const tensors: Fields = {
    ...plain('tokens', [vocabulary, width], () => weights().tokens),
    ...(model.family === 'gpt2' ? plain('positions', [contextTokens, width], () => weights().positions) : {}),
  }
  return { name, precision: 'fp32', tensors }
}

/**
 * Precision of an lm_head: never below 8 bits, because the last layer loses most accuracy with few bits, and 8 bits are
 * as fast as 4.
 */
export function lmHeadPrecision(precision: RuntimePrecision): 'fp32' | 'int8' {
  return precision === 'fp32' ? 'fp32' : 'int8'
}

/**
 * Norm and matrix of an lm_head: `matrix` [vocabulary, width] in fp32, [width, vocabulary] in int8. `tied`: the norm
 * only.
 */
export function lmHeadBlock(
  name: string,
  model: ModelSpec,
  precision: 'fp32' | 'int8',
  tied: boolean,
  weights: () => LmHeadWeights,
): WeightBlock {
  const { vocabulary, width } = model
  const fields = normFields(model, weights)
  if (tied) return { name, precision, tensors: fields }
  const of =
    precision === 'fp32'
      ? plain('matrix', [vocabulary, width], () => weights().matrix)
      : matrix('matrix', [width, vocabulary], precision, () =>
          transposed(weights().matrix, vocabulary, width),
        )
  return { name, precision, tensors: { ...fields, ...of } }
}

/** The tables of the rotary embedding. */
export function ropeBlock(name: string, model: ModelSpec): WeightBlock {
  const dims = [model.contextTokens, model.headDim / 2]
  const tensors: Fields = {
    ...plain('cosine', dims, () => ropeTables(model).cosine),
    ...plain('sine', dims, () => ropeTables(model).sine),
  }
  return { name, precision: 'fp32', tensors }
}
