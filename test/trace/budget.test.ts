import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { EdgewiseError } from '../../src/core/errors.ts'
import { randomStream } from '../../src/core/random.ts'
import { mutate, READERS } from './readers.ts'
import type { Reader } from './readers.ts'

/** EDGEWISE_SLOW=1 (npm run test:slow): a million mutations, and the growth of time and memory. */
const slow = process.env.EDGEWISE_SLOW === '1'
const MUTATIONS = slow ? 1_000_000 : 3300
const MAX_SECONDS = 1
/** For all mutations of one reader, or its largest files, on a machine that others use. */
const PATIENCE_MILLISECONDS = 1_800_000
/** What one reading of a file of a few hundred bytes may take; a reader of the former code took 23 GB. */
const MAX_BYTES = 64 * 1024 * 1024

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const secondsNow = (): number => performance.now() / 1000

/** Heap and array buffers, committed: what the largest need has left, since the system gets nothing back at once. */
function memoryBytes(): number {
  const { heapTotal, arrayBuffers } = process.memoryUsage()
  return heapTotal + arrayBuffers
}

interface Cost {
  readonly seconds: number
  readonly bytes: number
}

async function costOf(read: () => unknown): Promise<Cost> {
  collect()
  const before = memoryBytes()
  const from = secondsNow()
  try {
    await read()
  } catch (error) {
    if (!(error instanceof EdgewiseError)) throw error
  }
  const seconds = secondsNow() - from
  return { seconds, bytes: Math.max(0, memoryBytes() - before) }
}

describe('whatever a file says, reading it takes a second and 64 MB at most', () => {
  it.each(READERS)(
    '$name',
    async (reader) => {
      const valid = reader.make(6)
      await reader.read(valid)
      let [worstSeconds, worstBytes] = [0, 0]
      for (let seed = 0; seed < MUTATIONS / READERS.length; seed++) {
        const bytes = mutate(valid, randomStream(seed, `mutation of ${reader.name}`))
        const before = memoryBytes()
        const from = secondsNow()
        try {
          await reader.read(bytes)
        } catch (error) {
          if (!(error instanceof EdgewiseError))
            throw new Error(`seed ${seed}: ${String(error)}`, { cause: error })
        }
        const seconds = secondsNow() - from
        const more = memoryBytes() - before
        if (seconds > worstSeconds) worstSeconds = seconds
        if (more > worstBytes) worstBytes = more
        // The slow form holds readers to a time; on a swamped machine an ordinary run may not.
        if (slow && seconds > MAX_SECONDS) throw new Error(`seed ${seed}: ${seconds} s`)
        if (more > MAX_BYTES) throw new Error(`seed ${seed}: ${more} bytes`)
      }
      if (slow)
        process.stdout.write(
          `${reader.name}: at most ${worstSeconds.toFixed(4)} s, ${(worstBytes / 1e6).toFixed(1)} MB\n`,
        )
    },
    PATIENCE_MILLISECONDS,
  )
})

/** Largest files of the growth test, in bytes; the smallest is an eighth. */
const LARGEST_BYTES = 8_000_000
/** Of time, where a machine that others use adds noise, and of memory, where the collector does. */
const MAX_EXPONENT = 1.35
/** Below this a difference of memory is the collector's. */
const QUIET_BYTES = 8e6

async function growth(reader: Reader): Promise<{ bytes: number; cost: Cost }[]> {
  const rowBytes = reader.make(2000).length / 2000
  const points: { bytes: number; cost: Cost }[] = []
  for (const share of [8, 4, 2, 1]) {
    const file = reader.make(Math.round(LARGEST_BYTES / rowBytes / share))
    const costs: Cost[] = []
    for (let again = 0; again < 3; again++) costs.push(await costOf(() => reader.read(file)))
    const seconds = Math.min(...costs.map((cost) => cost.seconds))
    points.push({
      bytes: file.length,
      cost: { seconds, bytes: Math.max(...costs.map((cost) => cost.bytes)) },
    })
  }
  return points
}

const exponent = (from: [number, number], to: [number, number]): number =>
  Math.log(to[1] / from[1]) / Math.log(to[0] / from[0])

describe.skipIf(!slow)('time and memory of a reader grow as the bytes of its input', () => {
  it.each(READERS)(
    '$name',
    async (reader) => {
      const points = await growth(reader)
      const [first, last] = [points[0], points[points.length - 1]]
      const time = exponent([first.bytes, first.cost.seconds], [last.bytes, last.cost.seconds])
      const memory = exponent(
        [first.bytes, QUIET_BYTES + first.cost.bytes],
        [last.bytes, QUIET_BYTES + last.cost.bytes],
      )
      const figures = `${last.cost.seconds.toFixed(2)} s, ${(last.cost.bytes / last.bytes).toFixed(1)} B a byte`
      process.stdout.write(
        `${reader.name}: time ^${time.toFixed(2)}, memory ^${memory.toFixed(2)}, ${figures}\n`,
      )
      expect(time, 'exponent of time').toBeLessThan(MAX_EXPONENT)
      expect(memory, 'exponent of memory').toBeLessThan(MAX_EXPONENT)
    },
    PATIENCE_MILLISECONDS,
  )
})
