import { join } from 'node:path'
import { systemClock, type Clock } from '../core/clock.ts'
import { packageRoot, packageVersion } from '../core/packageRoot.ts'
import { openSubgraphFolder, type Environment } from '../model/graphs/subgraphFolder.ts'
import { openSubgraphStore } from '../model/graphs/subgraphStore.ts'
import type { RuntimePrecision } from '../model/precision.ts'
import { openPretrained } from '../model/weights/open.ts'
import type { PretrainedModel } from '../model/weights/pretrained.ts'
import { runtimeMemoryTerms } from '../plan/price/memory.ts'
import { helloPayload, type HelloPayload } from '../run/executor/hello.ts'
import { EdgeMemoryBudget } from '../run/executor/memoryBudget.ts'
import { openExecution, type Execution } from '../run/executor/open.ts'

/** What one side of a split model computes with; edge and cloud have the same options. */
export interface SideOptions {
  /** `tales` (built in), a Hugging Face directory, or a llama2.c .bin file. */
  readonly model: string
  /** Of this side's weights; the sides may differ. Default fp32. */
  readonly precision?: RuntimePrecision
  /** Threads of the engine; default 1. */
  readonly threads?: number
  /**
   * On an edge, what weights, K/V and boundary tensors kept for a replay may take together; in a cloud, what the
   * weights may take that are loaded at once. Default DEFAULT_MEMORY_BYTES.
   */
  readonly memoryBytes?: number
  /** Folder for the exported subgraphs; default: the user's cache folder, found by `env`. */
  readonly cacheFolder?: string
  /** Default: the system's. */
  readonly clock?: Clock
  /** Default: the environment of this process. */
  readonly env?: Environment
}

export const DEFAULT_MEMORY_BYTES = 4e9

/** One side: its model and what it computes with. */
export interface OpenedSide {
  readonly pretrained: PretrainedModel
  readonly precision: RuntimePrecision
  /** Of an edge: requests under way take their part of it, and what does not fit is refused. */
  readonly memory: EdgeMemoryBudget
  readonly execution: Execution
  /** What this side tells the other one when they connect. */
  readonly greeting: HelloPayload
  close(): Promise<void>
}

/**
 * Opens model and engine. `maxBatch`: sequences that a cloud decodes in one run; left out on an edge. Throws
 * InputError for a model that cannot be read and for a cache folder that cannot be written.
 */
export async function openSide(options: SideOptions, maxBatch?: number): Promise<OpenedSide> {
  const { precision = 'fp32', threads = 1, memoryBytes = DEFAULT_MEMORY_BYTES } = options
  const { clock = systemClock, env = process.env } = options
  const pretrained = openPretrained(options.model, { builtinFolder: join(packageRoot(), 'models') })
  const { source, fingerprint } = pretrained
  const { id } = source.model
  const memory = new EdgeMemoryBudget(runtimeMemoryTerms(source.model, precision), memoryBytes)
  const cache = openSubgraphFolder(env, options.cacheFolder, fingerprint, precision)
  try {
    const execution = await openExecution({
      model: source.model,
      files: openSubgraphStore(cache.folder, source, precision),
      clock,
      threads,
      budgetBytes: () => memory.weightLimitBytes,
      maxBatch,
    })
    const greeting = helloPayload(`edgewise ${packageVersion()}`, { id, fingerprint }, precision, maxBatch)
    const close = async (): Promise<void> => {
      await execution.close()
      cache.close()
    }
    return { pretrained, precision, memory, execution, greeting, close }
  } catch (error) {
    cache.close()
    throw error
  }
}
