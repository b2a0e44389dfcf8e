import type { Command } from 'commander'
import { join } from 'node:path'
import { helloPayload, type HelloPayload } from '../../run/executor/hello.ts'
import { openExecution, type Execution } from '../../run/executor/open.ts'
import { openSubgraphStore } from '../../model/graphs/subgraphStore.ts'
import { parseRuntimePrecision, RUNTIME_PRECISIONS, type RuntimePrecision } from '../../model/precision.ts'
import { openPretrained } from '../../model/weights/open.ts'
import type { PretrainedModel } from '../../model/weights/pretrained.ts'
import type { Io } from '../io.ts'
import { integerOption, numberOption } from '../options.ts'
import { packageRoot, packageVersion } from '../root.ts'
import { openSubgraphFolder } from './cache.ts'

/** Options of one side of a split model: `cloud` and `edge` share them. */
export interface SideOptions {
  readonly model: string
  readonly precision: string
  readonly threads: number
  readonly memoryGb: number
  readonly cache?: string
}

export function addSideOptions(command: Command): void {
  command
    .requiredOption('--model <id|path>', 'tales (built in), a Hugging Face directory, or a llama2.c .bin')
    .option(
      '--precision <name>',
      `weights of this side: ${RUNTIME_PRECISIONS.join(', ')}; the sides may differ`,
      'fp32',
    )
    .option('--threads <n>', 'threads of the engine', integerOption({ min: 1, max: 256 }), 1)
    .option(
      '--memory-gb <n>',
      'weights that may be loaded at once, 10^9 bytes',
      numberOption({ min: 0, exclusiveMin: true }),
      4,
    )
    .option('--cache <folder>', "where the graphs are kept (default: the user's cache folder)")
}

/** One side: its model and what it computes with. */
export interface OpenedSide {
  readonly pretrained: PretrainedModel
  readonly precision: RuntimePrecision
  readonly execution: Execution
  /** What this side says of itself. */
  readonly greeting: HelloPayload
  close(): Promise<void>
}

/** Opens model and engine. Throws InputError. */
export async function openSide(options: SideOptions, io: Io, maxBatch?: number): Promise<OpenedSide> {
  const precision = parseRuntimePrecision(options.precision, '--precision')
  const pretrained = openPretrained(options.model, { builtinFolder: join(packageRoot(), 'models') })
  const { source, fingerprint } = pretrained
  const { id } = source.model
  const cache = openSubgraphFolder(io, options.cache, fingerprint, precision)
  try {
    const execution = await openExecution({
      ...{ model: source.model, files: openSubgraphStore(cache.folder, source, precision), clock: io.clock },
      ...{ threads: options.threads, budgetBytes: options.memoryGb * 1e9 },
      ...(maxBatch === undefined ? {} : { maxBatch }),
    })
    const greeting = helloPayload(`edgewise ${packageVersion()}`, { id, fingerprint }, precision, maxBatch)
    const close = async (): Promise<void> => {
      await execution.close()
      cache.close()
    }
    return { pretrained, precision, execution, greeting, close }
  } catch (error) {
    cache.close()
    throw error
  }
}
