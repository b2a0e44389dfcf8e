import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { checkWritable } from '../../core/fileErrors.ts'
import { InputError } from '../../core/errors.ts'
import { loadModel } from '../../model/catalog.ts'
import { parsePrecision, parseRuntimePrecision, RUNTIME_PRECISIONS } from '../../model/precision.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { datasheetProfile } from '../../plan/profile/datasheet.ts'
import { loadDevice } from '../../plan/profile/loadDevice.ts'
import { DEFAULT_MAX_TOKENS } from '../../plan/profile/grid.ts'
import { readProfile, writeProfile } from '../../plan/profile/file.ts'
import type { Profile } from '../../plan/profile/types.ts'
import { formatSeconds } from '../../report/numbers.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { printJson, printLine } from '../io.ts'
import { integerOption, numberOption, requireChoice } from '../options.ts'
import { startProgress } from '../progress.ts'
import { describeProfile } from './profileTable.ts'

interface Options {
  readonly model?: string
  readonly out?: string
  readonly device?: string
  readonly show?: string
  readonly quick?: boolean
  readonly precision?: string
  readonly maxTokens?: number
  readonly threads: number
  readonly budgetSeconds?: number
  readonly engine: string
  readonly json?: boolean
}

/** `auto`: a worker, as in the runtime, or WASM if the native binary does not load. */
const ENGINES = ['auto', 'worker', 'native', 'wasm'] as const

export const profile: CliCommand<Options> = {
  name: 'profile',
  summary: "measure a model's sub-blocks on this machine",
  configure(command) {
    command.option('--model <id|file>', 'model to profile, see `edgewise models`')
    command.option(
      '--out <file>',
      'profile file to write (default: <device>-<model>-<precision>.profile.json)',
    )
    command.option(
      '--precision <name>',
      `of the weights: ${RUNTIME_PRECISIONS.join(', ')} as \`edgewise edge\` runs them, fp16 with --device (default: fp32, or the data sheet's)`,
    )
    command.option('--quick', 'few points: half a minute for GPT-2 instead of minutes')
    command.option(
      '--max-tokens <n>',
      `tokens of prompt and context up to which it measures, as far as free memory goes; above, up to the model's context, it extrapolates and says so (default: ${DEFAULT_MAX_TOKENS})`,
      integerOption({ min: 1 }),
    )
    command.option('--threads <n>', 'threads within one operator', integerOption({ min: 1, max: 256 }), 1)
    command.option(
      '--budget-seconds <s>',
      'time to aim at for the repeats',
      numberOption({ min: 1, max: 86_400 }),
    )
    command.option('--engine <kind>', `what runs the blocks: ${ENGINES.join(', ')}`, 'auto')
    command.option(
      '--device <id|file>',
      'make a modelled profile from a data sheet instead, see `edgewise devices`',
    )
    command.option('--show <file>', 'only print a profile that was written before')
    addJson(command)
    addExamples(command, [
      ['Measure GPT-2 on this machine', 'profile --model gpt2 --out this-machine.profile.json'],
      ['A first look within half a minute', 'profile --model gpt2 --quick'],
      [
        'One layer of LLaMA-7B stands for all 32: it is measured once',
        'profile --model llama-7b --threads 2',
      ],
      ['For long prompts, if memory allows', 'profile --model mine.yaml --max-tokens 16384'],
      ['For an edge that runs 4-bit weights', 'profile --model gpt2 --precision int4'],
      ['A profile modelled from a data sheet', 'profile --model llama-7b --device jetson-orin-nx'],
    ])
  },
  async run(options, io) {
    const found = options.show === undefined ? await makeProfile(options, io) : readProfile(options.show)
    const file = options.show === undefined ? outputOf(options, found) : null
    if (file !== null) writeProfile(file, found)
    if (options.json === true) {
      printJson(io, { file, profile: found })
      return
    }
    printLine(io, describeProfile(found, io))
    if (file !== null) printLine(io, `\nwritten to ${file}`)
  },
}

function outputOf(options: Options, found: Profile): string {
  return options.out ?? `${found.device.id}-${found.model.id}-${found.precision}.profile.json`
}

async function makeProfile(options: Options, io: Io): Promise<Profile> {
  if (options.model === undefined) {
    const remedy = '`edgewise models` lists the built-in models'
    throw new InputError({ where: '--model', expected: 'a model id or file', found: 'nothing', remedy })
  }
  const model = loadModel(options.model)
  const { device, precision } = options
  if (device !== undefined) {
    const chosen = precision === undefined ? {} : { precision: parsePrecision(precision, '--precision') }
    return datasheetProfile(loadDevice(device), model, chosen)
  }
  return measure(model, options, io)
}

/** Loads engine and benchmarks only now, because a data sheet needs neither. */
async function measure(model: ModelSpec, options: Options, io: Io): Promise<Profile> {
  const kind = requireChoice('--engine', options.engine, ENGINES)
  checkWritable(options.out ?? '.')
  const precision = parseRuntimePrecision(options.precision ?? 'fp32', '--precision')
  const [{ openEngine }, { measureProfile }] = await Promise.all([
    import('../../core/engine/open.ts'),
    import('../../plan/measure/measure.ts'),
  ])
  const folder = mkdtempSync(join(tmpdir(), 'edgewise-measure-'))
  const remove = (): void => rmSync(folder, { recursive: true, force: true })
  io.onExit(remove)
  const engine = await (kind === 'auto'
    ? openEngine('worker').catch(() => openEngine('wasm'))
    : openEngine(kind))
  const progress = startProgress(io, `profile ${model.id}`, 1000)
  try {
    return await measureProfile(model, {
      engine,
      precision,
      threads: options.threads,
      grid: options.quick === true ? 'quick' : 'full',
      ...(options.maxTokens === undefined ? {} : { maxTokens: options.maxTokens }),
      ...(options.budgetSeconds === undefined ? {} : { budgetSeconds: options.budgetSeconds }),
      clock: io.clock,
      folder,
      onProgress: ({ done, total, label, timing }) => {
        io.signal.throwIfAborted()
        progress.update(Math.round((1000 * done) / total), `${label}: ${formatSeconds(timing.medianSeconds)}`)
      },
    })
  } finally {
    progress.stop()
    await engine.close()
    remove()
  }
}
