import type { RandomStream } from '../../core/random.ts'
import { headsPerUnit } from '../spec.ts'
import type { ModelSpec } from '../spec.ts'

/** Weights are float32, row-major, [in, out]: y = x W + b. */

/** Weights of one attention block or of some of its units; U units with g query heads each, D = headDim. */
export interface AttentionWeights {
  readonly units: number
  readonly normScale: Float32Array // [width]
  readonly normBias: Float32Array | null // [width], GPT-2
  readonly query: Float32Array // [width, U * g * D], unit-major
  readonly key: Float32Array // [width, U * D]
  readonly value: Float32Array // [width, U * D]
  readonly output: Float32Array // [U * g * D, width]
  readonly queryBias: Float32Array | null // [U * g * D], GPT-2
  readonly keyBias: Float32Array | null // [U * D], GPT-2
  readonly valueBias: Float32Array | null // [U * D], GPT-2
  readonly outputBias: Float32Array | null // [width], GPT-2; added by the part with the residual
}

/** Weights of one FFN. */
export interface FfnWeights {
  readonly normScale: Float32Array // [width]
  readonly normBias: Float32Array | null // [width], GPT-2
  readonly first: Float32Array // [width, ffnWidth]
  readonly firstBias: Float32Array | null // [ffnWidth], GPT-2
  readonly gate: Float32Array | null // [width, ffnWidth], LLaMA
  readonly second: Float32Array // [ffnWidth, width]
  readonly secondBias: Float32Array | null // [width], GPT-2
}

/** Weights of the embedding. */
export interface EmbeddingWeights {
  readonly tokens: Float32Array // [vocabulary, width]
  readonly positions: Float32Array | null // [contextTokens, width], GPT-2
}

/** Weights of an lm_head. */
export interface LmHeadWeights {
  readonly normScale: Float32Array // [width]
  readonly normBias: Float32Array | null // [width], GPT-2
  readonly matrix: Float32Array // [vocabulary, width], the embedding's layout, so that both can share one matrix
}

/** Creates `size` random numbers around `mean` with the given spread, in place of weights from a file. */
export type WeightFill = (size: number, mean: number, spread: number) => Float32Array

/**
 * Views of one buffer (one for each spread, around 0) in which a block of normal draws repeats: the matrices of a whole
 * model take the memory of its largest one. Timing equals that of random weights, and there are no subnormal numbers,
 * which would slow it. Each view starts at a different offset, because a runtime detects equal weights and computes
 * with them once. The views share memory: never modify them.
 */
export function sharedFill(stream: RandomStream, tileLength = 65_537): WeightFill {
  const tile = Float32Array.from({ length: tileLength }, () => stream.normal())
  const bySpread = new Map<number, Float32Array>()
  let calls = 0
  return (size, mean, spread) => {
    const start = (calls++ * SHIFT) % tileLength
    if (mean !== 0)
      return Float32Array.from({ length: size }, (_, i) => mean + spread * tile[(start + i) % tileLength])
    let shared = bySpread.get(spread)
    if (shared === undefined || shared.length < size + tileLength) {
      shared = repeated(tile, size + tileLength, spread)
      bySpread.set(spread, shared)
    }
    return shared.subarray(start, start + size)
  }
}

/** A prime, so that offsets repeat only after the whole block was used. */
const SHIFT = 4099

function repeated(tile: Float32Array, size: number, spread: number): Float32Array {
  const out = new Float32Array(size)
  let filled = Math.min(size, tile.length)
  for (let i = 0; i < filled; i++) out[i] = spread * tile[i]
  while (filled < size) {
    const run = Math.min(filled, size - filled)
    out.copyWithin(filled, 0, run)
    filled += run
  }
  return out
}

/** GPT-2's initial spread (Radford et al. 2019). */
const SPREAD = 0.02

/** Random weights of one attention block. */
export function attentionWeights(model: ModelSpec, units: number, fill: WeightFill): AttentionWeights {
  const { width, headDim } = model
  const queries = units * headsPerUnit(model) * headDim
  const bias = (size: number) => (model.family === 'gpt2' ? fill(size, 0, SPREAD) : null)
  return {
    units,
    normScale: fill(width, 1, SPREAD),
    normBias: bias(width),
    query: fill(width * queries, 0, SPREAD),
    key: fill(width * units * headDim, 0, SPREAD),
    value: fill(width * units * headDim, 0, SPREAD),
    output: fill(queries * width, 0, SPREAD),
    queryBias: bias(queries),
    keyBias: bias(units * headDim),
    valueBias: bias(units * headDim),
    outputBias: bias(width),
  }
}

/** Random weights of one FFN. */
export function ffnWeights(model: ModelSpec, fill: WeightFill): FfnWeights {
  const { width, ffnWidth } = model
  const gpt2 = model.family === 'gpt2'
  return {
    normScale: fill(width, 1, SPREAD),
    normBias: gpt2 ? fill(width, 0, SPREAD) : null,
    first: fill(width * ffnWidth, 0, SPREAD),
    firstBias: gpt2 ? fill(ffnWidth, 0, SPREAD) : null,
    gate: gpt2 ? null : fill(width * ffnWidth, 0, SPREAD),
    second: fill(ffnWidth * width, 0, SPREAD),
    secondBias: gpt2 ? fill(width, 0, SPREAD) : null,
  }
}

/** Random weights of the embedding. */
export function embeddingWeights(model: ModelSpec, fill: WeightFill): EmbeddingWeights {
  return {
    tokens: fill(model.vocabulary * model.width, 0, SPREAD),
    positions: model.family === 'gpt2' ? fill(model.contextTokens * model.width, 0, SPREAD) : null,
  }
}

/** Random weights of an lm_head. */
export function lmHeadWeights(model: ModelSpec, fill: WeightFill): LmHeadWeights {
  return {
    normScale: fill(model.width, 1, SPREAD),
    normBias: model.family === 'gpt2' ? fill(model.width, 0, SPREAD) : null,
    matrix: fill(model.vocabulary * model.width, 0, SPREAD),
  }
}

/** The weights of some units of an attention block, in the given order. */
export function sliceUnits(
  model: ModelSpec,
  weights: AttentionWeights,
  units: readonly number[],
): AttentionWeights {
  const query = headsPerUnit(model) * model.headDim
  const columns = (matrix: Float32Array, size: number) => gatherColumns(matrix, weights.units, units, size)
  const bias = (vector: Float32Array | null, size: number) => (vector === null ? null : columns(vector, size))
  const outputRows = new Float32Array(units.length * query * model.width)
  for (const [i, unit] of units.entries()) {
    const rows = query * model.width
    outputRows.set(weights.output.subarray(unit * rows, (unit + 1) * rows), i * rows)
  }
  return {
    ...weights,
    units: units.length,
    query: columns(weights.query, query),
    key: columns(weights.key, model.headDim),
    value: columns(weights.value, model.headDim),
    output: outputRows,
    queryBias: bias(weights.queryBias, query),
    keyBias: bias(weights.keyBias, model.headDim),
    valueBias: bias(weights.valueBias, model.headDim),
  }
}

/** Column blocks `units` (of `size` columns each, `all` in total) of a row-major matrix. */
function gatherColumns(
  matrix: Float32Array,
  all: number,
  units: readonly number[],
  size: number,
): Float32Array {
  const rows = matrix.length / (all * size)
  const out = new Float32Array(rows * units.length * size)
  for (let row = 0; row < rows; row++) {
    for (const [i, unit] of units.entries()) {
      const from = (row * all + unit) * size
      out.set(matrix.subarray(from, from + size), (row * units.length + i) * size)
    }
  }
  return out
}
