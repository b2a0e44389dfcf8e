import {
  attentionBlock,
  embeddingBlock,
  ffnFirstBlock,
  ffnSecondBlock,
  headBlock,
  once,
  ropeBlock,
} from './blocks.ts'
import type { WeightBlock } from './blocks.ts'
import type { WeightPrecision } from './segmentTypes.ts'
import type { WeightSource } from './source.ts'
import { attentionUnits } from './spec.ts'
import { sliceUnits } from './weights.ts'

/** The weight blocks of a source. The source is asked only when a tensor's data are. */
export interface SegmentBlocks {
  embedding(): WeightBlock
  attention(layer: number, units: readonly number[]): WeightBlock
  ffnFirst(layer: number): WeightBlock
  ffnSecond(layer: number): WeightBlock
  /** Without `matrix` where it is the embedding's. */
  head(): WeightBlock
  exit(layer: number): WeightBlock
  rope(): WeightBlock
}

export function segmentBlocks(source: WeightSource, precision: WeightPrecision): SegmentBlocks {
  const { model } = source
  const embedding = once(() => source.embedding())
  const ffn = new Map<number, ReturnType<typeof once<ReturnType<WeightSource['ffn']>>>>()
  const ffnOf = (layer: number) => {
    const known = ffn.get(layer) ?? once(() => source.ffn(layer))
    ffn.set(layer, known)
    return known
  }
  return {
    embedding: () => embeddingBlock('embedding', model, embedding),
    attention: (layer, units) => {
      const weights = once(() => chosenUnits(source, layer, units))
      return attentionBlock(`layer${layer}.attention`, model, units.length, precision, weights)
    },
    ffnFirst: (layer) => ffnFirstBlock(`layer${layer}.ffnFirst`, model, precision, ffnOf(layer)),
    ffnSecond: (layer) => ffnSecondBlock(`layer${layer}.ffnSecond`, model, precision, ffnOf(layer)),
    head: () => {
      const tied = model.tiedHead && precision === 'fp32'
      return headBlock(
        'head',
        model,
        precision,
        tied,
        once(() => source.head()),
      )
    },
    exit: (layer) =>
      headBlock(
        `exit${layer}`,
        model,
        precision,
        false,
        once(() => source.exitHead(layer)),
      ),
    rope: () => ropeBlock('rope', model),
  }
}

function chosenUnits(source: WeightSource, layer: number, units: readonly number[]) {
  const all = source.attention(layer)
  const whole = units.length === attentionUnits(source.model) && units.every((unit, i) => unit === i)
  return whole ? all : sliceUnits(source.model, all, units)
}
