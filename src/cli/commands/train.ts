import { basename, join } from 'node:path'
import { InputError } from '../../core/errors.ts'
import type { RunContext, RunProgress, RunSummary } from '../../learn/runs/run.ts'
import { formatNumber, formatSeconds } from '../../report/numbers.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { printJson, printLine } from '../io.ts'
import { RUNS_FOLDER, freshFolder, versionsWith, type TrainJson } from '../json/runs.ts'
import { integerOption } from '../options.ts'
import { EXIT_INTERRUPTED } from '../program.ts'
import { startProgress, type Progress } from '../progress.ts'
import { packageRoot } from '../../core/packageRoot.ts'

interface Options {
  readonly out?: string
  readonly edge?: string
  readonly cloud?: string
  readonly seed?: number
  readonly updates?: number
  readonly resume?: string
  readonly json?: boolean
}

export const train: CliCommand<Options> = {
  name: 'train',
  summary: 'train a policy in the simulator, or continue a run',
  configure(command) {
    command
      .argument('[config]', 'training config (YAML)')
      .option('--out <folder>', 'run folder to make (default: runs/<config>-<n>)')
      .option('--edge <device>', "edge profile JSON, device id or YAML instead of the scenario's")
      .option('--cloud <device>', 'the same for the cloud')
      .option('--seed <n>', "seed instead of the config's", integerOption({ min: 0 }))
      .option('--updates <n>', "updates instead of the config's", integerOption({ min: 1 }))
      .option('--resume <run>', 'continue this run exactly from its last checkpoint')
    addJson(command)
    addExamples(command, [
      [
        "Train on this machine's own profile",
        'train configs/quickstart.train.yaml --edge this-machine.profile.json',
      ],
      ['A named run with another seed', 'train configs/quickstart.train.yaml --out runs/second --seed 2'],
      ['Continue after Ctrl-C or kill -9', 'train --resume runs/second'],
    ])
  },
  async run(options, io, [config]) {
    const summary = await trainWith(request(options, config), io)
    if (options.json === true) {
      const { readRun } = await import('../../learn/runs/folder.ts')
      const { training, scenario, scenarioHash } = readRun(summary.folder)
      const { totalUpdates, seed } = training.ppo
      const told = { ...summary, totalUpdates, scenario: scenario.name, scenarioHash, seed }
      printJson(io, told satisfies TrainJson)
    } else describe(summary, io)
    return summary.finished ? 0 : EXIT_INTERRUPTED
  },
}

function request(options: Options, config: string | undefined): TrainRequest {
  if (options.resume !== undefined) {
    const given = Object.entries({ config, ...options, json: undefined, resume: undefined })
    const clash = given.find(([, value]) => value !== undefined)
    if (clash === undefined) return { resume: options.resume }
    throw new InputError({
      where: '--resume',
      expected: 'nothing beside it: a run continues as it was started',
      found: clash[0],
    })
  }
  if (config === undefined) {
    throw new InputError({
      where: 'config',
      expected: 'a training config (YAML), or --resume <run>',
      found: 'nothing',
      remedy: 'configs/quickstart.train.yaml is one',
    })
  }
  const { edge, cloud, seed, updates } = options
  const stem = basename(config).replace(/(\.train)?\.ya?ml$/, '')
  return {
    config,
    out: options.out ?? freshFolder(RUNS_FOLDER, stem),
    overrides: {
      modelsFolder: join(packageRoot(), 'models'),
      ...(edge === undefined ? {} : { edge }),
      ...(cloud === undefined ? {} : { cloud }),
      ...(seed === undefined ? {} : { seed }),
      ...(updates === undefined ? {} : { updates }),
    },
  }
}

type TrainRequest =
  | { readonly resume: string }
  | {
      readonly config: string
      readonly out: string
      readonly overrides: {
        edge?: string
        cloud?: string
        seed?: number
        updates?: number
        modelsFolder?: string
      }
    }

/** Trains with a progress display; after Ctrl-C the current update is finished and a checkpoint is written. */
export async function trainWith(request: TrainRequest, io: Io): Promise<RunSummary> {
  const running = trainNow(request, io)
  // The process waits for the checkpoint before it ends.
  io.onExit(async () => {
    await running.catch(() => undefined)
  })
  return running
}

async function trainNow(request: TrainRequest, io: Io): Promise<RunSummary> {
  const [{ openEngine }, { startRun, resumeRun }] = await Promise.all([
    import('../../core/engine/open.ts'),
    import('../../learn/runs/run.ts'),
  ])
  const engine = await openEngine('auto')
  const folder = 'resume' in request ? request.resume : request.out
  let progress: Progress | null = null
  const began = io.clock.nowSeconds()
  let first: number | null = null
  const context: RunContext = {
    engine,
    clock: io.clock,
    versions: versionsWith(engine.info),
    stopped: () => io.signal.aborted,
    onWarning: (text) => io.stderr.write(`warning: ${text}\n`),
    onUpdate: (update) => {
      progress ??= startProgress(io, 'train', update.totalUpdates)
      first ??= update.update - 1
      const spent = io.clock.nowSeconds() - began
      const left = ((update.totalUpdates - update.update) * spent) / (update.update - first)
      progress.update(update.update, note(update, left))
    },
  }
  try {
    const summary =
      'resume' in request
        ? await resumeRun(request.resume, context)
        : await startRun(request.config, request.out, context, request.overrides)
    if (!summary.finished) {
      io.stderr.write(
        `stopped after update ${summary.updates}, checkpoint written; continue with: edgewise train --resume ${folder}\n`,
      )
    }
    return summary
  } finally {
    ;(progress as Progress | null)?.stop()
    await engine.close()
  }
}

function note(
  { update, totalUpdates, metrics, stepsPerSecond, ...costs }: RunProgress,
  left: number,
): string {
  const { performanceReturn, episodeDecisions } = metrics
  const episode =
    typeof performanceReturn === 'number' && typeof episodeDecisions === 'number'
      ? `reward ${formatNumber(performanceReturn / episodeDecisions)} a request, `
      : ''
  const best =
    costs.bestValidationCost === null
      ? ''
      : `best validation cost ${formatNumber(costs.bestValidationCost)}, `
  const now = costs.validationCost === null ? '' : `validation cost ${formatNumber(costs.validationCost)}, `
  return `update ${update}/${totalUpdates}, ${formatNumber(Math.round(stepsPerSecond))} steps/s, ${episode}${now}${best}${formatSeconds(left)} left`
}

function describe(summary: RunSummary, io: Io): void {
  printLine(io, `${summary.folder}: ${summary.updates} updates, ${formatNumber(summary.decisions)} decisions`)
  if (summary.bestUpdate !== null) {
    printLine(
      io,
      `best policy: update ${summary.bestUpdate}, mean cost ${formatNumber(summary.bestValidationCost)} a request on validation links (simulated)`,
    )
  }
  if (summary.finished) {
    printLine(io, `\nnext: edgewise eval ${summary.folder} all`)
    printLine(
      io,
      `      edgewise export ${summary.folder} --out ${join('exports', basename(summary.folder))}`,
    )
  }
}
