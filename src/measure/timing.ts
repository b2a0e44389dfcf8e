import type { Clock } from '../base/clock.ts'

export interface Timing {
  readonly medianSeconds: number
  /** Interquartile range over the median. */
  readonly relativeSpread: number
  readonly repeats: number
}

export interface TimingOptions {
  /** Wall time that one point may take, warm-up apart. */
  readonly secondsPerPoint: number
  readonly minRepeats: number
  readonly maxRepeats: number
}

/** Runs longer than this are warmed up once and repeated once: their spread is small and time is dear. */
const LONG_RUN_SECONDS = 1

/** Times `runs` in turn: each is warmed up once, then they are repeated until the time is spent. Median and spread. */
export async function timeRuns(
  runs: readonly (() => Promise<void>)[],
  clock: Clock,
  options: TimingOptions,
): Promise<Timing> {
  const time = async (run: () => Promise<void>) => {
    const start = clock.nowSeconds()
    await run()
    return clock.nowSeconds() - start
  }
  const warmUp = await time(runs[0])
  const long = warmUp > LONG_RUN_SECONDS
  if (!long) for (const run of runs.slice(1)) await run()
  const samples = long ? [warmUp] : []
  const least = long ? 2 : options.minRepeats
  const most = Math.max(least, options.maxRepeats)
  const end = clock.nowSeconds() + options.secondsPerPoint
  for (let i = 0; samples.length < least || (samples.length < most && clock.nowSeconds() < end); i++) {
    samples.push(await time(runs[i % runs.length]))
  }
  return summarise(samples)
}

export function summarise(samples: readonly number[]): Timing {
  const sorted = [...samples].sort((a, b) => a - b)
  const medianSeconds = quantile(sorted, 0.5)
  const range = quantile(sorted, 0.75) - quantile(sorted, 0.25)
  return {
    medianSeconds,
    relativeSpread: medianSeconds === 0 ? 0 : range / medianSeconds,
    repeats: samples.length,
  }
}

/** Linear between order statistics (Hyndman & Fan 1996, type 7). `sorted` ascends and is not empty. */
export function quantile(sorted: readonly number[], share: number): number {
  const at = (sorted.length - 1) * share
  const low = Math.floor(at)
  const high = Math.min(low + 1, sorted.length - 1)
  return sorted[low] + (at - low) * (sorted[high] - sorted[low])
}
