import { meanBoundaryLoss, rankedUnits } from '../../lab/accuracy/table.ts'
import type { Assessment, BoundaryLoss, Loss } from '../../lab/accuracy/types.ts'
import { BYTES_PER_WEIGHT } from '../../model/precision.ts'
import { formatNumber } from '../../report/numbers.ts'
import type { PerplexityPoint } from '../../report/perplexityChart.ts'
import { paint, renderTable, type TableStyle } from '../../report/table.ts'

const right = (title: string) => ({ title, align: 'right' }) as const

/** A measurement as tables. No trailing newline. */
export function describeAssessment(found: Assessment, style: TableStyle): string {
  const bold = (title: string): string => paint(title, 'bold', style)
  return [
    `${found.modelId}: perplexity ${found.perplexity.toFixed(4)} (${found.nats.toFixed(4)} nats a token) over ` +
      `${formatNumber(found.tokens)} tokens of ${found.text}; ${found.engine}. All of it is measured.`,
    'Figures are divergences from the exact predictions in nats a token (the log-perplexity added on text of the',
    "model's own distribution); (in brackets) what was added on this text, +- one standard error.",
    '',
    bold('One crossing of the boundary'),
    crossings(found.boundaries, found.modelId, style),
    '',
    bold('The share of half of a layer that comes back'),
    crossings(found.partials, '', style),
    '',
    bold('Many crossings'),
    additivity(found, style),
    `Widths by sensitivity (${found.ranked.bits.join(', ')}; ${found.ranked.meanBits.toFixed(1)} bits on average): ${lossText(found.ranked)}`,
    '',
    ...(found.exits.length === 0 ? [] : [bold('Early exits'), exits(found, style), '']),
    bold('Weights'),
    precisions(found, style),
    '',
    bold('Units by sensitivity, the least sensitive first'),
    ...rankedUnits(found).map((units, layer) => `layer ${layer}: ${units.join(', ')}`),
  ].join('\n')
}

/** Perplexity against bits: of one boundary, of all, and of the weights. */
export function perplexityPoints(found: Assessment): PerplexityPoint[] {
  const { nats, perplexity, boundaries, additivity: many, precisions: weights } = found
  const at = (series: string, bits: number, added: number) => ({
    series,
    bits,
    perplexity: Math.exp(nats + added),
  })
  const one = 'one boundary (mean)'
  const whole = 'every layer boundary'
  const most = Math.max(...many.map(({ crossings: count }) => count))
  return [
    { series: one, bits: 32, perplexity },
    ...widths(boundaries).map((bits) => at(one, bits, meanBoundaryLoss(boundaries, bits).nats)),
    { series: whole, bits: 32, perplexity },
    ...many.filter((row) => row.crossings === most).map((row) => at(whole, row.bits, row.nats)),
    at('every boundary, ranked widths', found.ranked.meanBits, found.ranked.nats),
    ...weights.map((row) => ({ ...row, series: 'weights', bits: 8 * BYTES_PER_WEIGHT[row.precision] })),
  ].map(({ series, bits, perplexity: value }) => ({ series, bits, perplexity: value }))
}

function crossings(rows: readonly BoundaryLoss[], model: string, style: TableStyle): string {
  const bits = widths(rows)
  const places = [...new Set(rows.map(({ layer }) => layer))]
  const name = (layer: number): string =>
    model !== '' && layer === places.length - 1 ? 'to the head' : `layer ${layer}`
  const cell = (layer: number, width: number): string =>
    lossText(rows.find((row) => row.layer === layer && row.bits === width)!)
  const table = places.map((layer) => [name(layer), ...bits.map((width) => cell(layer, width))])
  const mean = ['mean', ...bits.map((width) => lossText(meanBoundaryLoss(rows, width)))]
  const columns = [{ title: 'into' }, ...bits.map((width) => right(`${width} bits`))]
  return renderTable({ columns, rows: [...table, mean] }, style)
}

function widths(rows: readonly BoundaryLoss[]): number[] {
  return [...new Set(rows.map(({ bits }) => bits))]
}

function additivity(found: Assessment, style: TableStyle): string {
  const columns = ['bits', 'crossings', 'together', 'sum of each alone', 'ratio'].map(right)
  const rows = found.additivity.map((row) => [
    String(row.bits),
    String(row.crossings),
    lossText(row),
    amount(row.summedDivergence),
    row.ratio === null ? '' : row.ratio.toFixed(2),
  ])
  return renderTable({ columns, rows }, style)
}

function exits(found: Assessment, style: TableStyle): string {
  const columns = ['after layer', 'threshold', 'leave', 'all leave', 'the confident leave'].map(right)
  const rows = found.exits.map(({ layer, threshold, leaveShare, standalone, collaborative }) => [
    String(layer),
    String(threshold),
    `${(100 * leaveShare).toFixed(1)} %`,
    lossText(standalone),
    lossText(collaborative),
  ])
  return renderTable({ columns, rows }, style)
}

function precisions(found: Assessment, style: TableStyle): string {
  const columns = [{ title: 'weights' }, right('perplexity'), right('added')]
  const rows = found.precisions.map((row) => [
    row.precision,
    row.perplexity.toFixed(4),
    row.precision === 'fp32' ? '' : lossText(row),
  ])
  return renderTable({ columns, rows }, style)
}

function lossText({ nats, standardError, divergence }: Loss): string {
  return `${amount(divergence)} (${amount(nats)} +- ${standardError.toExponential(0)})`
}

/** Formats a loss; losses span many orders of magnitude. */
function amount(nats: number): string {
  return nats === 0 ? '0' : Math.abs(nats) >= 0.001 ? nats.toFixed(4) : nats.toExponential(1)
}
