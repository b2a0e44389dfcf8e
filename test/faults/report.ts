import { HOSTILE_KINDS, isGood, PHASES, PROCESS_KINDS, WIRE_KINDS, type Outcome } from './kinds.ts'

export interface ReportFacts {
  readonly seed: number
  readonly command: string
  /** In words. */
  readonly machine: string
  readonly outcomes: readonly Outcome[]
  /** Beside those of single faults. */
  readonly leaks: readonly string[]
  readonly seconds: number
}

const HEADS = [
  'kind',
  'phase',
  'faults',
  'wrong tokens',
  'documented errors',
  'median',
  'p99',
  'leaks',
  'hangs',
]

/** One row of the table; null where there was no such fault. */
export function rowOf(name: string, phase: string, outcomes: readonly Outcome[]): string[] | null {
  if (outcomes.length === 0) return null
  const sum = (of: (outcome: Outcome) => number): string => String(outcomes.reduce((n, o) => n + of(o), 0))
  const times = outcomes.flatMap(({ recoverySeconds }) => (recoverySeconds === null ? [] : [recoverySeconds]))
  const looked = outcomes.some(({ leaks }) => leaks !== null)
  return [
    name,
    phase,
    String(outcomes.length),
    sum((o) => o.wrongTokens),
    sum((o) => Number(o.documentedError !== null)),
    quantile(times, 0.5),
    quantile(times, 0.99),
    looked ? sum((o) => o.leaks?.length ?? 0) : '-',
    sum((o) => Number(o.hang)),
  ]
}

/** Nearest rank, in seconds; a dash where nothing was measured. */
export function quantile(values: readonly number[], share: number): string {
  if (values.length === 0) return '-'
  const sorted = [...values].sort((a, b) => a - b)
  return `${sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)].toFixed(3)} s`
}

export function summaryOf({
  outcomes,
  leaks,
  seconds,
}: Omit<ReportFacts, 'command' | 'machine' | 'seed'>): string {
  const wrong = outcomes.reduce((sum, { wrongTokens }) => sum + wrongTokens, 0)
  const held = outcomes.reduce((sum, o) => sum + (o.leaks?.length ?? 0), leaks.length)
  const hangs = outcomes.filter(({ hang }) => hang).length
  const other = outcomes.reduce((sum, { problems }) => sum + problems.length, 0)
  const errors = outcomes.filter(({ documentedError }) => documentedError !== null).length
  return (
    `${outcomes.length} faults in ${Math.round(seconds)} s: ${wrong} wrong tokens, ${held} leaks, ${hangs} hangs, ` +
    `${other} other failures, ${errors} documented errors`
  )
}

export function isClean({ outcomes, leaks }: Pick<ReportFacts, 'outcomes' | 'leaks'>): boolean {
  return leaks.length === 0 && outcomes.every(isGood)
}

export function tableOf(outcomes: readonly Outcome[]): string[][] {
  const rows: (string[] | null)[] = []
  for (const kind of [...WIRE_KINDS, ...PROCESS_KINDS, ...HOSTILE_KINDS]) {
    const own = outcomes.filter((outcome) => outcome.kind === kind)
    for (const phase of [...PHASES, 'any'] as const)
      rows.push(
        rowOf(
          kind,
          phase,
          own.filter((outcome) => outcome.phase === phase),
        ),
      )
  }
  rows.push(rowOf('all', '', outcomes))
  return rows.filter((row): row is string[] => row !== null)
}

/** docs/reliability.md between its markers; the words around the table are the page's own. */
export function figuresOf(facts: ReportFacts): string {
  const rows = tableOf(facts.outcomes)
  const widths = HEADS.map((head, i) => Math.max(head.length, ...rows.map((row) => row[i].length)))
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`
  const head = [
    `\`${facts.command}\`, seed ${facts.seed}, on ${facts.machine}.`,
    '',
    `**${summaryOf(facts)}.**`,
    '',
  ]
  return [...head, line(HEADS), rule, ...rows.map(line)].join('\n')
}

export const BEGIN = '<!-- figures: npm run test:faults -- --write -->'
export const END = '<!-- end of figures -->'

/** Throws RangeError for a page without the markers. */
export function withFigures(page: string, figures: string): string {
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)]
  if (from < 0 || to < from) throw new RangeError(`docs/reliability.md: expected ${BEGIN} and ${END}`)
  return `${page.slice(0, from + BEGIN.length)}\n\n${figures}\n\n${page.slice(to)}`
}
