import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { randomStream, type RandomStream } from '../../../src/core/random.ts'
import { simulateUnloaded } from '../../../src/lab/calibrate/unloaded.ts'
import { compileProgram } from '../../../src/plan/price/compile.ts'
import { exitPlan, type BoundaryBits, type Plan, type Side } from '../../../src/plan/plan.ts'
import { pairUnits, type DevicePair } from '../../../src/plan/price/pair.ts'
import { createReference } from '../../../src/sim/reference.ts'
import { createLink } from '../../../src/trace/link.ts'
import type { Link } from '../../../src/trace/types.ts'
import { randomPair } from '../../plan/randomPair.ts'
import { plainWorld } from '../../sim/plainWorld.ts'

function randomLink(random: RandomStream): Link {
  const bins = 1 + random.integer(8)
  const each = (of: () => number) => Float64Array.from({ length: bins }, of)
  const timeSeconds = new Float64Array(bins + 1)
  for (let i = 0; i < bins; i++) timeSeconds[i + 1] = timeSeconds[i] + 0.01 + random.exponential(0.1)
  const rate = () => 1e5 * 1000 ** random.uniform()
  return createLink({
    timeSeconds,
    upBitsPerSecond: each(rate),
    downBitsPerSecond: each(rate),
    label: 'random',
    rttSeconds: each(() => 0.2 * random.uniform()),
  })
}

/** Any heads anywhere, any FFN mode, both ends anywhere; now and then an early exit. */
function randomPlan(random: RandomStream, pair: DevicePair): Plan {
  const { layers } = pair.model
  const units = pairUnits(pair)
  const boundaryBits = [32, 16, 8, 4][random.integer(4)] as BoundaryBits
  const { exits } = pair.accuracy
  if (exits.length > 0 && random.integer(4) === 0) {
    const { layer, threshold } = exits[random.integer(exits.length)]
    const mode = random.integer(2) === 0 ? 'standalone' : 'collaborative'
    return exitPlan(layers, units, { layer, threshold, mode }, boundaryBits)
  }
  return {
    embed: random.integer(2) as Side,
    head: random.integer(2) as Side,
    boundaryBits,
    exit: null,
    unitsOnCloud: Uint8Array.from({ length: layers }, () => random.integer(units + 1)),
    ffn: Uint8Array.from({ length: layers }, () => random.integer(3)),
  }
}

describe('the walk of a request alone', () => {
  it('takes as long and carries as much as in the reference simulator, in any world', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e9 }), (seed) => {
        const random = randomStream(seed, 'walk')
        const pair = randomPair(random, { layers: 1 + random.integer(4), units: 1 + random.integer(4) })
        const link = randomLink(random)
        const [promptTokens, outputTokens] = [1 + random.integer(200), 1 + random.integer(20)]
        const input = { promptTokens, loadBytes: random.integer(2) * 1e6, decisionSeconds: 1e-3 }
        const program = compileProgram(pair, randomPlan(random, pair), input)
        const world = plainWorld(link, [[0, promptTokens, outputTokens]], { network: pair.network })
        const simulation = createReference(world)
        while (simulation.advance() >= 0) simulation.dispatch(program)
        const [outcome] = simulation.outcomes
        const walk = simulateUnloaded(program, link, pair.network, { promptTokens, outputTokens }, 0)
        expect(walk.ttftSeconds).toBeCloseTo(outcome.firstTokenSeconds, 9)
        expect(walk.endToEndSeconds).toBeCloseTo(outcome.lastTokenSeconds, 9)
        // Uploads for a cloud that is not asked any more may go on after the last token.
        const { edgeBusySeconds, cloudBusySeconds } = simulation.totals
        expect(walk.edgeSeconds).toBeCloseTo(edgeBusySeconds, 9)
        expect(walk.cloudSeconds).toBeCloseTo(cloudBusySeconds, 9)
        expect([walk.upBytes, walk.downBytes]).toEqual([
          simulation.totals.upBytes,
          simulation.totals.downBytes,
        ])
      }),
      { numRuns: 300 },
    )
  })
})
