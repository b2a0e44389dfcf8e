import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { InputError, show } from '../../base/errors.ts'
import { formatNumber } from '../../report/numbers.ts'
import { renderTable } from '../../report/table.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { printJson, printLine } from '../io.ts'
import { startProgress } from '../progress.ts'
import { packageRoot } from '../root.ts'

/** One measured figure. */
export interface BenchFigure {
  readonly name: string
  readonly value: number
  readonly unit: string
}

/** What a module in bench/ exports. */
export interface BenchModule {
  run(): Promise<readonly BenchFigure[]>
}

interface Options {
  readonly json?: boolean
}

export const bench: CliCommand<Options> = {
  name: 'bench',
  summary: 'run the benchmarks of this build',
  configure(command) {
    command.argument('[names...]', 'benchmarks to run (default: all)')
    addJson(command)
    addExamples(command, [
      ['Run everything and print a table', 'bench'],
      ['One benchmark, for a script', 'bench oracle --json'],
    ])
  },
  async run(options, io, args) {
    const folder = join(packageRoot(), 'dist', 'bench')
    const names = chooseBenches(listBenches(folder), args)
    const figures = await runBenches(io, folder, names)
    if (options.json === true) printJson(io, figures)
    else printLine(io, figureTable(figures, io))
  },
}

/** Names of the benchmarks built into `folder`, sorted. */
export function listBenches(folder: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .filter((file) => file.endsWith('.js'))
    .map((file) => file.slice(0, -'.js'.length))
    .sort()
}

/** The wanted ones of those there are; none wanted means all. */
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

async function runBenches(io: Io, folder: string, names: readonly string[]): Promise<BenchFigure[]> {
  const progress = startProgress(io, 'bench', names.length)
  const figures: BenchFigure[] = []
  try {
    for (const [index, name] of names.entries()) {
      progress.update(index, name)
      const module = (await import(pathToFileURL(join(folder, `${name}.js`)).href)) as BenchModule
      for (const figure of await module.run()) figures.push(checkFigure(figure, name))
      if (io.signal.aborted) break
    }
  } finally {
    progress.stop()
  }
  return figures
}

function checkFigure(figure: BenchFigure, bench: string): BenchFigure {
  if (!Number.isFinite(figure.value))
    throw new Error(`bench ${bench}: ${figure.name} is ${figure.value}, not a finite number`)
  return { name: figure.name, value: figure.value, unit: figure.unit }
}

function figureTable(figures: readonly BenchFigure[], io: Io): string {
  return renderTable(
    {
      columns: [{ title: 'benchmark' }, { title: 'value', align: 'right' }, { title: 'unit' }],
      rows: figures.map((figure) => [figure.name, formatNumber(figure.value), figure.unit]),
    },
    io,
  )
}
