import type { TopLevelSpec } from 'vega-lite'
import { INK, SERIES_COLOURS, THEME } from './theme.ts'

/** The values of one metric during one run's training. */
export interface LearningCurve {
  /** Name of the run; all runs share the panels. */
  readonly run: string
  readonly metric: string
  /** Unit of the metric, e.g. `s`; empty for a plain number. */
  readonly unit?: string
  readonly x: readonly number[]
  /** As long as `x`; null where the metric was not measured. */
  readonly y: readonly (number | null)[]
}

/** Options of curvesSpec. */
export interface CurvesOptions {
  readonly title?: string
  /** Title of the x axis. */
  readonly xTitle: string
  readonly columns?: number
  /** Half-width in points of the running mean that is drawn over the faint raw curve; 0: no running mean. */
  readonly smooth?: number
}

/** Curves from metrics.jsonl records, one for each metric in the order of `metrics`. Skips records without x. */
export function curvesOf(
  run: string,
  records: readonly Readonly<Record<string, unknown>>[],
  xField: string,
  metrics: readonly string[],
): LearningCurve[] {
  const usable = records.filter((record) => typeof record[xField] === 'number')
  return metrics.map((metric) => ({
    run,
    metric,
    x: usable.map((record) => record[xField] as number),
    y: usable.map((record) => numberOrNull(record[metric])),
  }))
}

/** Vega-Lite specification with one panel for each metric and one colour for each run. */
export function curvesSpec(curves: readonly LearningCurve[], options: CurvesOptions): TopLevelSpec {
  const runs = [...new Set(curves.map((curve) => curve.run))]
  const metrics = [...new Set(curves.map((curve) => curve.metric))]
  const panels = metrics.map((metric) =>
    panel(
      curves.filter((curve) => curve.metric === metric),
      runs,
      options,
    ),
  )
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    config: THEME,
    ...(options.title === undefined ? {} : { title: { text: options.title, fontSize: 18, offset: 18 } }),
    columns: options.columns ?? Math.min(3, Math.max(1, panels.length)),
    spacing: 30,
    concat: panels,
    resolve: { scale: { color: 'shared' } },
  } as unknown as TopLevelSpec
}

function panel(curves: readonly LearningCurve[], runs: readonly string[], options: CurvesOptions): object {
  const unit = curves[0].unit ?? ''
  const smooth = options.smooth ?? 0
  const raw = {
    mark: { type: 'line', strokeWidth: smooth > 0 ? 1 : 2, opacity: smooth > 0 ? 0.3 : 1, clip: true },
  }
  const mean = { field: 'mean', type: 'quantitative', scale: { zero: false } }
  return {
    title: { text: curves[0].metric, fontSize: 12 },
    width: 260,
    height: 150,
    data: { values: curves.flatMap((curve) => points(curve, smooth)) },
    encoding: {
      x: {
        field: 'x',
        type: 'quantitative',
        title: options.xTitle,
        axis: { grid: false, labelExpr: "datum.value === 0 ? '0' : format(datum.value, '~s')", tickCount: 5 },
        scale: { nice: false },
      },
      y: {
        field: 'y',
        type: 'quantitative',
        title: unit === '' ? null : unit,
        axis: { tickCount: 4, format: '~g' },
        scale: { zero: false },
      },
      color: {
        field: 'run',
        type: 'nominal',
        scale: { domain: runs, range: SERIES_COLOURS.slice(0, Math.max(1, runs.length)) },
        legend:
          runs.length < 2
            ? null
            : { title: null, orient: 'bottom', labelColor: INK, symbolType: 'stroke', symbolStrokeWidth: 3 },
      },
    },
    layer:
      smooth > 0
        ? [raw, { mark: { type: 'line', strokeWidth: 2, clip: true }, encoding: { y: mean } }]
        : [raw],
  }
}

function points(curve: LearningCurve, smooth: number): object[] {
  if (curve.x.length !== curve.y.length) {
    throw new RangeError(`${curve.metric}: expected ${curve.x.length} values, found ${curve.y.length}`)
  }
  return curve.x.map((x, index) => ({
    run: curve.run,
    x,
    y: curve.y[index],
    mean: meanAround(curve.y, index, smooth),
  }))
}

/** Mean of the measured values within `reach` points; null if there are none. */
function meanAround(values: readonly (number | null)[], index: number, reach: number): number | null {
  const near = values.slice(Math.max(0, index - reach), index + reach + 1).filter((value) => value !== null)
  return near.length === 0 ? null : near.reduce((sum, value) => sum + value, 0) / near.length
}

function numberOrNull(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null
}
