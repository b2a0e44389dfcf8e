import { describe, expect, it } from 'vitest'
import { randomStream, type RandomStream } from '../../src/core/random.ts'
import { optimalPlan } from '../../src/plan/oracle/oracle.ts'
import { oracleInput } from '../../src/plan/price/problem.ts'
import { edgeWork } from '../../src/plan/planners/priced.ts'
import type { OracleInput } from '../../src/plan/price/question.ts'
import { planValue } from '../../src/plan/oracle/value.ts'
import { fitsEdge } from '../../src/plan/price/memory.ts'
import { randomSituation } from '../../src/policy/parity/samples.ts'
import { SEARCH_STEPS } from '../../src/policy/controller/shield.ts'
import { problemOf } from '../policy/bundleSupport.ts'
import { randomInput } from './randomInput.ts'
import { FORMS, wholeEdgeBytes } from './randomProblem.ts'
import { slowOptimum } from './solveReference.ts'

const PER_FORM = 350

/** Enough to prove nearly every optimum; the few others would take many seconds. */
const PROOF_STEPS = 1e6

/** Up to five layers; a limit on memory in two of three, and pinned ends in a quarter. */
function question(random: RandomStream, form: (typeof FORMS)[number], i: number): OracleInput {
  const shape = { layers: 2 + random.integer(4), units: 1 + random.integer(4), grouped: i % 2 === 0 }
  const input = randomInput(random, shape, form)
  const whole = wholeEdgeBytes(input.pair, input.options.reservedTokens)
  const memoryBytes = i % 3 === 0 ? Infinity : whole * random.uniform()
  const pinned = i % 4 === 0 ? { edgeLayersFirst: 1, edgeLayersLast: random.integer(2) } : {}
  return { ...input, options: { ...input.options, memoryBytes, ...pinned } }
}

describe('the quick search equals the slow one', () => {
  for (const form of FORMS) {
    it(`on ${String(PER_FORM)} random questions, ${form} latency`, { timeout: 120_000 }, () => {
      const random = randomStream(5, form)
      let nothingFits = 0
      for (let i = 0; i < PER_FORM; i++) {
        const input = question(random, form, i)
        const slow = slowOptimum(input)
        const answer = optimalPlan(input)
        if (answer === null) {
          nothingFits++
          expect(slow).toBe(Infinity)
          continue
        }
        expect(Math.abs(answer.value - slow)).toBeLessThanOrEqual(1e-11 * Math.abs(slow))
        expect(fitsEdge(input.pair, answer.plan, input.options)).toBe(true)
      }
      // Most questions must have an answer to be compared.
      expect(nothingFits).toBeLessThan(PER_FORM / 3)
    })
  }
})

describe('a search that is cut short', () => {
  /** What the shield asks: a queue at the edge, and less memory than the model takes. */
  function pressed(random: RandomStream): OracleInput {
    const problem = problemOf('gpt2-xl')
    const freeMemoryBytes = 1e9 * (0.5 + 3 * random.uniform())
    const seen = randomSituation(problem, { memoryBytes: 4e9, maxNewTokens: 128 }, random)
    const situation = { ...seen, freeMemoryBytes, replanning: false, sinceHeartbeatSeconds: 0 }
    const prices = {
      edgeSecond: edgeWork(situation),
      cloudSecond: situation.cloudBacklogSeconds,
      upByte: 0,
      edgeJoule: 0,
      accuracyNat: 0,
    }
    return oracleInput(problem, situation, prices)
  }

  it('costs little on a model of 48 layers', { timeout: 120_000 }, () => {
    const random = randomStream(6, 'cut short')
    let asked = 0
    let worse = 0
    let unproven = 0
    let cut = 0
    for (let i = 0; i < 200; i++) {
      const input = pressed(random)
      const effort = { left: SEARCH_STEPS }
      const quick = optimalPlan(input, effort)
      const proof = { left: PROOF_STEPS }
      const exact = optimalPlan(input, proof)
      if (proof.left < 0) unproven++
      expect(quick === null).toBe(exact === null)
      if (quick === null || exact === null) continue
      asked++
      expect(fitsEdge(input.pair, quick.plan, input.options)).toBe(true)
      const share = quick.value / exact.value - 1
      expect(share).toBeGreaterThanOrEqual(-1e-11)
      expect(share).toBeLessThanOrEqual(0.1)
      if (share > 1e-11) worse++
      if (effort.left < 0) cut++
      // Nothing was cut: then nothing may be lost.
      else expect(share).toBeLessThanOrEqual(1e-11)
    }
    expect(asked).toBeGreaterThan(150)
    expect(unproven).toBeLessThanOrEqual(asked / 50)
    expect(worse).toBeLessThanOrEqual(asked / 20)
    expect(cut).toBeGreaterThan(0)
  })

  it('finds a plan that fits without a single step', () => {
    const random = randomStream(7, 'no steps')
    for (let i = 0; i < 30; i++) {
      const input = pressed(random)
      const none = optimalPlan(input, { left: 0 })
      const exact = optimalPlan(input, { left: SEARCH_STEPS })
      expect(none === null).toBe(exact === null)
      if (none === null) continue
      expect(fitsEdge(input.pair, none.plan, input.options)).toBe(true)
      expect(Math.abs(planValue(input, none.plan) - none.value)).toBeLessThanOrEqual(1e-9 * none.value)
    }
  })
})
