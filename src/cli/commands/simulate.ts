import { join } from 'node:path'
import { InputError } from '../../core/errors.ts'
import { profileLabel } from '../../plan/profile/precision.ts'
import { mean, runEpisode } from '../../learn/evaluate/episode.ts'
import { distribution } from '../../learn/evaluate/statistics.ts'
import { explainPlan } from '../../plan/oracle/explain.ts'
import { planToJson } from '../../plan/price/json.ts'
import { planCost } from '../../plan/oracle/value.ts'
import { fitsEdge } from '../../plan/price/memory.ts'
import { edgeMemory } from '../../plan/price/memory.ts'
import { formatBytes, formatJoules, formatNumber, formatSeconds } from '../../report/numbers.ts'
import { renderTable } from '../../report/table.ts'
import { loadScenario, type Scenario, type Split } from '../../sim/scenario/scenario.ts'
import { LINK_ARGUMENT } from '../../trace/import/openLink.ts'
import { needsCloud, type Plan } from '../../plan/plan.ts'
import type { CliCommand } from '../command.ts'
import { packageRoot } from '../../core/packageRoot.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { printJson, printLine } from '../io.ts'
import type { AloneFigures, SimulateAloneJson, SimulateRunJson } from '../json/simulate.ts'
import { readPlan, threeWays } from '../json/simulate.ts'
import type { Candidate } from '../json/oracle.ts'
import { misfit } from '../json/oracle.ts'
import { addRequestOptions, needed, requestOf, stateJson, type RequestOptions } from '../json/request.ts'
import { integerOption, requireChoice } from '../options.ts'
import { linkEntries } from './link/entries.ts'
import { headline, mapOf, timeTable, weightsLine } from './oracleTable.ts'

interface Options extends RequestOptions {
  readonly plan?: string
  readonly scenario?: string
  readonly links: string
  readonly seed: number
  readonly json?: boolean
}

const SPLITS = ['train', 'validation', 'test'] as const
const LINK = '--up-mbps 20 --down-mbps 100 --rtt-ms 30 --prompt 256 --output 128'

export const simulate: CliCommand<Options> = {
  name: 'simulate',
  summary: 'what if: any plan, for one request alone or through a scenario',
  configure(command) {
    command
      .option('--plan <file>', 'the plan as JSON, or what `edgewise oracle --json` printed (its optimum)')
      .option('--scenario <file>', 'run an episode of this scenario with the plan for every request')
      .option(
        '--links <split|files>',
        `scenario: links of ${SPLITS.join(', ')}, or links of your own, comma-separated, each ${LINK_ARGUMENT}`,
        'validation',
      )
      .option('--seed <n>', 'scenario: seed of the episode', integerOption({ min: 0 }), 0)
    addRequestOptions(command)
    addJson(command)
    addExamples(command, [
      [
        'A plan of your own for one request alone: analytic, and by both simulators',
        `simulate --plan plan.json --model gpt2 --edge raspberry-pi-5 --cloud a100 ${LINK}`,
      ],
      [
        'The same plan for every request of an episode',
        'simulate --plan plan.json --scenario configs/quickstart.scenario.yaml --seed 3',
      ],
    ])
  },
  async run(options, io) {
    const file = needed('--plan', options.plan)
    if (options.scenario === undefined) alone(file, options, io)
    else await episode(file, options.scenario, options, io)
  },
}

function alone(file: string, options: Options, io: Io): void {
  const input = requestOf(options)
  const plan = readPlan(file, input.pair)
  const { link } = input.state
  const dead = link.upBitsPerSecond === 0 || link.downBitsPerSecond === 0
  if (dead && needsCloud(plan)) {
    throw new InputError({
      where: '--up-mbps and --down-mbps',
      expected: 'a link that carries data: this plan uses it',
      found: '0 Mbit/s',
    })
  }
  const cost = planCost(input, plan)
  const figures = threeWays(input, plan, cost)
  const reason = misfit(input, plan)
  const why = explainPlan(input, plan)
  if (options.json === true) {
    const { pair } = input
    const found = {
      state: stateJson(input),
      plan: planToJson(pair, plan),
      fits: reason === null,
      reason,
      ...figures,
      why,
    }
    printJson(io, found satisfies SimulateAloneJson)
    return
  }
  const { analytic, reference, fast, maxRelativeDifference } = figures
  const rows = [row('analytic', analytic), row('reference simulator', reference), row('fast simulator', fast)]
  const candidate: Candidate = { name: 'optimum', plan, reason: null, cost, why }
  printLine(io, headline(input))
  printLine(io, renderTable({ columns: COLUMNS, rows }, io))
  printLine(io, `largest relative difference of any figure: ${formatNumber(maxRelativeDifference)}`)
  if (reason !== null) printLine(io, `\nNote: this plan ${reason}.`)
  printLine(io, `\n${timeTable([candidate], io, { optimum: 'this plan' })}`)
  printLine(io, `\n${mapOf(input, plan, 'this plan', io)}`)
}

const COLUMNS = [
  { title: '' },
  ...['cost', 'TTFT', 'TPOT', 'end to end', 'edge J', 'cloud busy', 'up', 'down', 'loss'].map(
    (title) => ({ title, align: 'right' }) as const,
  ),
]

function row(name: string, figures: AloneFigures): string[] {
  return [
    name,
    formatNumber(figures.cost, 6),
    formatSeconds(figures.ttftSeconds),
    figures.tpotSeconds === null ? 'one token' : formatSeconds(figures.tpotSeconds),
    formatSeconds(figures.e2eSeconds),
    formatJoules(figures.edgeJoules),
    formatSeconds(figures.cloudSeconds),
    formatBytes(figures.upBytes),
    formatBytes(figures.downBytes),
    formatNumber(figures.accuracyLoss),
  ]
}

async function episode(file: string, path: string, options: Options, io: Io): Promise<void> {
  const testLinks = linkEntries(options.links, options)
  const split: Split = testLinks === undefined ? requireChoice('--links', options.links, SPLITS) : 'test'
  const scenario = await loadScenario(path, {
    modelsFolder: join(packageRoot(), 'models'),
    testLinks,
    ...(options.edge === undefined ? {} : { edge: options.edge }),
    ...(options.cloud === undefined ? {} : { cloud: options.cloud }),
  })
  const { pair } = scenario.problem
  const plan = readPlan(file, pair)
  checkFits(scenario, plan, file)
  const result = runEpisode(scenario, { name: 'static', decide: () => plan }, split, options.seed)
  const { requests } = result
  const of = (pick: (request: (typeof requests)[number]) => number): number => mean(requests.map(pick))
  const report = {
    scenario: scenario.config.name,
    scenarioHash: scenario.hash,
    links: testLinks === undefined ? split : ('given' as const),
    seed: options.seed,
    plan: planToJson(pair, plan),
    requests: requests.length,
    durationSeconds: result.durationSeconds,
    cost: result.cost,
    ttftSeconds: distribution(requests.map((request) => request.ttftSeconds)),
    tpotSeconds: distribution(requests.flatMap((request) => request.tpotSeconds ?? [])),
    e2eSeconds: distribution(requests.map((request) => request.e2eSeconds)),
    edgeJoules: result.edgeJoulesPerRequest,
    cloudSeconds: of((request) => request.cloudSeconds),
    upBytes: of((request) => request.upBytes),
    downBytes: of((request) => request.downBytes),
    accuracyLoss: of((request) => request.accuracyLoss),
    queue: { mean: result.queueMean, max: result.queueMax },
    provenance: {
      figures: 'simulated' as const,
      edge: provenance(scenario, 'edge'),
      cloud: provenance(scenario, 'cloud'),
      links: [...new Set(scenario.links[split].map((link) => link.label))].join('; '),
    },
  }
  if (options.json === true) {
    printJson(io, report satisfies SimulateRunJson)
    return
  }
  const seconds = (name: string, found: typeof report.ttftSeconds): string[] => [
    name,
    ...(['mean', 'p50', 'p95', 'p99'] as const).map((key) => formatSeconds(found?.[key])),
  ]
  const columns = [
    { title: 'simulated' },
    ...['mean', 'p50', 'p95', 'p99'].map((title) => ({ title, align: 'right' }) as const),
  ]
  printLine(
    io,
    `${scenario.config.name}, ${split} links, seed ${options.seed}: ${requests.length} requests in ${formatSeconds(result.durationSeconds)}`,
  )
  printLine(io, `${weightsLine(scenario.problem.objective)}\n`)
  const rows = [
    seconds('TTFT', report.ttftSeconds),
    seconds('TPOT', report.tpotSeconds),
    seconds('end to end', report.e2eSeconds),
  ]
  printLine(io, renderTable({ columns, rows }, io))
  printLine(
    io,
    `\ncost ${formatNumber(report.cost)} a request; ${formatJoules(report.edgeJoules)} at the edge, ${formatSeconds(report.cloudSeconds)} of cloud, ` +
      `${formatBytes(report.upBytes)} up, ${formatBytes(report.downBytes)} down, loss ${formatNumber(report.accuracyLoss)} each; ` +
      `queue ${formatNumber(report.queue.mean)} on average, ${report.queue.max} at most`,
  )
  printLine(
    io,
    `edge ${report.provenance.edge}, cloud ${report.provenance.cloud}; links: ${report.provenance.links}`,
  )
}

function provenance(scenario: Scenario, side: 'edge' | 'cloud'): string {
  return profileLabel(scenario.problem.pair[side].profile)
}

/** The largest request that may come must fit, alone. */
function checkFits(scenario: Scenario, plan: Plan, where: string): void {
  const { pair } = scenario.problem
  const { memoryBytes } = scenario.terms
  const reservedTokens = pair.model.contextTokens
  if (fitsEdge(pair, plan, { memoryBytes, reservedTokens })) return
  const { weightBytes, kvBytesPerToken } = edgeMemory(pair, plan)
  throw new InputError({
    where,
    expected: `a plan that fits ${formatBytes(memoryBytes)} of edge memory with a full context`,
    found: `${formatBytes(weightBytes)} of weights and ${formatBytes(kvBytesPerToken * reservedTokens)} of K/V`,
  })
}
