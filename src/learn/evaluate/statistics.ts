import { randomStream } from '../../core/random.ts'
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
    p50: quantile(sorted, 0.5),
    p95: quantile(sorted, 0.95),
    p99: quantile(sorted, 0.99),
  }
}

function quantile(sorted: Float64Array, share: number): number {
  const at = share * (sorted.length - 1)
  const low = Math.floor(at)
  const high = Math.min(low + 1, sorted.length - 1)
  return sorted[low] + (at - low) * (sorted[high] - sorted[low])
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
  return [quantile(means, 0.025), quantile(means, 0.975)]
}
