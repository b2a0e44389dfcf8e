import { basename, join } from 'node:path'
import type { Assessment } from '../../lab/accuracy/types.ts'
import { InputError } from '../../core/errors.ts'
import { checkWritable } from '../../core/fileErrors.ts'
import { readText, writeAtomic } from '../../core/files.ts'
import type { RuntimePrecision } from '../../model/precision.ts'
import type { PretrainedModel } from '../../model/weights/pretrained.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { printJson, printLine } from '../io.ts'
import type { AccuracyJson } from '../json/accuracy.ts'
import { integerOption, numberOption } from '../options.ts'
import { EXIT_INTERRUPTED } from '../program.ts'
import { startProgress, type Progress } from '../progress.ts'
import { packageRoot } from '../../core/packageRoot.ts'
import { openSubgraphFolder, type SubgraphFolder } from '../../model/graphs/subgraphFolder.ts'
import { describeAssessment, perplexityPoints } from './accuracyTable.ts'

interface Options {
  readonly model: string
  readonly text?: string
  readonly ids?: string
  readonly tokens: number
  readonly memoryGb: number
  readonly cache?: string
  readonly out?: string
  readonly plot?: string
  readonly json?: boolean
}

const MAX_TEXT_BYTES = 16 * 1024 * 1024
const MAX_TOKENS = 1_000_000

export const accuracy: CliCommand<Options> = {
  name: 'accuracy',
  summary: 'measure what quantised boundaries, early exits and quantised weights lose',
  configure(command) {
    command
      .requiredOption('--model <id|path>', 'tales (built in), a Hugging Face directory, or a llama2.c .bin')
      .option('--text <file>', 'a text that the model was not trained on (default for tales: held-out tales)')
      .option('--ids <file>', 'the same as token ids, for a model without a tokenizer')
      .option('--tokens <n>', 'tokens to predict', integerOption({ min: 1, max: MAX_TOKENS }), 4096)
      .option('--out <file>', 'accuracy table to write (.accuracy.json)')
      .option('--plot <file>', 'perplexity against bits (.svg)')
      .option(
        '--memory-gb <n>',
        'weights that may be loaded at once, 10^9 bytes',
        numberOption({ min: 0, exclusiveMin: true }),
        4,
      )
      .option('--cache <folder>', "where the graphs are kept (default: the user's cache folder)")
    addJson(command)
    addExamples(command, [
      ['The table that ships with the built-in model', 'accuracy --model tales --out tales.accuracy.json'],
      ['Another model on a text of its own', 'accuracy --model ./gpt2 --text held-out.txt --tokens 2048'],
      ['A figure', 'accuracy --model tales --plot perplexity.svg'],
    ])
  },
  run(options, io) {
    const running = measure(options, io)
    // The process waits for the current step, so that graphs are never left half written.
    io.onExit(async () => {
      await running.catch(() => undefined)
    })
    return running
  },
}

async function measure(options: Options, io: Io): Promise<number> {
  for (const file of [options.out, options.plot]) if (file !== undefined) checkWritable(file)
  const { openPretrained } = await import('../../model/weights/open.ts')
  const pretrained = openPretrained(options.model, { builtinFolder: join(packageRoot(), 'models') })
  const found = await assessment(options, pretrained, io)
  if (found === null) {
    io.stderr.write('stopped; nothing was written\n')
    return EXIT_INTERRUPTED
  }
  await writeFiles(options, found)
  if (options.json === true) printJson(io, found satisfies AccuracyJson)
  else {
    printLine(io, describeAssessment(found, io))
    for (const file of [options.out, options.plot]) if (file !== undefined) printLine(io, `\nwrote ${file}`)
  }
  return 0
}

async function assessment(options: Options, pretrained: PretrainedModel, io: Io): Promise<Assessment | null> {
  const [{ assess }, { measuredText }, { openEngine }, { openSubgraphStore }] = await Promise.all([
    import('../../lab/accuracy/assess.ts'),
    import('../../lab/accuracy/text.ts'),
    import('../../core/engine/open.ts'),
    import('../../model/graphs/subgraphStore.ts'),
  ])
  const { source, fingerprint } = pretrained
  const { name, windows } = measuredText(pretrained, textOf(options))
  const folders = new Map<RuntimePrecision, SubgraphFolder>()
  const engine = await openEngine('worker')
  let progress: Progress | null = null
  try {
    return await assess({
      engine,
      source,
      fingerprint,
      windows,
      text: name,
      clock: io.clock,
      files: (precision) => {
        const cache = openSubgraphFolder(io.env, options.cache, fingerprint, precision)
        folders.set(precision, cache)
        return openSubgraphStore(cache.folder, source, precision)
      },
      budgetBytes: options.memoryGb * 1e9,
      stopped: () => io.signal.aborted,
      onProgress: (done, total, note) => {
        progress ??= startProgress(io, 'accuracy', total)
        progress.update(done, note)
      },
    })
  } finally {
    ;(progress as Progress | null)?.stop()
    await engine.close()
    for (const cache of folders.values()) cache.close()
  }
}

function textOf({ text, ids, tokens }: Options) {
  if (text !== undefined && ids !== undefined) {
    throw new InputError({ where: '--text and --ids', expected: 'one of the two', found: 'both' })
  }
  if (text !== undefined)
    return { tokens, text: { content: readText(text, MAX_TEXT_BYTES), name: basename(text) } }
  if (ids === undefined) return { tokens }
  const words = readText(ids, MAX_TEXT_BYTES).split(/[\s,]+/)
  return { tokens, ids: { content: words.filter((word) => word !== '').map(Number), name: basename(ids) } }
}

async function writeFiles({ out, plot }: Options, found: Assessment): Promise<void> {
  if (out !== undefined) {
    const { measuredTable } = await import('../../lab/accuracy/table.ts')
    writeAtomic(out, `${JSON.stringify(measuredTable(found), null, 1)}\n`)
  }
  if (plot === undefined) return
  const [{ renderSvg }, { perplexitySpec }] = await Promise.all([
    import('../../report/render.ts'),
    import('../../report/perplexityChart.ts'),
  ])
  const title = `${found.modelId}: perplexity against bits`
  const subtitle = `measured on ${found.tokens} tokens of ${found.text}`
  writeAtomic(plot, await renderSvg(perplexitySpec(perplexityPoints(found), title, subtitle)))
}
