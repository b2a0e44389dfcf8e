import type { EpisodeInputs } from '../../src/sim/types.ts'
import type { Link } from '../../src/trace/types.ts'

/** A world for cases worked out by hand: no tenants, two slots, no framing. Arrivals are [seconds, prompt tokens, output tokens]. */
export function plainWorld(
  link: Link,
  arrivals: readonly (readonly [number, number, number])[],
  changes: Partial<EpisodeInputs> = {},
): EpisodeInputs {
  return {
    link,
    tenants: { timeSeconds: Float64Array.of(0), value: Float64Array.of(0) },
    arrivals: arrivals.map(([arrivalSeconds, promptTokens, outputTokens]) => {
      return { arrivalSeconds, promptTokens, outputTokens, predictedOutputTokens: 1, predictedOutputSd: 1 }
    }),
    maxInFlight: 1,
    cloudSlots: 2,
    batchFactors: [1, 1.5],
    network: {
      frameBytes: 0,
      messageSeconds: 0,
      windowBytes: 14_600,
      beyondWindowRtts: 0.5,
      coldRtts: 3,
      coldAfterSeconds: 30,
    },
    readingTokensPerSecond: 2,
    outageSeconds: null,
    ...changes,
  }
}
