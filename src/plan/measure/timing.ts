import type { Clock } from '../../core/clock.ts'

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

export type Run = () => Promise<void>

/** Runs longer than this are warmed up once and repeated once: their spread is small and time is dear. */
const LONG_RUN_SECONDS = 1

/**
 * Times `runs` in turn and `beside` after each of them, so that both meet the same state of the machine: each is
 * warmed up once, then they are repeated until the time is spent. Seconds of each.
 */
export async function timeRuns(
  runs: readonly Run[],
  beside: Run,
  clock: Clock,
  options: TimingOptions,
): Promise<{ runs: number[]; beside: number[] }> {
  const time = async (run: Run) => {
    const start = clock.nowSeconds()
    await run()
    return clock.nowSeconds() - start
  }
  const warmUp = await time(runs[0])
  const long = warmUp > LONG_RUN_SECONDS
  await beside()
  if (!long) for (const run of runs.slice(1)) await run()
  const samples = { runs: long ? [warmUp] : [], beside: [] as number[] }
  const least = long ? 2 : options.minRepeats
  const most = Math.max(least, options.maxRepeats)
  const end = clock.nowSeconds() + options.secondsPerPoint
  for (
    let i = 0;
    samples.runs.length < least || (samples.runs.length < most && clock.nowSeconds() < end);
    i++
  ) {
    samples.runs.push(await time(runs[i % runs.length]))
    samples.beside.push(await time(beside))
  }
  return samples
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
