import { formatMisfit } from '../../plan/price/memory.ts'
import {
  formatBytes,
  formatInterval,
  formatJoules,
  formatNumber,
  formatSeconds,
  formatShare,
} from '../../report/numbers.ts'
import { renderTable, type TableStyle } from '../../report/table.ts'
import type { EvalJson } from '../json/eval.ts'
import { weightsLine } from './oracleTable.ts'

type Row = EvalJson['policies'][string]

/** An evaluation for people: the table with its weights, bound, headroom, omissions and provenance. */
export function describeEvaluation(json: EvalJson, learned: readonly string[], style: TableStyle): string {
  const rows = Object.entries(json.policies).sort(([, a], [, b]) => a.cost.mean - b.cost.mean)
  const emphasis = rows.flatMap(([name], index) => (learned.includes(name) ? [index] : []))
  return [
    `scenario ${json.scenario}, ${json.links} links, load ${json.load}: ${json.seeds} paired episodes, ${json.decisions} requests a policy; every figure simulated`,
    weightsLine(json.objective),
    ...loadLine(json),
    '',
    costTable(rows, emphasis, style),
    '',
    latencyTable(rows, emphasis, style),
    '',
    ...budgetTable(rows, emphasis, style),
    boundLine(json),
    ...fitLines(json),
    ...tunedLine(json),
    ...standing(json, learned),
    provenanceLine(rows[0][1]),
    'Not built yet:',
    ...Object.entries(json.absent).map(([name, reason]) => `  ${name}: ${reason}`),
  ].join('\n')
}

/** What the load is relative to, where that is not the edge as it is. */
function loadLine({ load, loadMisfit }: EvalJson): string[] {
  if (loadMisfit === null) return []
  return [
    `the whole model on the edge ${formatMisfit(loadMisfit)}: load ${load} is relative to an edge of this speed with memory for it`,
  ]
}

/** Planners that have no row, and rows that are not what their name says; planners of which the same is said share a line. */
function fitLines({ policies, unfit }: EvalJson): string[] {
  const rows = Object.entries(policies)
  const said = [
    ...Object.entries(unfit).map(([name, misfit]) => [formatMisfit(misfit), name] as const),
    ...rows.flatMap(([name, { misfitShare }]) => {
      if (misfitShare === null || misfitShare === 0) return []
      const share = formatShare(misfitShare)
      return [
        [
          `its plan did not fit in ${share} of the decisions: these requests went to the cloud`,
          name,
        ] as const,
      ]
    }),
    ...rows.flatMap(([name, { sameAs }]) =>
      sameAs === null ? [] : [[`served every request as ${sameAs} did: counted once`, name] as const],
    ),
  ]
  return [...new Set(said.map(([words]) => words))].map((words) => {
    const names = said.filter(([other]) => other === words).map(([, name]) => name)
    return `${names.join(', ')}: ${words}`
  })
}

function costTable(
  rows: readonly (readonly [string, Row])[],
  emphasis: readonly number[],
  style: TableStyle,
): string {
  const titles = [
    'cost',
    'above bound',
    'edge J',
    'loss',
    'cloud busy',
    'up',
    'down',
    'queue mean',
    'max',
    'mixed heads',
  ]
  return renderTable(
    {
      columns: [{ title: 'policy' }, ...titles.map(right)],
      rows: rows.map(([name, row]) => [
        name,
        formatInterval(row.cost.mean, row.cost.ci95?.[0], row.cost.ci95?.[1]),
        row.gapToLowerBound === null ? 'no bound' : formatShare(row.gapToLowerBound),
        formatJoules(row.edgeJoules),
        formatNumber(row.accuracyLoss),
        formatSeconds(row.cloudSeconds),
        formatBytes(row.upBytes),
        formatBytes(row.downBytes),
        formatNumber(row.queue.mean),
        formatNumber(row.queue.max),
        formatShare(row.mixedHeadShare),
      ]),
      emphasis,
    },
    style,
  )
}

function latencyTable(
  rows: readonly (readonly [string, Row])[],
  emphasis: readonly number[],
  style: TableStyle,
): string {
  const parts = [
    ['TTFT', 'ttftSeconds'],
    ['TPOT', 'tpotSeconds'],
    ['end to end', 'e2eSeconds'],
  ] as const
  const columns = parts.flatMap(([name]) => [`${name} mean`, 'p50', 'p95', 'p99']).map(right)
  return renderTable(
    {
      columns: [{ title: 'policy' }, ...columns],
      rows: rows.map(([name, row]) => [
        name,
        ...parts.flatMap(([, key]) =>
          (['mean', 'p50', 'p95', 'p99'] as const).map((quantile) =>
            row[key] === null ? 'none' : formatSeconds(row[key][quantile]),
          ),
        ),
      ]),
      emphasis,
    },
    style,
  )
}

/** Use against budget, where the scenario has budgets. Joules are marginal: the idle device's are in `edge J` only. */
function budgetTable(
  rows: readonly (readonly [string, Row])[],
  emphasis: readonly number[],
  style: TableStyle,
): string[] {
  const parts = [
    ['energy', 'energyJoules', formatJoules],
    ['loss', 'accuracyLoss', formatNumber],
    ['cloud busy', 'cloudSeconds', formatSeconds],
  ] as const
  const budgets = rows[0][1].budgets
  if (budgets === null) return []
  const limited = parts.filter(([, key]) => budgets[key] !== null)
  const columns = limited.flatMap(([name, key, format]) => [
    `${name} (budget ${format(budgets[key]?.budget)})`,
    'of budget',
  ])
  return [
    renderTable(
      {
        columns: [{ title: 'mean a request, energy modelled without idle' }, ...columns.map(right)],
        rows: rows.map(([name, row]) => [
          name,
          ...limited.flatMap(([, key, format]) => {
            const use = row.budgets?.[key] ?? null
            return use === null ? ['none', 'none'] : [format(use.used), formatShare(use.used / use.budget)]
          }),
        ]),
        emphasis,
      },
      style,
    ),
    '',
  ]
}

function boundLine({ lowerBound, headroom }: EvalJson): string {
  const left =
    headroom === null
      ? 'headroom unknown (per-state-dp was not run)'
      : `headroom ${formatShare(headroom)} (per-state DP against the best row)`
  return `lower bound ${formatNumber(lowerBound)} (no policy can go below it; not all of the gap can be won); ${left}`
}

function tunedLine({ tuned, unfit }: EvalJson): string[] {
  if (tuned === null) return []
  const prices = tuned.prices.map((price) => formatNumber(price)).join(', ')
  const threshold = `, threshold ${formatNumber(tuned.thresholdSeconds)} s of edge work`
  return [
    `tuned on training links: priced (${prices}), drift-plus-penalty V = ${formatNumber(tuned.v)}` +
      ('threshold' in unfit ? '' : threshold),
  ]
}

/** Compares each trained policy with every planner, in words. */
export function standing(json: EvalJson, learned: readonly string[]): string[] {
  return learned.flatMap((name) => {
    const own = json.policies[name]
    const planners = Object.entries(json.policies).filter(
      ([other, { sameAs }]) => !learned.includes(other) && sameAs === null,
    )
    if (planners.length === 0) return []
    const lower = planners.filter(([, row]) => own.cost.mean < row.cost.mean).map(([other]) => other)
    const { edge, cloud } = own.provenance
    const lines = [
      `${name} (simulated; edge ${edge}, cloud ${cloud}) costs less than ${lower.length} of ${planners.length} planners` +
        (lower.length > 0 ? `: ${lower.join(', ')}` : ''),
    ]
    const priced = json.policies.priced as Row | undefined
    if (priced !== undefined) lines.push(againstPriced(name, own, priced))
    return lines
  })
}

function againstPriced(name: string, own: Row, priced: Row): string {
  const change = own.cost.mean / priced.cost.mean - 1
  const words = change < 0 ? 'less' : 'more'
  const interval = own.costMinusPriced?.ci95
  const sure = interval !== null && interval !== undefined && (interval[1] < 0 || interval[0] > 0)
  const range =
    interval === null || interval === undefined
      ? 'one episode, no interval'
      : `difference ${interval.map((end) => formatNumber(end)).join(' to ')} over paired episodes, 95 %` +
        (sure ? '' : ': may be chance')
  return (
    `against the tuned priced planner, ${name} costs ${formatShare(Math.abs(change))} ${words} ` +
    `(${formatNumber(own.cost.mean)} against ${formatNumber(priced.cost.mean)}; ${range})`
  )
}

function provenanceLine({ provenance }: Row): string {
  const { edge, cloud, energy, accuracy, links } = provenance
  return (
    `These figures are simulated, on an edge that is ${edge} and a cloud that is ${cloud}; ` +
    `power ${energy}; accuracy loss ${accuracy}; links: ${links}.`
  )
}

function right(title: string) {
  return { title, align: 'right' } as const
}
