import type { Clock } from '../../core/clock.ts'
import { interpolatedQuantile } from '../../core/quantile.ts'

/** Median and spread of repeated timings. */
export interface Timing {
  readonly medianSeconds: number
  /** Interquartile range over the median. */
  readonly relativeSpread: number
  readonly repeats: number
}

/** Settings of a timing. */
interface TimingOptions {
  /** Wall-clock time for one point, not including warm-up. */
  readonly secondsPerPoint: number
  readonly minRepeats: number
  readonly maxRepeats: number
}

/** One run of what is timed. */
export type Run = () => Promise<void>

/** Longer runs are warmed up once and repeated once: they vary little and take long. */
const LONG_RUN_SECONDS = 1

/**
 * Times `runs` in turn, with `beside` after each of them so that both meet the same state of the machine: warms each up
 * once, then repeats until the time is used up. Returns the seconds of each.
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

/** Median and spread of samples. */
export function summarise(samples: readonly number[]): Timing {
  const sorted = [...samples].sort((a, b) => a - b)
  const medianSeconds = interpolatedQuantile(sorted, 0.5)
  const range = interpolatedQuantile(sorted, 0.75) - interpolatedQuantile(sorted, 0.25)
  return {
    medianSeconds,
    relativeSpread: medianSeconds === 0 ? 0 : range / medianSeconds,
    repeats: samples.length,
  }
}
