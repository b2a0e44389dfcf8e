import { describe, expect, it } from 'vitest'
import { randomStream, type RandomStream } from '../../src/core/random.ts'
import { layerEdges, problemOf } from '../../src/plan/oracle/paths.ts'
import type { LayerTransition } from '../../src/plan/oracle/solve.ts'
import { AttentionTimes, layerTables } from '../../src/plan/oracle/tables.ts'
import { planValue } from '../../src/plan/oracle/value.ts'
import { BOUNDARY_BITS, type Plan, type Side } from '../../src/plan/plan.ts'
import type { OracleInput } from '../../src/plan/price/question.ts'
import { randomInput } from './randomInput.ts'
import { FORMS } from './randomProblem.ts'

/** Weights and prices of which each may be all that counts, so that one wrong column does not hide behind the others. */
function withFewTerms(random: RandomStream, input: OracleInput): OracleInput {
  const some = (): number => (random.integer(3) === 0 ? random.uniform() : 0)
  const weights = { latency: some(), energy: some(), cloud: some(), bytes: some(), accuracy: some() }
  const prices = {
    edgeSecond: some(),
    cloudSecond: some(),
    upByte: 1e-6 * some(),
    edgeJoule: some(),
    accuracyNat: some(),
  }
  return { ...input, objective: { ...input.objective, weights }, prices }
}

/** A path by random choices over the oracle's transitions, and its plan. */
function randomPath(random: RandomStream, input: OracleInput): { value: number; plan: Plan } {
  const { pair, state } = input
  const bits = BOUNDARY_BITS[random.integer(4)]
  const [embed, head] = [random.integer(2) as Side, random.integer(2) as Side]
  const tables = layerTables(pair, state, bits, new AttentionTimes(pair, state))
  const problem = problemOf(input, bits, layerEdges(input, tables, bits), embed, head)
  let side: Side = embed
  const path = problem.layers.map((choices): LayerTransition => {
    const from = choices[side]
    const transition = from[random.integer(from.length)]
    side = transition.next
    return transition
  })
  const steps = [problem.start, ...path, problem.end[side]]
  const cost = steps.reduce((sum, step) => sum + step.cost, 0)
  const time = steps.reduce((sum, step) => sum + step.time, 0)
  const plan: Plan = {
    embed,
    unitsOnCloud: Uint8Array.from(path, ({ unitsOnCloud }) => unitsOnCloud),
    ffn: Uint8Array.from(path, ({ ffn }) => ffn),
    head,
    boundaryBits: bits,
    exit: null,
  }
  return { value: cost + problem.penalty(time), plan }
}

describe("a path over the oracle's tables", () => {
  it.each(FORMS)('costs what evaluating the program of its plan gives, %s latency', (form) => {
    const seen = new Set<number>()
    for (let seed = 0; seed < 60; seed++) {
      const random = randomStream(seed, `tables ${form}`)
      const shape = { layers: 1 + random.integer(4), units: 1 + random.integer(3), grouped: seed % 2 === 0 }
      const drawn = withFewTerms(random, randomInput(random, shape, form))
      // Under a memory limit more choices are worth keeping.
      const input = { ...drawn, options: { ...drawn.options, memoryBytes: 1e9 } }
      for (let i = 0; i < 4; i++) {
        const { value, plan } = randomPath(random, input)
        const expected = planValue(input, plan)
        expect(Math.abs(value - expected), `seed ${seed}`).toBeLessThanOrEqual(
          1e-9 * Math.max(1e-3, expected),
        )
        plan.unitsOnCloud.forEach((units, layer) => seen.add(10 * units + plan.ffn[layer]))
      }
    }
    // Mixed layers were among the choices, and not only whole ones.
    expect(seen.size).toBeGreaterThanOrEqual(7)
  })
})
