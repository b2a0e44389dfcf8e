import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { InputError } from '../../core/errors.ts'
import { readText, writeAtomic } from '../../core/files.ts'
import { check, parseJson } from '../../core/schema.ts'
import { MANIFEST_FILE } from '../../policy/bundle/manifest.ts'
import { verifyBundle } from '../../policy/bundle/verify.ts'
import { formatNumber, formatSeconds } from '../../report/numbers.ts'
import { paint } from '../../report/table.ts'
import { openRunScenario } from '../../learn/runs/run.ts'
import { RUN_FILES } from '../../learn/runs/folder.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { printHint, printJson, printLine } from '../io.ts'
import { exportRun, verifyJson } from '../json/bundle.ts'
import { evalJsonSchema, type EvalJson } from '../json/eval.ts'
import { RUNS_FOLDER, freshFolder, isRun } from '../json/runs.ts'
import { integerOption } from '../options.ts'
import { EXIT_INTERRUPTED } from '../program.ts'
import { packageRoot } from '../../core/packageRoot.ts'
import { PLANNERS, evaluateRequest, openLearned } from './evalRun.ts'
import { describeEvaluation, standing } from './evalTable.ts'
import { profile } from './profile.ts'
import { speakOnce, type Spoken } from './quickstartSpeak.ts'
import { decideConditions, type DecisionMaps } from './quickstartMaps.ts'
import { trainWith } from './train.ts'

interface Options {
  readonly out?: string
  readonly exportTo?: string
  readonly force?: boolean
  readonly edge?: string
  readonly updates?: number
  readonly seeds: number
  readonly tuningEpisodes: number
  readonly tuningCandidates: number
  readonly json?: boolean
}

/** Files in a quickstart's folder; each is made once, so that a second start continues where the first stopped. */
const FILES = {
  profile: 'this-machine.profile.json',
  run: 'ppo',
  evaluation: 'evaluation.json',
  spoken: 'spoken.json',
} as const
const MODEL = 'gpt2'
const STEPS = 6

export const quickstart: CliCommand<Options> = {
  name: 'quickstart',
  summary: 'measure this machine, train, compare, export, decide and speak, in a few minutes',
  configure(command) {
    command
      .option('--out <folder>', 'folder to make, or one to continue (default: runs/quickstart-<n>)')
      .option('--export-to <folder>', 'folder for the bundle (default: exports/<name of the folder>)')
      .option('--force', 'start with an empty folder')
      .option('--edge <device>', 'a device id, YAML or profile JSON instead of measuring this machine')
      .option('--updates <n>', 'training updates instead of those of the config', integerOption({ min: 1 }))
      .option('--seeds <n>', 'paired test episodes', integerOption({ min: 1 }), 30)
      .option(
        '--tuning-episodes <n>',
        'training episodes a planner is tuned on',
        integerOption({ min: 1 }),
        8,
      )
      .option('--tuning-candidates <n>', 'prices tried for the priced planner', integerOption({ min: 1 }), 60)
    addJson(command)
    addExamples(command, [
      ['Everything, on this machine', 'quickstart'],
      ['Continue one that was interrupted', 'quickstart --out runs/quickstart-1'],
      ['A modelled Raspberry Pi 5 instead of this machine', 'quickstart --edge raspberry-pi-5'],
    ])
  },
  async run(options, io) {
    const out = options.out ?? freshFolder(RUNS_FOLDER, 'quickstart')
    const bundle = options.exportTo ?? join('exports', basename(out))
    if (options.force === true) {
      clear(out, Object.values(FILES))
      clear(bundle, [MANIFEST_FILE])
    }
    // With --json only the final object goes to standard output.
    const shown: Io = options.json === true ? { ...io, stdout: io.stderr } : io
    const steps = new Steps(shown)
    const running = runSteps(options, out, bundle, steps, shown)
    // After Ctrl-C the process waits for the current step to end, and for the hint below.
    io.onExit(async () => {
      await running.catch(() => undefined)
    })
    try {
      const found = await running
      if (options.json === true) printJson(io, found)
      return
    } catch (error) {
      // A step that is interrupted throws AbortError.
      if (!(error instanceof Interrupted) && !io.signal.aborted) throw error
      io.stderr.write(`interrupted; continue with: edgewise quickstart --out ${out}\n`)
      return EXIT_INTERRUPTED
    }
  },
}

/** Commands that serve an API with the built-in model. */
const SERVE = [
  'edgewise cloud --model tales',
  'edgewise edge --model tales --cloud 127.0.0.1:7400 --plan cut:4 --listen 127.0.0.1:8080 --watch',
]

/** Ctrl-C between or within steps. */
class Interrupted extends Error {}

/** Prints headings with the time that each step took. */
class Steps {
  private readonly io: Io
  private readonly began: number
  private done = 0

  constructor(io: Io) {
    this.io = io
    this.began = io.clock.nowSeconds()
  }

  next(title: string): void {
    if (this.io.signal.aborted) throw new Interrupted()
    this.done++
    const spent = formatSeconds(Math.round(this.io.clock.nowSeconds() - this.began))
    printLine(this.io, `\n${paint(`[${this.done}/${STEPS}] ${title}`, 'bold', this.io)} (${spent} so far)\n`)
  }

  end(): void {
    printLine(this.io, `\nDone in ${formatSeconds(Math.round(this.io.clock.nowSeconds() - this.began))}.`)
  }
}

interface QuickstartResult extends DecisionMaps {
  readonly folder: string
  readonly bundle: string
  readonly evaluation: EvalJson
  readonly verify: ReturnType<typeof verifyJson>
  readonly spoken: readonly Spoken[]
}

async function runSteps(
  options: Options,
  out: string,
  bundle: string,
  steps: Steps,
  io: Io,
): Promise<QuickstartResult> {
  mkdirSync(out, { recursive: true })
  steps.next(options.edge === undefined ? `Measure this machine (${MODEL})` : `Edge: ${options.edge}`)
  const edge = options.edge ?? (await measured(out, io))
  steps.next('Train a policy in the simulator')
  const run = join(out, FILES.run)
  await trained(run, edge, options, io)
  steps.next('Compare it with every planner, on links it was not trained on')
  const evaluation = await evaluated(out, run, options, io)
  printLine(io, describeEvaluation(evaluation, [FILES.run], io))
  steps.next('Export, and verify the exported file')
  const verify = await exported(run, bundle, evaluation, io)
  steps.next('Decide under three link conditions')
  const maps = await decideConditions(bundle, out, io)
  steps.next('Speak: the built-in model, split between two executors over a replayed LTE link')
  const spoken = await speakOnce(join(out, FILES.spoken), io)
  printLine(io, '')
  for (const line of standing(evaluation, [FILES.run])) printLine(io, line)
  printLine(io, `everything is in ${out}; the bundle in ${bundle}`)
  printHint(io, `\nnext, in two terminals: ${SERVE.join('\n                        ')}`)
  steps.end()
  return { folder: out, bundle, evaluation, verify, ...maps, spoken }
}

async function measured(out: string, io: Io): Promise<string> {
  const file = join(out, FILES.profile)
  if (existsSync(file)) printLine(io, `measured before: ${file}`)
  else await profile.run({ model: MODEL, quick: true, out: file, threads: 1, engine: 'auto' }, io, [])
  return file
}

async function trained(run: string, edge: string, options: Options, io: Io): Promise<void> {
  const config = join(packageRoot(), 'configs', 'quickstart.train.yaml')
  const { updates } = options
  const summary = await trainWith(
    isRun(run)
      ? { resume: run }
      : { config, out: run, overrides: { edge, ...(updates === undefined ? {} : { updates }) } },
    io,
  )
  if (!summary.finished) throw new Interrupted()
  printLine(
    io,
    `${formatNumber(summary.decisions)} decisions in ${summary.updates} updates; the best policy on validation links is that of ` +
      `update ${summary.bestUpdate}: mean cost ${formatNumber(summary.bestValidationCost)} a request (simulated)`,
  )
}

const MAX_EVALUATION_BYTES = 16 * 1024 * 1024

async function evaluated(out: string, run: string, options: Options, io: Io): Promise<EvalJson> {
  const file = join(out, FILES.evaluation)
  if (existsSync(file)) {
    return check(evalJsonSchema, parseJson(readText(file, MAX_EVALUATION_BYTES), file), file)
  }
  const scenario = await openRunScenario(run)
  const json = await evaluateRequest(
    {
      scenario,
      split: 'test',
      seeds: options.seeds,
      planners: PLANNERS,
      learned: openLearned(scenario, [run], []),
      tuning: { episodes: options.tuningEpisodes, candidates: options.tuningCandidates },
      // Beside the run: `runs` unless --out is elsewhere.
      runsFolder: dirname(out),
    },
    io,
  )
  writeAtomic(file, `${JSON.stringify(json, null, 2)}\n`)
  return json
}

async function exported(run: string, bundle: string, evaluation: EvalJson, io: Io) {
  if (!existsSync(join(bundle, MANIFEST_FILE))) {
    const { parity, bytes } = await exportRun(run, bundle, { evaluation, replace: false })
    printLine(
      io,
      `exported ${bundle} (${formatNumber(bytes)} bytes): equal to the trainer on ${formatNumber(parity.observations)} observations`,
    )
  }
  const verify = verifyJson(await verifyBundle(bundle))
  printLine(
    io,
    `verified on ${verify.engines.join(' and ')}: largest difference ${formatNumber(verify.maxAbsError)}, ` +
      `${verify.greedyDisagreements} greedy disagreements`,
  )
  if (verify.ok) return verify
  throw new InputError({
    where: bundle,
    expected: 'a bundle that computes what it says',
    found: verify.worst ?? 'no engine opened',
    remedy: 'edgewise quickstart --force makes everything again',
  })
}

/** Deletes what a quickstart made; refuses a folder that holds anything else. */
function clear(folder: string, marks: readonly string[]): void {
  if (!existsSync(folder)) return
  const ours = marks.some(
    (mark) => existsSync(join(folder, mark)) || existsSync(join(folder, mark, RUN_FILES.run)),
  )
  if (!ours) {
    throw new InputError({
      where: folder,
      expected: 'a folder that quickstart made',
      found: 'another one: --force would remove it',
      remedy: 'choose another --out',
    })
  }
  rmSync(folder, { recursive: true })
}
