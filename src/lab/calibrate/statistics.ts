import { interpolatedMedian, interpolatedQuantile } from '../../core/quantile.ts'
import { TERMS, type TermValues, type Term } from './types.ts'

/** Prediction and runs of one cell. */
export interface CellSamples {
  readonly link: string
  readonly predicted: TermValues
  /** Runs in order of time. */
  readonly runs: readonly TermValues[]
}

/** Errors of one term over the cells of one link, as shares (not per cent). */
export interface TermResult {
  readonly term: Term
  readonly link: string
  /** Number of cells. */
  readonly count: number
  /** Median of (predicted - measured) / measured, where measured is the median of a cell's runs. */
  readonly medianSignedError: number
  readonly medianError: number
  readonly p95Error: number
  /** The same for single runs instead of a cell's median. */
  readonly p95ErrorOfRuns: number
  /** Median difference between a cell's even and odd runs: |difference of medians| / mean. */
  readonly medianNoise: number
  readonly p95Noise: number
  readonly met: boolean
}

/**
 * Targets: the median error must be within MEDIAN_TARGET or NOISE_TARGET x noise, whichever is larger, and the 95th
 * percentile within P95_TARGET.
 */
const MEDIAN_TARGET = 0.1
/** Factor on the noise between even and odd runs. */
const NOISE_TARGET = 1.5
/** Target for the 95th percentile of the error. */
const P95_TARGET = 0.25

/** Error of a term that was predicted but did not occur. */
const NOTHING_HAPPENED = 1e9

/** Results for every term and link with cells. */
export function termResults(cells: readonly CellSamples[]): TermResult[] {
  const links = [...new Set(cells.map(({ link }) => link))]
  return links.flatMap((link) =>
    TERMS.flatMap((term) => {
      const result = termResult(
        term,
        link,
        cells.filter((cell) => cell.link === link),
      )
      return result === null ? [] : [result]
    }),
  )
}

interface CellError {
  readonly error: number
  readonly runs: readonly number[]
  readonly noise: number
}

function termResult(term: Term, link: string, cells: readonly CellSamples[]): TermResult | null {
  const errors = cells.flatMap((cell) => cellError(term, cell) ?? [])
  if (errors.length === 0) return null
  const at = (share: number, of: (cell: CellError) => number): number =>
    interpolatedQuantile(errors.map(of).sort(ascending), share)
  const runs = errors.flatMap((cell) => cell.runs.map(Math.abs)).sort(ascending)
  const medianError = at(0.5, ({ error }) => Math.abs(error))
  const p95Error = at(0.95, ({ error }) => Math.abs(error))
  const medianNoise = at(0.5, ({ noise }) => noise)
  return {
    term,
    link,
    count: errors.length,
    medianError,
    p95Error,
    medianNoise,
    medianSignedError: at(0.5, ({ error }) => error),
    p95ErrorOfRuns: interpolatedQuantile(runs, 0.95),
    p95Noise: at(0.95, ({ noise }) => noise),
    met: medianError <= Math.max(MEDIAN_TARGET, NOISE_TARGET * medianNoise) && p95Error <= P95_TARGET,
  }
}

/** Null if the term does not apply: nothing was predicted and nothing occurred, or it is not evaluated. */
function cellError(term: Term, { predicted, runs }: CellSamples): CellError | null {
  const expected = predicted[term]
  const values = runs.flatMap((run) => run[term] ?? [])
  if (expected === null || values.length === 0) return null
  const middle = interpolatedMedian(values)
  if (expected === 0 && middle === 0) return null
  const noise = abNoise(values)
  return { error: relative(expected, middle), runs: values.map((value) => relative(expected, value)), noise }
}

/** Difference between runs of even and odd index: the noise between two measurements of the same quantity. */
export function abNoise(values: readonly number[]): number {
  const half = (parity: number): number[] => values.filter((_, i) => i % 2 === parity)
  const [a, b] = [half(0), half(1)]
  if (b.length === 0) return 0
  const [x, y] = [interpolatedMedian(a), interpolatedMedian(b)]
  return x + y === 0 ? 0 : Math.abs(x - y) / ((x + y) / 2)
}

function relative(predicted: number, measured: number): number {
  return measured === 0 ? NOTHING_HAPPENED : (predicted - measured) / measured
}

function ascending(a: number, b: number): number {
  return a - b
}
