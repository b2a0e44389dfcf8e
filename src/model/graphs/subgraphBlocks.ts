import {
  attentionBlock,
  embeddingBlock,
  ffnFirstBlock,
  ffnSecondBlock,
  lmHeadBlock,
  lmHeadPrecision,
  ropeBlock,
} from './blocks.ts'
import type { WeightBlock } from './blocks.ts'
import type { RuntimePrecision } from '../precision.ts'
import type { WeightSource } from './source.ts'
import { attentionUnits } from '../spec.ts'
import type { AttentionWeights } from './weights.ts'
import { sliceUnits } from './weights.ts'

/** The weight blocks of a source, which is read only when a tensor's data is needed. */
export interface SubgraphBlocks {
  embedding(): WeightBlock
  attention(layer: number, units: readonly number[]): WeightBlock
  ffnFirst(layer: number): WeightBlock
  ffnSecond(layer: number): WeightBlock
  /** Without `matrix` if it is tied to the embedding's. */
  head(): WeightBlock
  exit(layer: number): WeightBlock
  rope(): WeightBlock
}

/**
 * Creates the blocks. Keeps only the weights last read from the source, because a block's tensors are read one after
 * the other.
 */
export function subgraphBlocks(source: WeightSource, precision: RuntimePrecision): SubgraphBlocks {
  const { model } = source
  const all = Array.from({ length: attentionUnits(model) }, (_, i) => i)
  let latest: { key: string; value: unknown } | null = null
  const latestOf =
    <T>(key: string, make: () => T) =>
    (): T => {
      if (latest?.key !== key) {
        latest = null
        latest = { key, value: make() }
      }
      return latest.value as T
    }
  const ffn = (layer: number) => latestOf(`ffn ${layer}`, () => source.ffn(layer))
  return {
    embedding: () =>
      embeddingBlock(
        'embedding',
        model,
        latestOf('embedding', () => source.embedding()),
      ),
    attention: (layer, units) => {
      const variant = unitsLabel(units)
      const chosen = (): AttentionWeights => {
        const weights = source.attention(layer)
        return variant === unitsLabel(all) ? weights : sliceUnits(model, weights, units)
      }
      const weights = latestOf(`attention ${layer} ${variant}`, chosen)
      const name = `layer${layer}.attention`
      return { ...attentionBlock(name, model, units.length, precision, weights), variant }
    },
    ffnFirst: (layer) => ffnFirstBlock(`layer${layer}.ffnFirst`, model, precision, ffn(layer)),
    ffnSecond: (layer) => ffnSecondBlock(`layer${layer}.ffnSecond`, model, precision, ffn(layer)),
    head: () => {
      const tied = model.tiedHead && precision === 'fp32'
      const weights = latestOf('head', () => source.head())
      return lmHeadBlock('head', model, lmHeadPrecision(precision), tied, weights)
    },
    exit: (layer) => {
      const weights = latestOf(`exit ${layer}`, () => source.exitHead(layer))
      return lmHeadBlock(`exit${layer}`, model, lmHeadPrecision(precision), false, weights)
    },
    rope: () => ropeBlock('rope', model),
  }
}

/** Label of units in their order, with runs joined: [0, 1, 2, 5, 4] is `u0-2+5+4`. */
export function unitsLabel(units: readonly number[]): string {
  const runs: { from: number; to: number }[] = []
  for (const unit of units) {
    const run = runs.at(-1)
    if (run !== undefined && unit === run.to + 1) run.to = unit
    else runs.push({ from: unit, to: unit })
  }
  return `u${runs.map(({ from, to }) => (from === to ? String(from) : `${from}-${to}`)).join('+')}`
}
