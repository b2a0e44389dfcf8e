import type { ModelSpec } from '../../model/spec.ts'
import { attentionUnits } from '../../model/spec.ts'
import { nonDecreasing } from '../profile/costs.ts'
import type { Bench } from './blocks.ts'
import { LoadedSubgraph } from './blocks.ts'
import { isRoomFor, loadBytes, runBytes } from './memory.ts'
import type { Points } from './points.ts'
import { HEAD, layerChain } from './subgraphs.ts'

/** Batch sizes that are measured: those that the runtime uses. */
export const BATCH_SIZES = [1, 2, 4, 8] as const

/** Context at which the batch curve is measured. */
function batchContextTokens(model: ModelSpec): number {
  return Math.max(1, Math.min(256, model.contextTokens >> 1))
}

/** Measured batch factors. */
export interface BatchCurve {
  readonly sizes: readonly number[]
  readonly factors: readonly number[]
}

/** Whether there is room for the largest batch of `layers` layers, and of the head. */
export function batchFits({ source: { model }, precision, host }: Bench, layers: number): boolean {
  const step = { tokens: 1, position: batchContextTokens(model) }
  return [layerChain(layers, attentionUnits(model)), HEAD].every((subgraph) => {
    const bytes = loadBytes(model, precision, subgraph) + runBytes(model, subgraph, step, BATCH_SIZES.at(-1))
    return isRoomFor(bytes, host.freeBytes())
  })
}

/**
 * Measures the whole model's decode step at each batch size, divided by that of one sequence: one call, all layers
 * (from fused chains of `layers` of them), and the head.
 */
export async function measureBatch(bench: Bench, points: Points, layers: number): Promise<BatchCurve> {
  const { model } = bench.source
  const step = { tokens: 1, position: batchContextTokens(model) }
  const steps: number[] = []
  for (const batch of BATCH_SIZES) {
    const time = async (name: string, label: string, copies: number): Promise<number> => {
      const subgraph = name === 'head' ? HEAD : layerChain(layers, attentionUnits(model))
      const loaded = await LoadedSubgraph.load(bench, `batch-${name}`, subgraph, step, batch)
      try {
        const runs = [await loaded.runner(step)]
        return (await points.time(`${label}, batch of ${batch}`, runs, copies, batch)).medianSeconds
      } finally {
        await loaded.dispose()
      }
    }
    const layer = await time('layers', 'layer', layers)
    const head = await time('head', 'head', 1)
    steps.push(points.dispatch.medianSeconds + model.layers * layer + head)
  }
  const repaired = nonDecreasing(Float64Array.from(steps))
  return { sizes: BATCH_SIZES, factors: [...repaired].map((seconds) => seconds / repaired[0]) }
}
