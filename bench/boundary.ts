import { systemClock } from '../src/core/clock.ts'
import { randomStream } from '../src/core/random.ts'
import { decodeBoundary, encodeBoundary } from '../src/run/executor/boundary.ts'
import { BOUNDARY_BITS } from '../src/plan/plan.ts'

/** One figure of a benchmark. */
interface BenchResult {
  readonly name: string
  readonly value: number
  readonly unit: string
}

/** A prompt's residual: 2 MB of float32. */
const ROWS = 128
const COLUMNS = 4096
const ROUNDS = 40

/**
 * Boundary tensors to bytes and back: MB of float32 per second, and the time over that of copying the float32
 * as bytes. All take turns; the least of the rounds counts, for whatever else the machine does only adds.
 */
export async function run(): Promise<BenchResult[]> {
  const random = randomStream(1, 'bench boundary')
  const values = Float32Array.from({ length: ROWS * COLUMNS }, () => random.normal())
  const bytes = new Uint8Array(values.buffer)
  const cases = [{ name: 'copy as bytes (Buffer.from)', work: (): unknown => Buffer.from(bytes) }]
  for (const bits of BOUNDARY_BITS) {
    const encoded = encodeBoundary(values, ROWS, bits)
    cases.push({ name: `encode, ${bits} bits`, work: () => encodeBoundary(values, ROWS, bits) })
    cases.push({ name: `decode, ${bits} bits`, work: () => decodeBoundary(encoded, ROWS, COLUMNS, bits) })
  }
  const least = cases.map(() => Infinity)
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, { work }] of cases.entries()) {
      const start = systemClock.nowSeconds()
      work()
      least[i] = Math.min(least[i], systemClock.nowSeconds() - start)
    }
  }
  return Promise.resolve(
    cases.flatMap(({ name }, i) => [
      { name: `boundary, 2 MB: ${name}`, value: values.byteLength / least[i] / 1e6, unit: 'MB/s' },
      ...(i === 0
        ? []
        : [{ name: `boundary, 2 MB: ${name}, over the copy`, value: least[i] / least[0], unit: 'times' }]),
    ]),
  )
}
