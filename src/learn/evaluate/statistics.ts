import { randomStream } from '../../core/random.ts'
import { interpolatedQuantile } from '../../core/quantile.ts'
import { mean } from './episode.ts'

/** Mean and quantiles of a set of values. */
export interface Distribution {
  readonly mean: number
  readonly p50: number
  readonly p95: number
  readonly p99: number
}

/** Mean and quantiles (linear between order statistics); null without values. */
export function distribution(values: readonly number[]): Distribution | null {
  if (values.length === 0) return null
  const sorted = Float64Array.from(values).sort()
  return {
    mean: mean(values),
    p50: interpolatedQuantile(sorted, 0.5),
    p95: interpolatedQuantile(sorted, 0.95),
    p99: interpolatedQuantile(sorted, 0.99),
  }
}

const RESAMPLES = 2000

/**
 * 95 % percentile bootstrap interval of the mean of one value per episode (Efron 1979). The resampling stream is fixed,
 * so that equal values give equal intervals; null for a single episode.
 */
export function bootstrapInterval(perEpisode: readonly number[]): readonly [number, number] | null {
  const n = perEpisode.length
  if (n < 2) return null
  const random = randomStream(0, 'bootstrap')
  const means = new Float64Array(RESAMPLES)
  for (let i = 0; i < RESAMPLES; i++) {
    let sum = 0
    for (let j = 0; j < n; j++) sum += perEpisode[random.integer(n)]
    means[i] = sum / n
  }
  means.sort()
  return [interpolatedQuantile(means, 0.025), interpolatedQuantile(means, 0.975)]
}
