import { InputError } from '../../core/errors.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import { printJson, printLine } from '../io.ts'
import { RUNS_FOLDER } from '../json/runs.ts'
import type { LinkEntry } from '../../sim/scenario/schema.ts'
import { LINK_ARGUMENT } from '../../trace/import/openLink.ts'
import { WORKLOAD_FORMS } from '../../trace/import/workload.ts'
import { integerOption, numberOption, requireChoice } from '../options.ts'
import { PLANNERS, evaluateRequest, openLearned, scenarioFor, sortNames } from './evalRun.ts'
import { describeEvaluation } from './evalTable.ts'
import { addPartOptions } from './link/source.ts'
import type { PartOptions } from './link/source.ts'
import { linkEntries } from './link/entries.ts'

interface Options extends PartOptions {
  readonly scenario?: string
  readonly edge?: string
  readonly links?: string
  readonly workload?: string
  readonly seeds: number
  readonly load?: number
  readonly requests?: number
  readonly tuningEpisodes: number
  readonly tuningCandidates: number
  readonly runs: string
  readonly final?: boolean
  readonly json?: boolean
}

const SPLITS = ['train', 'validation', 'test'] as const

export const evalCommand: CliCommand<Options> = {
  name: 'eval',
  summary: 'compare runs, bundles and planners on the same episodes',
  configure(command) {
    command
      .argument('<names...>', `run folders, bundles, \`all\`, or planners: ${PLANNERS.join(', ')}`)
      .option('--scenario <file>', "scenario (default: the first run's)")
      .option('--edge <device>', "edge profile JSON, device id or YAML instead of the scenario's")
      .option(
        '--links <split|files>',
        `links of ${SPLITS.join(', ')}, or links of your own, comma-separated, each ${LINK_ARGUMENT} (default: validation)`,
      )
      .option(
        '--workload <kind|file>',
        `poisson, mmpp, or recorded requests instead of the scenario's: ${WORKLOAD_FORMS}`,
      )
      .option('--seeds <n>', 'paired episodes', integerOption({ min: 1, max: 10_000 }), 20)
      .option('--load <x>', "load instead of the scenario's", numberOption({ min: 0, exclusiveMin: true }))
      .option('--requests <n>', "requests an episode instead of the scenario's", integerOption({ min: 1 }))
      .option(
        '--tuning-episodes <n>',
        'training episodes a tuned planner is tuned on',
        integerOption({ min: 1 }),
        8,
      )
      .option('--tuning-candidates <n>', 'prices tried for the priced planner', integerOption({ min: 1 }), 60)
      .option('--runs <folder>', 'where tuned prices and the log of final evaluations are kept', RUNS_FOLDER)
      .option('--final', 'test links: logged each time: for the final evaluation of a policy')
    addJson(addPartOptions(command))
    addExamples(command, [
      ['A run against every planner on validation links', 'eval runs/quickstart-1 all'],
      [
        'Two planners at another load',
        'eval per-state-dp priced --scenario configs/quickstart.scenario.yaml --load 0.9',
      ],
      [
        'On a link and a workload of your own',
        'eval exports/mine per-state-dp --scenario configs/quickstart.scenario.yaml --links drive.parquet --workload azure.csv',
      ],
      [
        'On recordings of the two directions of a drive; mahimahi records no round trip',
        'eval per-state-dp --scenario configs/quickstart.scenario.yaml --links drive.up+drive.down --rtt-ms 40',
      ],
      [
        'The last word, on links it was not trained on (logged)',
        'eval runs/quickstart-1 all --final --seeds 40 --json',
      ],
    ])
  },
  async run(options, io, args) {
    const testLinks = ownLinks(options)
    const split = testLinks === undefined ? splitOf(options) : 'test'
    const names = sortNames(args)
    const scenario = await scenarioFor(
      {
        file: options.scenario,
        edge: options.edge,
        load: options.load,
        requestsPerEpisode: options.requests,
        workload: options.workload,
        testLinks,
      },
      names,
    )
    for (const note of scenario.notes) io.stderr.write(`note: ${note}\n`)
    const learned = openLearned(scenario, names.runs, names.bundles)
    const json = await evaluateRequest(
      {
        scenario,
        split,
        givenLinks: testLinks !== undefined,
        seeds: options.seeds,
        planners: names.planners,
        learned,
        tuning: { episodes: options.tuningEpisodes, candidates: options.tuningCandidates },
        runsFolder: options.runs,
      },
      io,
    )
    if (options.json === true) printJson(io, json)
    else {
      const own = learned.map((policy) => policy.name)
      printLine(io, describeEvaluation(json, own, io))
    }
  },
}

/** The links of your own that --links names; undefined if it names a split. */
function ownLinks(options: Options): LinkEntry[] | undefined {
  const links = linkEntries(options.links, options)
  if (links === undefined || options.final !== true) return links
  throw new InputError({
    where: '--final',
    expected: "the scenario's test links",
    found: `--links ${options.links}`,
    remedy: 'leave --final out: links of your own are not logged',
  })
}

function splitOf({ links, final }: Options): (typeof SPLITS)[number] {
  const split = requireChoice('--links', links ?? (final === true ? 'test' : 'validation'), SPLITS)
  if (split === 'test' && final !== true) {
    throw new InputError({
      where: '--links test',
      expected: '--final as well: test links are for the final evaluation, and each use is logged',
      found: 'no --final',
      remedy: 'use --links validation while developing',
    })
  }
  if (split !== 'test' && final === true) {
    throw new InputError({ where: '--final', expected: '--links test', found: `--links ${split}` })
  }
  return split
}
