import { readDecisionLog } from '../../core/journal/decisions.ts'
import type { LogProblem } from '../../core/journal/decisions.ts'
import { LogTally } from '../../core/journal/summary.ts'
import type { Counts, LogSummary, Quantiles } from '../../core/journal/summary.ts'
import type { LogRecord } from '../../core/journal/types.ts'
import { OBSERVATION_SIZE, OBSERVATION_VERSION } from '../../policy/observation/observation.ts'
import { formatBytes, formatJoules, formatNumber, formatSeconds, formatShare } from '../../report/numbers.ts'
import { renderTable } from '../../report/table.ts'
import { LoggedUseTally, type LoggedUse } from '../../serve/edge/loggedUse.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { printJson, printLine } from '../io.ts'
import type { LogJson, ReplayJson } from '../json/log.ts'

interface Options {
  readonly replay?: boolean
  readonly json?: boolean
}

const MAX_DAMAGED = 100

export const log: CliCommand<Options> = {
  name: 'log',
  summary: 'what a decision log holds: requests, decisions, events, times, use against budgets, damage',
  configure(command) {
    command.argument('<log>', 'folder of a decision log, or one of its files')
    command.option('--replay', 'check that this build reads the observations as they were written')
    addJson(command)
    addExamples(command, [
      ['What a device decided, and what came of it', 'log logs/'],
      ['For a script, with the check of the observations', 'log logs/ --replay --json'],
    ])
  },
  run(options, io, [path]) {
    const tally = new LogTally()
    const use = new LoggedUseTally()
    const replay = options.replay === true ? new Replay() : null
    const damaged: LogProblem[] = []
    const onProblem = (problem: LogProblem) => {
      tally.addProblem(problem)
      if (damaged.length < MAX_DAMAGED) damaged.push(problem)
    }
    for (const record of readDecisionLog(path, { onProblem })) {
      tally.add(record)
      use.add(record)
      replay?.add(record)
    }
    const found: LogJson = {
      log: path,
      ...tally.summary(),
      use: use.summary(),
      damaged,
      replay: replay?.result() ?? null,
    }
    if (options.json === true) printJson(io, found)
    else print(io, found)
    return replay?.allUsable === false ? 1 : 0
  },
}

/** Checks whether the observations are complete and those of this build. */
class Replay {
  private version = NaN
  private readonly found = { observations: 0, usable: 0, otherVersion: 0, otherSize: 0, notFinite: 0 }

  add(record: LogRecord): void {
    if (record.kind === 'header') this.version = record.observationVersion
    if (record.kind !== 'decision' || record.observation === null) return
    const { found } = this
    found.observations++
    if (this.version !== OBSERVATION_VERSION) found.otherVersion++
    else if (record.observation.length !== OBSERVATION_SIZE) found.otherSize++
    // A policy reads float32: an element beyond its range would become infinite.
    else if (!Float32Array.from(record.observation).every(Number.isFinite)) found.notFinite++
    else found.usable++
  }

  result(): ReplayJson {
    return { ...this.found }
  }

  get allUsable(): boolean {
    return this.found.usable === this.found.observations
  }
}

function print(io: Io, found: LogJson): void {
  printLine(
    io,
    `${found.log}: ${found.starts} start(s), ${list(found.software)}, model ${list(found.models)}`,
  )
  const { requests, decisions } = found
  printLine(
    io,
    `requests   ${formatNumber(requests.arrived)} arrived; ended: ${countsText(requests.ended)}; ` +
      `${formatNumber(requests.withoutOutcome)} without an outcome`,
  )
  printLine(
    io,
    `decisions  by source: ${countsText(decisions.bySource)}; by reason: ${countsText(decisions.byReason)}`,
  )
  printLine(io, `plans      ${plansText(decisions)}`)
  printLine(io, `events     ${countsText(found.events)}`)
  printLine(
    io,
    `carried    ${formatNumber(found.outputTokens)} tokens, ${formatBytes(found.upBytes)} up, ${formatBytes(found.downBytes)} down\n`,
  )
  printLine(io, timesTable(io, found))
  printLine(io, `\n${useText(io, found.use)}`)
  const damage = countsText(found.problems)
  printLine(io, damage === 'none' ? '\nno damaged line' : `\ndamaged lines: ${damage}`)
  for (const { file, line, what, detail } of found.damaged.slice(0, 10)) {
    printLine(io, `  ${file}:${line}: ${what}: ${detail}`)
  }
  if (found.replay === null) return
  const { observations, usable, ...others } = found.replay
  printLine(
    io,
    `observations: ${formatNumber(usable)} of ${formatNumber(observations)} usable (${countsText(others)})`,
  )
}

function plansText({ plans, otherPlans, stayed }: LogSummary['decisions']): string {
  const shares = plans.slice(0, 5).map(({ share }) => formatShare(share))
  const more = plans.length + (otherPlans > 0 ? 1 : 0) > 5 ? ', …' : ''
  return `${formatNumber(plans.length)} different, shares ${shares.join(', ') || 'none'}${more}; ${formatNumber(stayed)} times none new`
}

function timesTable(io: Io, found: LogJson): string {
  const row = (name: string, q: Quantiles | null) => [
    name,
    formatNumber(q?.count ?? 0),
    ...[q?.p50, q?.p95, q?.p99].map(formatSeconds),
  ]
  return renderTable(
    {
      columns: [{ title: 'time' }, ...['count', 'p50', 'p95', 'p99'].map(right)],
      rows: [
        row('decide', found.decisions.decideSeconds),
        row('queue', found.queueSeconds),
        row('first token', found.ttftSeconds),
        row('per token', found.tpotSeconds),
        row('end to end', found.endToEndSeconds),
      ],
    },
    io,
  )
}

/** Joules and cloud seconds are modelled from what was measured, as in `--watch` and `/metrics`. */
function useText(io: Io, use: LoggedUse | null): string {
  if (use === null) return 'use against budgets: not measured (the log is of version 1)'
  const rows = [
    ['energy', use.energyJoules, formatJoules],
    ['accuracy loss', use.accuracyLoss, formatNumber],
    ['cloud busy', use.cloudSeconds, formatSeconds],
  ] as const
  const table = renderTable(
    {
      columns: [{ title: 'mean use (modelled)' }, ...['a request', 'budget', 'used', 'measured'].map(right)],
      rows: rows.map(([name, { used, budget, requests }, format]) => [
        name,
        used === null ? 'not measured' : format(used),
        budget === null ? 'none' : format(budget),
        used === null || budget === null ? '' : formatShare(used / budget),
        `${formatNumber(requests)} of ${formatNumber(use.ended)}`,
      ]),
    },
    io,
  )
  return `${table}
requests that ended since the start of ${use.sinceStartedAt}; energy without the idle device's`
}

function countsText(counts: Counts): string {
  const parts = Object.entries(counts).map(([name, count]) => `${name} ${formatNumber(count)}`)
  return parts.join(', ') || 'none'
}

const right = (title: string) => ({ title, align: 'right' as const })

const list = (names: readonly string[]) => names.join(', ') || 'none'
