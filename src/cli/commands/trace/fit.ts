import { readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { stringify } from 'yaml'
import { z } from 'zod'
import { InputError } from '../../../base/errors.ts'
import { resolveInside, writeAtomic } from '../../../base/files.ts'
import { readConfig } from '../../../base/schema.ts'
import { fitMarkovLink } from '../../../trace/fit.ts'
import type { ChainData } from '../../../trace/fit.ts'
import type { LinkModel } from '../../../trace/markov.ts'
import { linkModelSchema } from '../../../trace/markov.ts'
import type { CliCommand } from '../../command.ts'
import { addExamples, addJson } from '../../command.ts'
import type { Io } from '../../io.ts'
import { printJson, printLine } from '../../io.ts'
import { startProgress } from '../../progress.ts'
import type { ReadOptions } from './load.ts'
import { loadTrace } from './load.ts'

/** A synthetic link without its figures: they come from the recordings that each chain names. */
const recipeSchema = linkModelSchema.omit({ schemaVersion: true, kind: true, chains: true }).extend({
  chains: z
    .array(
      z.strictObject({
        /** Recordings, or folders of them, below --recordings. */
        files: z.array(z.string().min(1)).min(1).max(10_000),
        /** What they recorded together; the first lane decides the state. */
        lanes: z
          .array(z.enum(['uplink', 'downlink', 'rtt']))
          .min(1)
          .max(3),
        states: z.int().min(1).max(32),
        format: z.string().optional(),
        direction: z.enum(['up', 'down']).optional(),
        stamp: z.enum(['start', 'end']).optional(),
        columns: z.array(z.string()).optional(),
      }),
    )
    .max(8),
})

type Recipe = z.infer<typeof recipeSchema>

interface Options {
  readonly out: string
  readonly recordings?: string
  readonly json?: boolean
}

export const traceFit: CliCommand<Options> = {
  name: 'fit',
  summary: 'fit a synthetic link to recordings',
  configure(command) {
    command.argument(
      '<recipe>',
      'YAML: name, origin, lanes, and for each chain its files, lanes and number of states',
    )
    command.requiredOption('--out <file>', 'synthetic link to write (YAML)')
    command.option('--recordings <folder>', 'where the files of the recipe lie (default: beside the recipe)')
    addJson(command)
    addExamples(command, [
      [
        'Fit to recordings that lie elsewhere',
        'trace fit 4g.recipe.yaml --recordings ../recordings --out 4g.yaml',
      ],
    ])
  },
  async run(options, io, [path]) {
    const recipe = readConfig(recipeSchema, path)
    const { chains, ...text } = recipe
    const data = await loadChains(chains, options.recordings ?? dirname(path), io)
    const model = fitMarkovLink(text, data)
    writeAtomic(options.out, linkYaml(model))
    if (options.json === true) {
      printJson(io, { file: options.out, model })
      return
    }
    for (const [index, chain] of model.chains.entries()) {
      const { length } = data[index].traces
      printLine(
        io,
        `chain ${index}: ${chain.states.length} states from ${length} recordings of ${data[index].lanes.join(', ')}`,
      )
    }
    printLine(io, `written to ${options.out}`)
  },
}

/** The file's text, with a first line that keeps it from being taken for a recording. */
function linkYaml(model: LinkModel): string {
  return `# Synthetic: fitted by \`edgewise trace fit\`, no recording is in it.\n${stringify(model, { lineWidth: 110 })}`
}

async function loadChains(chains: Recipe['chains'], folder: string, io: Io): Promise<ChainData[]> {
  const listed = chains.map((chain) => chain.files.flatMap((file) => filesOf(folder, file)))
  const progress = startProgress(io, 'reading', listed.flat().length)
  let done = 0
  const data: ChainData[] = []
  try {
    for (const [index, chain] of chains.entries()) {
      const traces = []
      for (const file of listed[index]) {
        progress.update(done++, file)
        traces.push(await loadTrace(file, readOptionsOf(chain)))
      }
      data.push({ traces, lanes: chain.lanes, states: chain.states })
    }
  } finally {
    progress.stop()
  }
  return data
}

function readOptionsOf(chain: Recipe['chains'][number]): ReadOptions {
  const { format, direction, stamp, columns } = chain
  return {
    ...(format === undefined ? {} : { format }),
    ...(direction === undefined ? {} : { direction }),
    ...(stamp === undefined ? {} : { stamp }),
    ...(columns === undefined ? {} : { column: columns }),
  }
}

/** The file, or every file of the folder, in the order of their names. */
function filesOf(folder: string, name: string): string[] {
  const full = resolveInside(folder, name)
  const info = statSync(full, { throwIfNoEntry: false })
  if (info === undefined) {
    const remedy = 'say with --recordings where the recordings lie'
    throw new InputError({
      where: full,
      expected: 'a recording or a folder of them',
      found: 'nothing',
      remedy,
    })
  }
  if (!info.isDirectory()) return [full]
  return readdirSync(full, { withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.startsWith('.'))
    .map((entry) => join(full, entry.name))
    .sort()
}
