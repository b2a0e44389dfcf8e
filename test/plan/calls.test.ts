import { describe, expect, it } from 'vitest'
import { randomStream } from '../../src/core/random.ts'
import { compileProgram } from '../../src/plan/price/compile.ts'
import { evaluateProgram, type PlanCost } from '../../src/plan/price/evaluate.ts'
import { DEFAULT_NETWORK } from '../../src/plan/price/network.ts'
import { createPair, type DevicePair } from '../../src/plan/price/pair.ts'
import { CLOUD, EDGE, cutPlan, exitPlan, uniformPlan, type Plan } from '../../src/plan/plan.ts'
import { accuracyTable } from '../../src/plan/profile/accuracy.ts'
import { BlockCosts } from '../../src/plan/profile/costs.ts'
import type { Figure, Profile } from '../../src/plan/profile/types.ts'
import { randomPair } from './randomPair.ts'
import { randomProblem } from './randomProblem.ts'

const LAYERS = 3
const UNITS = 2
const EDGE_CALL = 0.5
const CLOUD_CALL = 0.25

const figure = (value: number): Figure => ({ value, provenance: { kind: 'assumed', source: 'a test' } })
const plain = randomPair(randomStream(1, 'calls'), { layers: LAYERS, units: UNITS })

type Extra = Pick<Profile, 'dispatchSeconds' | 'wakeSeconds' | 'wire' | 'load'>

/** The same blocks with these figures beside them. */
function pairWith(edge: Extra, cloud: Extra = {}): DevicePair {
  const withExtra = (costs: BlockCosts, extra: Extra): BlockCosts => {
    const { dispatchSeconds, wakeSeconds, wire, load, ...others } = costs.profile
    expect([dispatchSeconds, wakeSeconds, wire, load]).toBeDefined()
    return new BlockCosts({ ...others, ...extra })
  }
  return createPair(withExtra(plain.edge, edge), withExtra(plain.cloud, cloud), accuracyTable(plain.model))
}

const without = pairWith({})
const withCalls = pairWith({ dispatchSeconds: figure(EDGE_CALL) }, { dispatchSeconds: figure(CLOUD_CALL) })

/** Prefill and two decode cycles. */
function cost(pair: DevicePair, plan: Plan, loadBytes = 0): PlanCost {
  const problem = randomProblem(randomStream(2, 'calls'), { layers: LAYERS, units: UNITS }, 'mean')
  const state = {
    link: { upBitsPerSecond: 1e8, downBitsPerSecond: 1e8, rttSeconds: 0.01 },
    promptTokens: 7,
    outputTokens: 3,
  }
  const program = compileProgram(pair, plan, { promptTokens: 7, loadBytes, decisionSeconds: 1e-3 })
  return evaluateProgram(program, { ...problem, ...state, pair })
}

function plan(changes: Partial<Record<'unitsOnCloud' | 'ffn', number>>): Plan {
  const base = uniformPlan(LAYERS, UNITS, EDGE)
  return {
    ...base,
    unitsOnCloud: base.unitsOnCloud.map(() => changes.unitsOnCloud ?? 0),
    ffn: base.ffn.map(() => changes.ffn ?? 0),
  }
}

/** Calls of sessions in one pass, counted by hand. */
const cases: [string, Plan, edge: number, cloud: number][] = [
  ['all on the edge', uniformPlan(LAYERS, UNITS, EDGE), 1, 0],
  ['all in the cloud', uniformPlan(LAYERS, UNITS, CLOUD), 0, 1],
  ['one cut', cutPlan(LAYERS, UNITS, 2, 32, EDGE, CLOUD), 1, 1],
  ['one cut, the head back on the edge', cutPlan(LAYERS, UNITS, 2, 32, EDGE, EDGE), 2, 1],
  // A share on either side, and what follows the sum on the edge.
  ['heads on both sides of every layer', plan({ unitsOnCloud: 1 }), 1 + 2 * LAYERS, LAYERS],
  ['every attention in the cloud', plan({ unitsOnCloud: 2 }), 1 + LAYERS, LAYERS],
  ['every FFN in the cloud', plan({ ffn: 1 }), LAYERS + 1, LAYERS],
  ['every second half in the cloud', plan({ ffn: 2 }), LAYERS + 1, LAYERS],
  // The edge's share, and the cloud's; the sum lies with the FFN.
  ['mixed heads and the FFN in the cloud', plan({ unitsOnCloud: 1, ffn: 1 }), LAYERS + 2, 2 * LAYERS],
  ['standalone exit', exitPlan(LAYERS, UNITS, { layer: 2, threshold: 0.8, mode: 'standalone' }, 32), 1, 0],
]

describe('a call of a session costs its dispatch', () => {
  it.each(cases)('%s', (_, tried, edge, cloud) => {
    const [bare, called] = [cost(without, tried), cost(withCalls, tried)]
    expect(called.edgeSeconds - bare.edgeSeconds).toBeCloseTo(3 * edge * EDGE_CALL, 9)
    expect(called.cloudSeconds - bare.cloudSeconds).toBeCloseTo(3 * cloud * CLOUD_CALL, 9)
  })

  it('making the sessions of a plan costs once each, beside their bytes', () => {
    const slow = pairWith({ load: { segmentSeconds: figure(0.3) } })
    for (const [name, tried, edge] of cases) {
      const rise = cost(slow, tried, 1e6).edgeSeconds - cost(slow, tried).edgeSeconds
      // The prompt's pass and the tokens' use the same sessions.
      expect(rise, name).toBeCloseTo(0.3 * edge + 1e6 / slow.edgeLoadBytesPerSecond, 9)
    }
  })
})

/** Calls after a pause, counted by hand: [edge, cloud] in the prompt's pass, and in that of a further token. */
const wakes: [prefill: [number, number], decode: [number, number]][] = [
  [
    [1, 0],
    [0, 0],
  ],
  [
    [0, 1],
    [0, 0],
  ],
  // The token comes down before the edge goes on.
  [
    [1, 1],
    [1, 1],
  ],
  [
    [2, 1],
    [1, 1],
  ],
  [
    [1 + LAYERS, LAYERS],
    [LAYERS, LAYERS],
  ],
  [
    [1 + LAYERS, LAYERS],
    [LAYERS, LAYERS],
  ],
  [
    [1 + LAYERS, LAYERS],
    [LAYERS, LAYERS],
  ],
  [
    [1 + LAYERS, LAYERS],
    [LAYERS, LAYERS],
  ],
  // The first layer's share and sum in the cloud; then only the sum waits there.
  [
    [1 + LAYERS, 1 + LAYERS],
    [LAYERS, 1 + LAYERS],
  ],
  [
    [1, 0],
    [0, 0],
  ],
]

describe('a call after a message, or at the start of a request, wakes its core', () => {
  it.each(cases.map(([name, tried], i) => [name, tried, ...wakes[i]] as const))(
    '%s',
    (_, tried, first, later) => {
      const woken = pairWith({ wakeSeconds: figure(EDGE_CALL) }, { wakeSeconds: figure(CLOUD_CALL) })
      const [bare, called] = [cost(without, tried), cost(woken, tried)]
      expect(called.edgeSeconds - bare.edgeSeconds).toBeCloseTo((first[0] + 2 * later[0]) * EDGE_CALL, 9)
      expect(called.cloudSeconds - bare.cloudSeconds).toBeCloseTo((first[1] + 2 * later[1]) * CLOUD_CALL, 9)
    },
  )
})

describe('handling of messages', () => {
  const seconds = (edge: Extra, cloud: Extra): number => pairWith(edge, cloud).network.messageSeconds
  const wire = (value: number): Extra => ({ wire: { messageSeconds: figure(value) } })

  it('is what both ends measured, half each; the usual where one did not', () => {
    const usual = DEFAULT_NETWORK.messageSeconds
    expect(seconds({}, {})).toBe(usual)
    expect(seconds(wire(2e-4), wire(4e-4))).toBeCloseTo(3e-4, 12)
    expect(seconds(wire(2e-4), {})).toBeCloseTo(1e-4 + usual / 2, 12)
  })

  it('is what the caller says, if anything', () => {
    const { edge, cloud, accuracy } = pairWith(wire(1), wire(1))
    expect(createPair(edge, cloud, accuracy, DEFAULT_NETWORK).network).toBe(DEFAULT_NETWORK)
  })
})
