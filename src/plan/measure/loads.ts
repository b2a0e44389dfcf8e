import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { openSubgraphStore } from '../../model/graphs/subgraphStore.ts'
import { attentionUnits } from '../../model/spec.ts'
import type { Bench } from './blocks.ts'
import { checkRoom, loadBytes } from './memory.ts'
import { layerChain, TRIVIAL } from './subgraphs.ts'
import { summarise } from './timing.ts'

/** Time to load one subgraph. */
export interface LoadReading {
  readonly weightBytes: number
  readonly seconds: number
}

const REPEATS = 5

/**
 * Measures loading as the runtime does it: find the existing files, create a session. Uses whole layers, because the
 * time depends on the number of nodes and plans mostly have whole layers: a byte of an FFN alone costs a tenth of a
 * byte of an attention. Medians, with files in the page cache.
 */
export async function measureLoads(bench: Bench, layers: number): Promise<LoadReading[]> {
  const { source, precision, engine, clock, threads } = bench
  const folder = join(bench.folder, 'loads')
  const store = openSubgraphStore(folder, source, precision)
  const chains = [...new Set([1, layers])].map((count) => layerChain(count, attentionUnits(source.model)))
  const readings: LoadReading[] = []
  try {
    for (const subgraph of [TRIVIAL, ...chains]) {
      checkRoom('loading whole layers', loadBytes(source.model, precision, subgraph), bench.host.freeBytes())
      const { weightBytes } = store.store(subgraph)
      const seconds: number[] = []
      for (let i = 0; i < REPEATS; i++) {
        const start = clock.nowSeconds()
        const session = await engine.create(store.store(subgraph).path, { threads })
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

/** Cost of creating a session: seconds = segmentSeconds + weightBytes / bytesPerSecond. */
export interface LoadFit {
  readonly segmentSeconds: number
  readonly bytesPerSecond: number
}

/**
 * Least squares of relative errors over sessions of different sizes, so that large sessions do not dominate small ones.
 * If all have about the same size and the line would be negative at 0, the fastest session determines the constant
 * part.
 */
export function fitLoads(readings: readonly LoadReading[]): LoadFit {
  const line = relativeLine(readings)
  if (line !== null && line.segmentSeconds > 0 && line.bytesPerSecond > 0) return line
  const least = Math.min(...readings.map(({ seconds }) => seconds))
  const bytes = readings.reduce((sum, { weightBytes }) => sum + weightBytes, 0)
  const seconds = readings.reduce((sum, reading) => sum + reading.seconds, 0)
  // Half of the fastest, so that bytes still have a cost.
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
