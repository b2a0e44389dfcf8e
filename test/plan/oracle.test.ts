import { describe, expect, it } from 'vitest'
import { randomStream } from '../../src/core/random.ts'
import type { OracleInput } from '../../src/plan/price/question.ts'
import { exitPlans, planValue } from '../../src/plan/oracle/value.ts'
import { fitsEdge } from '../../src/plan/price/memory.ts'
import { optimalPlan } from '../../src/plan/oracle/oracle.ts'
import { pairUnits } from '../../src/plan/price/pair.ts'
import { CLOUD, EDGE, type Plan } from '../../src/plan/plan.ts'
import { edgeMemory } from '../../src/plan/price/memory.ts'
import { randomInput } from './randomInput.ts'
import { FORMS } from './randomProblem.ts'

/** Every plan of a model, by counting. */
function* everyPlan(input: OracleInput): Generator<Plan> {
  const { layers } = input.pair.model
  const perLayer = (pairUnits(input.pair) + 1) * 3
  const total = perLayer ** layers
  for (const boundaryBits of input.options.boundaryBits) {
    for (const embed of [EDGE, CLOUD] as const) {
      for (const head of [EDGE, CLOUD] as const) {
        for (let code = 0; code < total; code++) {
          const unitsOnCloud = new Uint8Array(layers)
          const ffn = new Uint8Array(layers)
          for (let layer = 0, rest = code; layer < layers; layer++, rest = Math.floor(rest / perLayer)) {
            unitsOnCloud[layer] = Math.floor((rest % perLayer) / 3)
            ffn[layer] = rest % 3
          }
          yield { embed, unitsOnCloud, ffn, head, boundaryBits, exit: null }
        }
      }
    }
  }
  if (input.options.earlyExit) yield* exitPlans(input.pair, input.options)
}

function bruteForce(input: OracleInput): { value: number; plan: Plan | null } {
  let value = Infinity
  let plan: Plan | null = null
  for (const candidate of everyPlan(input)) {
    if (!allowed(input, candidate)) continue
    const found = planValue(input, candidate)
    if (found < value) {
      value = found
      plan = candidate
    }
  }
  return { value, plan }
}

function allowed(input: OracleInput, plan: Plan): boolean {
  if (!fitsEdge(input.pair, plan, input.options)) return false
  const { edgeLayersFirst: first, edgeLayersLast: last } = input.options
  const { layers } = input.pair.model
  if (first + last > 0 && (plan.embed !== EDGE || plan.head !== EDGE)) return false
  for (let layer = 0; layer < layers; layer++) {
    if (
      (layer < first || layer >= layers - last) &&
      (plan.unitsOnCloud[layer] !== 0 || plan.ffn[layer] !== 0)
    )
      return false
  }
  return true
}

function expectOptimal(input: OracleInput): void {
  const brute = bruteForce(input)
  const answer = optimalPlan(input)
  if (brute.plan === null) {
    expect(answer).toBeNull()
    return
  }
  expect(answer).not.toBeNull()
  if (answer === null) return
  expect(Math.abs(answer.value - brute.value)).toBeLessThanOrEqual(1e-9 * brute.value)
  // The value that the path claims is that of its plan's program, evaluated token by token.
  expect(Math.abs(planValue(input, answer.plan) - answer.value)).toBeLessThanOrEqual(1e-9 * answer.value)
  expect(allowed(input, answer.plan)).toBe(true)
}

describe('the oracle equals brute force', () => {
  for (const form of FORMS) {
    it(`on models of 2 layers and 2 units, ${form} latency`, () => {
      const random = randomStream(1, form)
      for (let i = 0; i < 25; i++)
        expectOptimal(randomInput(random, { layers: 2, units: 2, grouped: i % 2 === 0 }, form))
    })

    it(`under a memory limit, ${form} latency`, () => {
      const random = randomStream(2, form)
      for (let i = 0; i < 20; i++) {
        const input = randomInput(random, { layers: 2, units: 2 }, form)
        const whole = edgeMemory(input.pair, bruteForcePlanOnEdge(input))
        const all = whole.weightBytes + whole.kvBytesPerToken * input.options.reservedTokens
        expectOptimal({ ...input, options: { ...input.options, memoryBytes: all * random.uniform() } })
      }
    })

    it(`with pinned ends, ${form} latency`, () => {
      const random = randomStream(3, form)
      for (let i = 0; i < 6; i++) {
        const input = randomInput(random, { layers: 3, units: 1 }, form)
        expectOptimal({
          ...input,
          options: { ...input.options, earlyExit: false, edgeLayersFirst: 1, edgeLayersLast: 1 },
        })
      }
    })
  }

  it('on one model of 3 layers and 3 units', () => {
    expectOptimal({ ...randomInput(randomStream(4, 'three'), { layers: 3, units: 3 }, 'mean') })
  })
})

function bruteForcePlanOnEdge(input: OracleInput): Plan {
  const { layers } = input.pair.model
  return {
    embed: EDGE,
    unitsOnCloud: new Uint8Array(layers),
    ffn: new Uint8Array(layers),
    head: EDGE,
    boundaryBits: 32,
    exit: null,
  }
}
