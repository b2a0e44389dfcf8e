import type { Command } from 'commander'
import { parseRuntimePrecision, RUNTIME_PRECISIONS } from '../../model/precision.ts'
import { DEFAULT_MEMORY_BYTES, type SideOptions } from '../../serve/side.ts'
import type { Io } from '../io.ts'
import { integerOption, numberOption } from '../options.ts'

/** Flags of one side of a split model: `cloud` and `edge` share them. */
export interface SideFlags {
  readonly model: string
  readonly precision: string
  readonly threads: number
  readonly memoryGb: number
  readonly cache?: string
}

/** Declares the flags that edge and cloud share: the model, its precision and memory. */
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
      'memory for weights, and on an edge for K/V and kept tensors too, 10^9 bytes',
      numberOption({ min: 0, exclusiveMin: true }),
      DEFAULT_MEMORY_BYTES / 1e9,
    )
    .option('--cache <folder>', "where the graphs are kept (default: the user's cache folder)")
}

/** What the flags ask for. Throws InputError for a precision that there is not. */
export function sideOptions(flags: SideFlags, { clock, env }: Io): SideOptions {
  const { model, threads, memoryGb, cache } = flags
  const precision = parseRuntimePrecision(flags.precision, '--precision')
  return { model, precision, threads, memoryBytes: memoryGb * 1e9, cacheFolder: cache, clock, env }
}
