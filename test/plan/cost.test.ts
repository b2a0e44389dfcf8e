import { describe, expect, it } from 'vitest'
import { randomStream, type RandomStream } from '../../src/core/random.ts'
import { compileProgram } from '../../src/plan/price/compile.ts'
import { evaluateProgram } from '../../src/plan/price/evaluate.ts'
import { exitUse } from '../../src/plan/oracle/exits.ts'
import { requestCost, latencyTerm } from '../../src/plan/price/objective.ts'
import { exitPlans, planCost } from '../../src/plan/oracle/value.ts'
import type { DevicePair } from '../../src/plan/price/pair.ts'
import type { DecisionProblem } from '../../src/plan/price/problem.ts'
import { createFast } from '../../src/sim/fast.ts'
import { createReference } from '../../src/sim/reference.ts'
import type { SimulationFactory, EpisodeInputs } from '../../src/sim/types.ts'
import { createLink, constantSeries } from '../../src/trace/link.ts'
import { anyPlan } from './anyPlan.ts'
import { FORMS, randomProblem } from './randomProblem.ts'

function randomState(random: RandomStream, pair: DevicePair) {
  const link = {
    upBitsPerSecond: 10 ** (6 + 3 * random.uniform()),
    downBitsPerSecond: 10 ** (6 + 3 * random.uniform()),
    rttSeconds: 10 ** (-5 + 4 * random.uniform()),
  }
  const outputTokens = 1 + random.integer(60)
  // Now and then as long as the model's context allows.
  const promptTokens = 1 + random.integer(pair.model.contextTokens - outputTokens)
  return { link, promptTokens, outputTokens }
}

const simulators: [string, SimulationFactory][] = [
  ['the reference simulator', createReference],
  ['the fast simulator', createFast],
]

describe.each(simulators)('the analytic cost of a plan equals %s', (_, create) => {
  it.each(FORMS)('for any plan of a lone request on a constant link, %s latency', (form) => {
    const random = randomStream(11, form)
    for (let i = 0; i < 150; i++) {
      const drawn = randomProblem(
        random,
        { layers: 3 + random.integer(3), units: 1 + random.integer(4) },
        form,
      )
      // A lone request finds the connection cold; the analytic cost is that of a warm one.
      const network = { ...drawn.pair.network, coldAfterSeconds: Infinity }
      const problem = { ...drawn, pair: { ...drawn.pair, network } }
      expectEqual(random, problem, create)
    }
  })
})

function expectEqual(random: RandomStream, problem: DecisionProblem, create: SimulationFactory): void {
  const { pair, objective } = problem
  const plan = anyPlan(random, pair)
  const { link, promptTokens, outputTokens } = randomState(random, pair)
  const program = compileProgram(pair, plan, { promptTokens, loadBytes: 1e5, decisionSeconds: 1e-3 })
  const cost = evaluateProgram(program, { ...problem, link, promptTokens, outputTokens })
  const arrivalSeconds = random.uniform()
  const world: EpisodeInputs = {
    link: createLink(constantSeries(link.upBitsPerSecond, link.downBitsPerSecond, link.rttSeconds)),
    tenants: { timeSeconds: Float64Array.of(0), value: Float64Array.of(0) },
    arrivals: [
      { arrivalSeconds, promptTokens, outputTokens, predictedOutputTokens: 1, predictedOutputSd: 1 },
    ],
    maxInFlight: 1,
    cloudSlots: 1,
    batchFactors: [1],
    network: pair.network,
    readingTokensPerSecond: problem.readingTokensPerSecond,
    outageSeconds: null,
  }
  const simulation = create(world)
  expect(simulation.advance()).toBe(0)
  simulation.dispatch(program)
  expect(simulation.advance()).toBe(-1)
  const outcome = simulation.outcomes[0]
  const ttftSeconds = outcome.firstTokenSeconds - arrivalSeconds
  const e2eSeconds = outcome.lastTokenSeconds - arrivalSeconds
  const { power } = pair
  const edgeJoules =
    power.idleWatts * e2eSeconds +
    (power.busyWatts - power.idleWatts) * outcome.edgeBusySeconds +
    power.radioJoulesPerByte * (outcome.upBytes + outcome.downBytes) +
    power.radioJoulesPerMessage * outcome.messages
  const { stallSeconds, cloudBusySeconds: cloudSeconds, upBytes, downBytes, accuracyLoss } = outcome
  const latencySeconds = latencyTerm(objective.latency, ttftSeconds, e2eSeconds, stallSeconds)
  const used = { latencySeconds, edgeJoules, cloudSeconds, upBytes, accuracyLoss }
  const pairs: Record<string, [number, number]> = {
    cost: [cost.cost, requestCost(objective.weights, used)],
    ttftSeconds: [cost.ttftSeconds, ttftSeconds],
    e2eSeconds: [cost.e2eSeconds, e2eSeconds],
    stallSeconds: [cost.stallSeconds, stallSeconds],
    edgeJoules: [cost.edgeJoules, edgeJoules],
    edgeSeconds: [cost.edgeSeconds, outcome.edgeBusySeconds],
    cloudSeconds: [cost.cloudSeconds, cloudSeconds],
    upBytes: [cost.upBytes, upBytes],
    downBytes: [cost.downBytes, downBytes],
    messages: [cost.messages, outcome.messages],
    accuracyLoss: [cost.accuracyLoss, accuracyLoss],
  }
  for (const [name, [analytic, simulated]] of Object.entries(pairs)) {
    const error = Math.abs(analytic - simulated) / Math.max(1, Math.abs(simulated))
    expect(error, `${name}: ${analytic} against ${simulated}`).toBeLessThanOrEqual(1e-9)
  }
}

it('an early exit summed without its program takes what evaluating its program takes', () => {
  const random = randomStream(12, 'exits')
  for (let i = 0; i < 120; i++) {
    const problem = randomProblem(random, { layers: 4, units: 2 }, 'qoe')
    const { pair } = problem
    const options = { ...problem, mixedLayers: true, memoryBytes: Infinity, reservedTokens: 0 }
    const plans = exitPlans(pair, options)
    const plan = plans[random.integer(plans.length)]
    if (plan.exit === null) throw new Error('an exit plan has an exit')
    const slowdown = () => (random.uniform() < 0.3 ? 1 : 1 + random.uniform())
    const state = { ...randomState(random, pair), edgeSlowdown: slowdown(), cloudSlowdown: slowdown() }
    const evaluated = planCost({ ...problem, state }, plan)
    const summed = exitUse(pair, state, plan.exit, plan.boundaryBits, problem.readingTokensPerSecond)
    for (const [name, value] of Object.entries(summed)) {
      const expected = evaluated[name as keyof typeof summed]
      expect(Math.abs(value - expected), name).toBeLessThanOrEqual(1e-9 * Math.max(1, expected))
    }
  }
})
