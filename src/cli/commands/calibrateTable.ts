import type { CalibrationResult } from '../../lab/calibrate/result.ts'
import type { Term } from '../../lab/calibrate/types.ts'
import { formatBytes, formatSeconds, formatShare } from '../../report/numbers.ts'
import { renderTable, type TableData, type TableStyle } from '../../report/table.ts'

const TERM_NAMES: Readonly<Record<Term, string>> = {
  ttft: 'TTFT',
  tpot: 'TPOT',
  endToEnd: 'end to end',
  edgeCompute: 'edge compute',
  cloudCompute: 'cloud compute',
  transferUp: 'transfer up',
  transferDown: 'transfer down',
  load: 'load',
}

const right = (title: string) => ({ title, align: 'right' }) as const

/** Errors of the simulator by term. */
export function errorTable({ terms }: CalibrationResult): TableData {
  return {
    columns: [
      { title: 'link' },
      { title: 'term' },
      ...[
        'cells',
        'median signed',
        'median |error|',
        'p95 |error|',
        'p95 of runs',
        'A/A median',
        'A/A p95',
      ].map(right),
      { title: 'target' },
    ],
    rows: terms.map((one) => [
      one.link,
      TERM_NAMES[one.term],
      String(one.count),
      ...[one.medianSignedError, one.medianError, one.p95Error, one.p95ErrorOfRuns].map(formatShare),
      ...[one.medianNoise, one.p95Noise].map(formatShare),
      one.met ? 'met' : 'MISSED',
    ]),
  }
}

/** The simulator's figures beside the runtime's: each plan once, unloaded, over the first link. */
export function sideBySide({ cells, links }: CalibrationResult): { title: string; table: TableData } {
  const alone = cells.filter(({ link, load }) => link === links[0].id && load === 'alone')
  const [{ promptTokens, outputTokens }] = alone
  const rows = alone.filter((one) => one.promptTokens === promptTokens && one.outputTokens === outputTokens)
  const pair = (of: 'ttft' | 'tpot' | 'endToEnd') => (row: (typeof rows)[number]) =>
    [row.predicted[of], row.measured[of]].map(formatSeconds)
  const columns = ['TTFT', 'TPOT', 'end to end'].flatMap((name) => [`${name}, simulated`, 'real'])
  return {
    title: `One request alone, ${promptTokens} prompt and ${outputTokens} output tokens, over ${links[0].label}`,
    table: {
      columns: [{ title: 'plan' }, ...[...columns, 'bytes up', 'bytes down'].map(right)],
      rows: rows.map((row) => [
        row.plan,
        ...[pair('ttft'), pair('tpot'), pair('endToEnd')].flatMap((figures) => figures(row)),
        formatBytes(row.upBytes),
        formatBytes(row.downBytes),
      ]),
    },
  }
}

/** A table as GitHub's Markdown, or for a terminal. */
export function tableText(data: TableData, style: TableStyle, markdown: boolean): string {
  if (!markdown) return renderTable(data, style)
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  const rule = data.columns.map(({ align }) => (align === 'right' ? '---:' : '---'))
  return [line(data.columns.map(({ title }) => title)), line(rule), ...data.rows.map(line)].join('\n')
}

/** The verdict in words. */
export function verdict(result: CalibrationResult): string {
  const missed = result.terms.filter(({ met }) => !met)
  const pinned = result.pinned ? '' : '; the sides were not pinned to cores of their own'
  if (missed.length === 0) return `Every term met its target${pinned}.`
  const names = missed.map(({ term, link }) => `${TERM_NAMES[term]} (${link})`)
  return `${missed.length} of ${result.terms.length} terms missed their target: ${names.join(', ')}${pinned}.`
}
