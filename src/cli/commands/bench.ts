import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { InputError, show } from '../../core/errors.ts'
import { formatNumber } from '../../report/numbers.ts'
import { renderTable } from '../../report/table.ts'
import type { TableStyle } from '../../report/table.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { printJson, printLine } from '../io.ts'
import { startProgress } from '../progress.ts'
import { packageRoot } from '../../core/packageRoot.ts'

/** One measured figure. */
export interface BenchFigure {
  readonly name: string
  readonly value: number
  readonly unit: string
  /** 95 % interval of the value. */
  readonly low?: number
  readonly high?: number
  /** Noise: how much the same figure differs between two equal runs (A/A). */
  readonly noise?: number
  /** Whether the figure supports a claim. */
  readonly verdict?: string
}

/** Options that a benchmark may accept. */
export interface BenchOptions {
  /** Ids of models or YAML files. */
  readonly models?: readonly string[]
  readonly full?: boolean
}

/** What a module in bench/ exports. A `run` without a parameter accepts no options. */
interface BenchModule {
  run(options?: BenchOptions): Promise<readonly BenchFigure[]>
}

interface Options {
  readonly json?: boolean
  readonly model?: readonly string[]
  readonly full?: boolean
}

export const bench: CliCommand<Options> = {
  name: 'bench',
  summary: 'run the benchmarks of this build',
  configure(command) {
    command.argument('[names...]', 'benchmarks to run (default: all)')
    command
      .option('--model <id...>', 'models, for benchmarks that take them: built-in ids or YAML files')
      .option('--full', 'all there is to measure, for benchmarks that are quick by default')
    addJson(command)
    addExamples(command, [
      ['Run everything and print a table', 'bench'],
      ['One benchmark, for a script', 'bench oracle --json'],
      ['What decomposing a model costs', 'bench overhead --model gpt2 gpt2-xl'],
    ])
  },
  async run(options, io, args) {
    const folder = join(packageRoot(), 'dist', 'bench')
    const names = chooseBenches(listBenches(folder), args)
    const figures = await runBenches(io, folder, names, options)
    if (options.json === true) printJson(io, figures)
    else printLine(io, figureTable(figures, io))
  },
}

/** Names of the benchmarks in `folder`, sorted. */
export function listBenches(folder: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .filter((file) => file.endsWith('.js'))
    .map((file) => file.slice(0, -'.js'.length))
    .sort()
}

/** The wanted benchmarks among the known ones; without any wanted, all. */
export function chooseBenches(known: readonly string[], wanted: readonly string[]): readonly string[] {
  if (known.length === 0) {
    throw new InputError({
      where: 'dist/bench',
      expected: 'built benchmarks',
      found: 'none',
      remedy: 'run `npm run bench` in a clone of the project',
    })
  }
  for (const name of wanted) {
    if (!known.includes(name))
      throw new InputError({ where: 'bench', expected: `one of ${known.join(', ')}`, found: show(name) })
  }
  return wanted.length === 0 ? known : wanted
}

async function runBenches(
  io: Io,
  folder: string,
  names: readonly string[],
  { model, full }: Options,
): Promise<BenchFigure[]> {
  const options = { ...(model === undefined ? {} : { models: model }), ...(full === true ? { full } : {}) }
  const progress = startProgress(io, 'bench', names.length)
  const figures: BenchFigure[] = []
  try {
    for (const [index, name] of names.entries()) {
      progress.update(index, name)
      const module = (await import(pathToFileURL(join(folder, `${name}.js`)).href)) as BenchModule
      checkTakes(module, name, options)
      for (const figure of await module.run(options)) figures.push(checkFigure(figure, name))
      if (io.signal.aborted) break
    }
  } finally {
    progress.stop()
  }
  return figures
}

/** Throws InputError if a benchmark would silently ignore an option. */
export function checkTakes(module: BenchModule, bench: string, options: BenchOptions): void {
  const [given] = Object.keys(options)
  if (given === undefined || module.run.length > 0) return
  throw new InputError({
    where: `bench ${bench}`,
    expected: 'no options',
    found: given === 'models' ? '--model' : '--full',
    remedy: 'name the benchmark that is to take it',
  })
}

function checkFigure(figure: BenchFigure, bench: string): BenchFigure {
  for (const value of [figure.value, figure.low ?? 0, figure.high ?? 0, figure.noise ?? 0]) {
    if (!Number.isFinite(value))
      throw new Error(`bench ${bench}: ${figure.name} is ${value}, not a finite number`)
  }
  return figure
}

/** The columns in which at least one figure has a value. */
export function figureTable(figures: readonly BenchFigure[], style: TableStyle): string {
  const right = 'right' as const
  const columns: { title: string; align?: 'right'; cell: (figure: BenchFigure) => string }[] = [
    { title: 'benchmark', cell: ({ name }) => name },
    { title: 'value', align: right, cell: ({ value }) => formatNumber(value) },
    { title: 'unit', cell: ({ unit }) => unit },
    { title: '95 % interval', align: right, cell: intervalOf },
    { title: 'A/A', align: right, cell: ({ noise }) => (noise === undefined ? '' : formatNumber(noise)) },
    { title: 'verdict', cell: ({ verdict }) => verdict ?? '' },
  ]
  const filled = columns.filter(({ cell }) => figures.some((figure) => cell(figure) !== ''))
  return renderTable(
    { columns: filled, rows: figures.map((figure) => filled.map(({ cell }) => cell(figure))) },
    style,
  )
}

function intervalOf({ low, high }: BenchFigure): string {
  return low === undefined || high === undefined ? '' : `${formatNumber(low)} .. ${formatNumber(high)}`
}
