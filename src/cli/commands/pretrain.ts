import type { HeadQuality } from '../../lab/pretrain/evaluate.ts'
import type { PretrainStopped, PretrainSummary } from '../../lab/pretrain/run.ts'
import type { StepReport } from '../../lab/pretrain/trainer.ts'
import { formatNumber, formatSeconds } from '../../report/numbers.ts'
import { renderTable } from '../../report/table.ts'
import type { Column } from '../../report/table.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { printJson, printLine } from '../io.ts'
import { integerOption } from '../options.ts'
import { EXIT_INTERRUPTED } from '../program.ts'
import { startProgress } from '../progress.ts'
import type { Progress } from '../progress.ts'

interface Options {
  readonly out: string
  readonly steps?: number
  readonly seed?: number
  readonly resume?: boolean
  readonly json?: boolean
}

export const pretrainCommand: CliCommand<Options> = {
  name: 'pretrain',
  summary: 'train the built-in language model again',
  configure(command) {
    command
      .requiredOption('--out <folder>', 'folder to write: a Hugging Face directory')
      .option(
        '--steps <n>',
        'optimiser steps (default: those of the shipped model)',
        integerOption({ min: 1 }),
      )
      .option('--seed <n>', 'seed of the texts and the first weights (default: 1)', integerOption({ min: 0 }))
      .option('--resume', 'continue from the checkpoint in the folder')
    addJson(command)
    addExamples(command, [
      ['The shipped model, byte for byte (same engine and kind of processor)', 'pretrain --out models/tales'],
      ['A rough one in a minute', 'pretrain --out runs/rough-tales --steps 300'],
      ['Go on after Ctrl-C', 'pretrain --out runs/rough-tales --steps 300 --resume'],
    ])
  },
  async run(options, io) {
    const running = pretrainNow(options, io)
    // The process waits for the checkpoint before it ends.
    io.onExit(async () => {
      await running.catch(() => undefined)
    })
    const result = await running
    if (options.json === true) printJson(io, result)
    else if (result.finished) describe(result, options.out, io)
    if (result.finished) return 0
    io.stderr.write(
      `stopped after step ${result.step} of ${result.steps}, checkpoint written; go on with the same options and --resume\n`,
    )
    return EXIT_INTERRUPTED
  },
}

async function pretrainNow(options: Options, io: Io): Promise<PretrainSummary | PretrainStopped> {
  const [{ openEngine }, { pretrain }] = await Promise.all([
    import('../../core/engine/open.ts'),
    import('../../lab/pretrain/run.ts'),
  ])
  const engine = await openEngine('auto')
  const { out, steps, seed, resume } = options
  const note = notes(io)
  let progress: Progress | null = null
  try {
    return await pretrain({
      engine,
      folder: out,
      ...(steps === undefined ? {} : { steps }),
      ...(seed === undefined ? {} : { seed }),
      ...(resume === undefined ? {} : { resume }),
      stopped: () => io.signal.aborted,
      onStep: (report, total) => {
        progress ??= startProgress(io, 'pretrain', total)
        progress.update(report.step, note(report, total))
      },
    })
  } finally {
    ;(progress as Progress | null)?.stop()
    await engine.close()
  }
}

/** Weight of a new step in the displayed averages. */
const SMOOTHING = 0.05

/** Text beside the progress bar: averages of the last layer's loss and of the speed. */
function notes(io: Io): (report: StepReport, total: number) => string {
  let loss: number | null = null
  let secondsPerStep: number | null = null
  let before = io.clock.nowSeconds()
  return ({ step, losses, tokens }, total) => {
    const now = io.clock.nowSeconds()
    const smooth = (old: number | null, value: number) =>
      old === null ? value : old + SMOOTHING * (value - old)
    loss = smooth(loss, losses[losses.length - 1])
    secondsPerStep = smooth(secondsPerStep, now - before)
    before = now
    const speed = secondsPerStep > 0 ? `${formatNumber(Math.round(tokens / secondsPerStep))} tokens/s, ` : ''
    const left = formatSeconds(secondsPerStep * (total - step))
    return `step ${step}/${total}, loss ${loss.toFixed(3)} nats/character, ${speed}about ${left} left`
  }
}

const COLUMNS: readonly Column[] = [
  { title: 'prediction after' },
  { title: 'nats/character', align: 'right' },
  { title: 'perplexity', align: 'right' },
  { title: 'right', align: 'right' },
  { title: 'sure (>= 0.8)', align: 'right' },
  { title: 'right when sure', align: 'right' },
]

function describe(summary: PretrainSummary, folder: string, io: Io): void {
  const { parameters, config, validationTales, float16, float32 } = summary
  printLine(io, `${folder}: ${formatNumber(parameters)} parameters, ${formatNumber(config.steps)} steps`)
  printLine(io, `on ${validationTales} tales it was not trained on, weights as written (F16):\n`)
  printLine(io, renderTable({ columns: COLUMNS, rows: float16.map(row) }, io))
  const before = float32[float32.length - 1].perplexity
  printLine(io, `\nperplexity at the end before rounding: ${before.toFixed(5)}`)
}

function row(quality: HeadQuality): string[] {
  const percent = (share: number | null) => (share === null ? '-' : `${(100 * share).toFixed(1)} %`)
  return [
    `layer ${quality.layer}`,
    quality.natsPerCharacter.toFixed(4),
    quality.perplexity.toFixed(4),
    percent(quality.accuracy),
    percent(quality.confidentShare),
    percent(quality.confidentAccuracy),
  ]
}
