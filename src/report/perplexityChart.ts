import type { TopLevelSpec } from 'vega-lite'
import { INK, SERIES_COLOURS, THEME } from './theme.ts'

/** Perplexity at one number of bits. */
export interface PerplexityPoint {
  /** What is quantised; points of one series are joined by a line. */
  readonly series: string
  readonly bits: number
  readonly perplexity: number
}

/** Vega-Lite specification of perplexity against bits; both axes are logarithmic. */
export function perplexitySpec(
  points: readonly PerplexityPoint[],
  title: string,
  subtitle: string,
): TopLevelSpec {
  const series = [...new Set(points.map((point) => point.series))]
  const scale = { domain: series, range: SERIES_COLOURS.slice(0, Math.max(1, series.length)) }
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    config: THEME,
    title: { text: title, subtitle },
    width: 420,
    height: 260,
    data: { values: points },
    mark: { type: 'line', strokeWidth: 2, point: { filled: true, size: 50 } },
    encoding: {
      x: {
        field: 'bits',
        type: 'quantitative',
        title: 'bits an element',
        axis: { grid: false, values: [4, 8, 16, 32], format: 'd' },
        scale: { type: 'log', base: 2, domain: [3.6, 36], nice: false },
      },
      y: {
        field: 'perplexity',
        type: 'quantitative',
        title: 'perplexity',
        axis: { format: '.4~g', tickCount: 6 },
        scale: { type: 'log', nice: false, padding: 8 },
      },
      color: {
        field: 'series',
        type: 'nominal',
        scale,
        legend: {
          title: null,
          orient: 'bottom',
          labelColor: INK,
          labelLimit: 320,
          columns: 2,
          symbolType: 'stroke',
          symbolStrokeWidth: 3,
        },
      },
    },
  } as unknown as TopLevelSpec
}
