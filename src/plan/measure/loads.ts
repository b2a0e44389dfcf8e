import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { openSubgraphStore } from '../../model/graphs/subgraphStore.ts'
import { attentionUnits } from '../../model/spec.ts'
import type { Bench } from './blocks.ts'
import { layerChain, TRIVIAL } from './segments.ts'
import { summarise } from './timing.ts'

/** What loading one segment took. */
export interface LoadReading {
  readonly weightBytes: number
  readonly seconds: number
}

const REPEATS = 5

/**
 * Loads segments as the runtime does: finds the files that are there, makes a session of them. Whole layers, since
 * making a session takes as long as its graph has nodes, and plans have their layers whole: a byte of an FFN alone
 * costs a tenth of one of an attention. Medians, from the page cache.
 */
export async function measureLoads(bench: Bench, layers: number): Promise<LoadReading[]> {
  const { source, precision, engine, clock, threads } = bench
  const folder = join(bench.folder, 'loads')
  const store = openSubgraphStore(folder, source, precision)
  const chains = [...new Set([1, layers])].map((count) => layerChain(count, attentionUnits(source.model)))
  const readings: LoadReading[] = []
  try {
    for (const segment of [TRIVIAL, ...chains]) {
      const { weightBytes } = store.store(segment)
      const seconds: number[] = []
      for (let i = 0; i < REPEATS; i++) {
        const start = clock.nowSeconds()
        const session = await engine.create(store.store(segment).path, { threads })
        seconds.push(clock.nowSeconds() - start)
        await session.dispose()
      }
      readings.push({ weightBytes, seconds: summarise(seconds).medianSeconds })
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  return readings
}

/** What making a session costs: seconds = segmentSeconds + weightBytes / bytesPerSecond. */
export interface LoadFit {
  readonly segmentSeconds: number
  readonly bytesPerSecond: number
}

/**
 * Least squares of the relative errors over sessions of different sizes (a large session's seconds must not drown
 * a small one's). Where all are of about one size and the line runs below nothing, the quickest session stands for
 * the fixed part.
 */
export function fitLoads(readings: readonly LoadReading[]): LoadFit {
  const line = relativeLine(readings)
  if (line !== null && line.segmentSeconds > 0 && line.bytesPerSecond > 0) return line
  const least = Math.min(...readings.map(({ seconds }) => seconds))
  const bytes = readings.reduce((sum, { weightBytes }) => sum + weightBytes, 0)
  const seconds = readings.reduce((sum, reading) => sum + reading.seconds, 0)
  // Half of the quickest, so that bytes keep a price.
  const segmentSeconds = least / 2
  return { segmentSeconds, bytesPerSecond: bytes / (seconds - readings.length * segmentSeconds) }
}

function relativeLine(readings: readonly LoadReading[]): LoadFit | null {
  let [n, x, xx, y, xy] = [0, 0, 0, 0, 0]
  for (const { weightBytes, seconds } of readings) {
    const weight = 1 / (seconds * seconds)
    n += weight
    x += weight * weightBytes
    xx += weight * weightBytes * weightBytes
    y += weight * seconds
    xy += weight * weightBytes * seconds
  }
  const determinant = n * xx - x * x
  if (!(determinant > 0)) return null
  const slope = (n * xy - x * y) / determinant
  return { segmentSeconds: (y - slope * x) / n, bytesPerSecond: 1 / slope }
}
