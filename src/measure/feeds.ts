import type { Feeds } from '../engine/types.ts'
import type { WeightFill } from '../model/weights.ts'
import type { FfnPart, ModelSpec } from '../model/spec.ts'
import { tensor } from '../onnx/tensor.ts'

/** Inputs of the blocks, at the sizes to be measured. Values are normal draws: time does not depend on them. */

const floats = (dims: readonly number[], fill: WeightFill) =>
  tensor(
    'float32',
    dims,
    fill(
      dims.reduce((a, b) => a * b, 1),
      0,
      1,
    ),
  )
const integersFrom = (first: number, count: number) =>
  tensor(
    'int64',
    [count],
    BigInt64Array.from({ length: count }, (_, i) => BigInt(first + i)),
  )

export function embedFeeds(model: ModelSpec, tokens: number): Feeds {
  const ids = BigInt64Array.from({ length: tokens }, (_, i) => BigInt((i * 7919) % model.vocabulary))
  const feeds: Feeds = { ids: tensor('int64', [tokens], ids) }
  return model.family === 'gpt2' ? { ...feeds, positions: integersFrom(0, tokens) } : feeds
}

export function prefillFeeds(model: ModelSpec, tokens: number, fill: WeightFill): Feeds {
  return { x: floats([tokens, model.width], fill), positions: integersFrom(0, tokens) }
}

/** A cache that is full: capacity and context are the same, as a runtime that grows its cache in steps has it. */
export function decodeFeeds(model: ModelSpec, context: number, units: number, fill: WeightFill): Feeds {
  // Two buffers of their own: one shared by both would be read from memory once.
  const dims = [units, context, model.headDim]
  const cache = () => tensor('float32', dims, fill(units * context * model.headDim, 0, 1).slice())
  const feeds: Feeds = {
    x: floats([1, model.width], fill),
    keys: cache(),
    values: cache(),
    mask: tensor('float32', [1, context], new Float32Array(context)),
  }
  if (model.family === 'gpt2') return feeds
  return { ...feeds, position: integersFrom(Math.min(context, model.contextTokens - 1), 1) }
}

export function ffnFeeds(model: ModelSpec, part: FfnPart, tokens: number, fill: WeightFill): Feeds {
  const x = floats([tokens, model.width], fill)
  return part === 'second' ? { x, hidden: floats([tokens, model.ffnWidth], fill) } : { x }
}

export function headFeeds(model: ModelSpec, fill: WeightFill): Feeds {
  return { x: floats([1, model.width], fill) }
}
