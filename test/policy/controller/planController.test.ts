import { describe, expect, test } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import {
  OBSERVATION_NAMES,
  OBSERVATION_SIZE,
  encodeObservation,
} from '../../../src/policy/observation/observation.ts'
import {
  edgeBytes,
  edgeMemory,
  fitsBeside,
  freeBytesBeside,
  weightsOf,
  type MemoryUse,
} from '../../../src/plan/price/memory.ts'
import type { DecisionProblem } from '../../../src/plan/price/problem.ts'
import { pairUnits } from '../../../src/plan/price/pair.ts'
import { Episode } from '../../../src/sim/episode.ts'
import { createFast } from '../../../src/sim/fast.ts'
import { createLink, constantSeries } from '../../../src/trace/link.ts'
import { sessionTerms } from '../../plan/randomProblem.ts'
import { LearnedPolicy } from '../../../src/policy/actor/learned.ts'
import { cutPlan, EDGE, samePlan, needsCloud, type Plan } from '../../../src/plan/plan.ts'
import { InputError } from '../../../src/core/errors.ts'
import { driftPlusPenalty } from '../../../src/plan/planners/priced.ts'
import { compileProgram } from '../../../src/plan/price/compile.ts'
import { curveAt } from '../../../src/plan/price/curves.ts'
import { RESOURCE } from '../../../src/plan/price/program.ts'
import type { ControllerDecision } from '../../../src/policy/controller/planControllerTypes.ts'
import { numbersOf, problemOf, SLOTS, TERMS } from '../bundleSupport.ts'
import { PROBE, askOf, bundleOf, controlled, presentOf } from './planControllerSupport.ts'

/** An edge with one other request, of this plan and so many tokens. */
function useOf(limitBytes: number, { pair }: DecisionProblem, plan: Plan, kvTokens: number): MemoryUse {
  const kvBytes = edgeMemory(pair, plan).kvBytesPerToken * kvTokens
  return { limitBytes, weights: weightsOf(pair.model, plan), kvBytes, keptBytes: 0 }
}

describe('a decision', () => {
  test("is the policy's, with what it was decided on, timed by the clock", () => {
    const problem = problemOf('gpt2')
    const numbers = numbersOf(problem, 4, 0.3)
    const { controller, clock } = controlled({ bundle: bundleOf(problem, undefined, numbers) })
    const decision = controller.decide(askOf())
    expect(decision).toMatchObject({ source: 'policy', propensity: 1, decideSeconds: 0 })
    const policy = new LearnedPolicy(problem, numbers)
    expect(decision.plan).toEqual(policy.decide(decision.situation!))
    const observation = new Float32Array(OBSERVATION_SIZE)
    encodeObservation(problem, decision.situation!, observation)
    expect(decision.observation).toEqual(observation)
    expect(decision.observation).not.toBe(controller.decide(askOf()).observation)
    let ticks = 0
    clock.nowSeconds = () => 1000 + 0.5 * ticks++
    expect(controller.decide(askOf()).decideSeconds).toBeGreaterThan(0)
  })

  test('knows what has been heard, in seconds since the controller began', () => {
    const { controller, clock, beat } = controlled()
    beat(10, 0.05)
    controller.transfer('up', 1e6, clock.seconds - 1, clock.seconds)
    controller.load(5, clock.seconds - 2)
    controller.arrived(clock.seconds - 4)
    controller.arrived(clock.seconds)
    const { situation } = controller.decide(askOf({ waitingRequests: 3, uplinkQueuedBytes: 7 }))
    expect(situation).toMatchObject({
      nowSeconds: 10,
      sinceHeartbeatSeconds: 0,
      tenantsHeard: 5,
      tenantsAgeSeconds: 2,
      arrivalsPerSecond: 0.25,
      waitingRequests: 3,
      uplinkQueuedBytes: 7,
      replanning: false,
    })
    // Half way from the probe to the transfer, and after ten heartbeats all but there.
    expect(situation!.up.shortBitsPerSecond).toBeCloseTo((PROBE.upBitsPerSecond + 8e6) / 2, 3)
    expect(situation!.rttSeconds).toBeCloseTo(0.05, 4)
  })

  test('counts the work of requests in flight until they finish, and learns how long answers are', () => {
    const { controller, edge, wait } = controlled()
    const first = controller.decide(askOf())
    controller.dispatched(askOf(), edge)
    const second = controller.decide(askOf({ request: 2, inFlight: 1 }))
    expect(first.situation!.edgeBacklogSeconds).toBe(0)
    expect(second.situation!.edgeBacklogSeconds).toBeGreaterThan(0)
    wait(5)
    controller.finished(1, { seconds: 5, outputTokens: 4 })
    const third = controller.decide(askOf({ request: 2 }))
    expect(third.situation!.edgeBacklogSeconds).toBe(0)
    expect(third.situation!.recentEdgeSecondsPerToken).toBe(5 / 4)
    expect(third.predictedOutputTokens).toBeLessThanOrEqual(first.predictedOutputTokens)
    controller.dispatched(askOf({ request: 2 }), edge)
    controller.finished(2, { seconds: 1, outputTokens: 0 })
    const last = controller.decide(askOf({ request: 3 })).situation!
    expect(last.edgeBacklogSeconds).toBe(0)
    expect(last.recentEdgeSecondsPerToken).toBe(5 / 4)
  })

  test("turns the engine's seconds into measured over profiled speed, in however many parts they come", () => {
    const { controller, problem, edge } = controlled()
    controller.dispatched(askOf(), edge)
    const program = compileProgram(problem.pair, edge, {
      promptTokens: 60,
      loadBytes: 0,
      decisionSeconds: 0,
    })
    const [cycle] = program.cycles[0].stages.filter(({ resource }) => resource === RESOURCE.edge)
    const prefill = program.prefill.stages[0].seconds
    const decode = (position: number) =>
      cycle.seconds + curveAt(program.edgeKnots, cycle.curve!, position + 1)
    controller.edgeBusy(1, { position: 0, rows: 60, seconds: 1.5 * prefill })
    controller.edgeBusy(1, { position: 0, rows: 60, seconds: 1.5 * prefill })
    controller.edgeBusy(1, { position: 60, rows: 1, seconds: 3 * decode(60) })
    // A chunk that the program does not have tells nothing.
    controller.edgeBusy(1, { position: 0, rows: 30, seconds: 1e3 })
    const { situation } = controller.decide(askOf({ request: 2 }))
    // From 1 towards 3, a fifth of the way twice.
    expect(situation!.edgeSlowdown).toBeCloseTo(1 + 2 * (1 - 0.8 ** 2), 9)
  })

  test("moves the virtual queues of the bundle's budgets as the simulator does in training", () => {
    const budgets = { energyJoules: 1, accuracyLoss: 0.0001, cloudSeconds: 0.01 }
    const problem = problemOf('gpt2', { budgets })
    const { layers } = problem.pair.model
    const units = pairUnits(problem.pair)
    const plans = [0, 12, 5, 5, 0, 12].map((cut) =>
      cutPlan(layers, units, cut, 8, cut === 0 ? 1 : 0, cut === 12 ? 0 : 1),
    )
    // Far apart and alone, so that the cloud is as fast as profiled: what the controller takes of it is modelled.
    const arrivals = plans.map((_, i) => ({
      arrivalSeconds: 60 * i,
      promptTokens: 60,
      outputTokens: 20 + i,
      predictedOutputTokens: 20,
      predictedOutputSd: 0,
    }))
    const world = {
      link: createLink(constantSeries(20e6, 40e6, 0.03)),
      tenants: { timeSeconds: Float64Array.of(0), value: Float64Array.of(0) },
      arrivals,
      maxInFlight: 1,
      cloudSlots: SLOTS,
      network: problem.pair.network,
      batchFactors: Array.from({ length: SLOTS }, (_, i) => problem.pair.cloud.batchFactor(i + 1)),
      readingTokensPerSecond: 10,
      outageSeconds: null,
    }
    const session = new Episode(problem, world, sessionTerms({ ...TERMS }), createFast)
    const { controller, wait } = controlled({ bundle: bundleOf(problem) })
    session.onFinish = (request) => {
      const { edgeBusySeconds, upBytes, downBytes, messages } = session.simulation.outcomes[request]
      const { promptTokens, outputTokens } = arrivals[request]
      controller.edgeBusy(request, { position: 0, rows: promptTokens, seconds: edgeBusySeconds })
      const seconds = session.result(request).e2eSeconds
      controller.finished(request, { seconds, outputTokens, upBytes, downBytes, messages })
    }
    const entries = OBSERVATION_NAMES.flatMap((name, i) => (name.startsWith('log1pVirtual') ? [i] : []))
    expect(entries).toHaveLength(3)
    const most = [0, 0, 0]
    const trained = new Float32Array(OBSERVATION_SIZE)
    while (session.next()) {
      const { request } = session
      encodeObservation(problem, session.situation(), trained)
      const ask = askOf({ request })
      const { observation } = controller.decide(ask)
      entries.forEach((at, i) => {
        expect(observation![at]).toBeCloseTo(trained[at], 6)
        most[i] = Math.max(most[i], trained[at])
      })
      controller.dispatched(ask, plans[request])
      session.dispatch(plans[request])
      wait(60)
      controller.heartbeat(1000 + 60 * (request + 1), 0.03)
    }
    const used = arrivals.map((_, request) => session.result(request))
    const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
    const uses = controller.budgetUses()!
    expect(uses.energyJoules!.used).toBeCloseTo(mean(used.map((r) => r.edgeJoules)), 6)
    expect(uses.cloudSeconds!.used).toBeCloseTo(mean(used.map((r) => r.cloudSeconds)), 6)
    expect(uses.accuracyLoss!.budget).toBe(budgets.accuracyLoss)
    // Each of the three queues moved.
    expect(Math.min(...most)).toBeGreaterThan(0.3)
  })

  test('says what a request used when it ends, each plan for the tokens that it brought', () => {
    const { controller, problem, edge, cloud } = controlled()
    const { power } = problem.pair
    const quantised = { ...cutPlan(12, 12, 6, 4, EDGE, EDGE) }
    const lossOf = (plan: Plan): number =>
      compileProgram(problem.pair, plan, { promptTokens: 60, loadBytes: 0, decisionSeconds: 0 }).accuracyLoss
    expect(lossOf(quantised)).toBeGreaterThan(0)
    controller.dispatched(askOf(), quantised)
    controller.edgeBusy(1, { position: 0, rows: 60, seconds: 2 })
    controller.replanned(askOf({ promptTokens: 70, maxNewTokens: 54, deliveredTokens: 10 }), edge)
    const radio = { upBytes: 1e6, downBytes: 1e3, messages: 40 }
    const use = controller.finished(1, { seconds: 5, outputTokens: 40, ...radio })!
    // The first plan brought a quarter of the tokens, the second none of the loss.
    expect(use.accuracyLoss).toBeCloseTo(lossOf(quantised) / 4 + (lossOf(edge) * 3) / 4, 12)
    const { busyWatts, idleWatts, radioJoulesPerByte, radioJoulesPerMessage } = power
    const joules = 2 * (busyWatts - idleWatts) + radioJoulesPerByte * 1_001_000 + radioJoulesPerMessage * 40
    expect(use.energyJoules).toBeCloseTo(joules, 9)
    expect(use.cloudSeconds).toBeGreaterThan(0)
    // What was not counted is not 0.
    for (const [request, counts] of [{}, { upBytes: 1, downBytes: 1 }].entries()) {
      controller.dispatched(askOf({ request }), cloud)
      const unmeasured = controller.finished(request, { seconds: 5, outputTokens: 4, ...counts })
      expect(unmeasured).toMatchObject({ energyJoules: null, accuracyLoss: 0 })
    }
    expect(controller.finished(7, { seconds: 5, outputTokens: 4, ...radio })).toBeNull()
    expect(controlled({ bundle: null }).controller.finished(1, { seconds: 5, outputTokens: 4 })).toBeNull()
  })

  test('is the exact action where a queue has passed its bound', () => {
    const problem = problemOf('gpt2')
    const shield = { maxWaiting: 3, v: 0.5 }
    const { controller } = controlled({ bundle: bundleOf(problem), shield })
    expect(controller.decide(askOf({ waitingRequests: 3 })).source).toBe('policy')
    const decision = controller.decide(askOf({ waitingRequests: 4 }))
    expect(decision).toMatchObject({ source: 'shield', propensity: 1 })
    expect(decision.observation).not.toBeNull()
    expect(decision.plan).toEqual(driftPlusPenalty(problem, 0.5).decide(decision.situation!))
    const unshielded = controlled({ bundle: bundleOf(problem), shield: null }).controller
    expect(unshielded.decide(askOf({ waitingRequests: 400 })).source).toBe('policy')
  })
})

describe('without a policy', () => {
  test('the fallback serves and says so; in an outage alone where that fits', () => {
    const { controller, cloud, edge, wait, beat } = controlled({ bundle: null })
    expect(controller.decide(askOf())).toMatchObject({
      source: 'fallback',
      observation: null,
      situation: null,
    })
    expect(controller.decide(askOf()).plan).toBe(cloud)
    wait(4)
    expect(controller.decide(askOf()).plan).toBe(cloud)
    const fits = controlled({ bundle: null, offlinePlan: edge })
    expect(fits.controller.decide(askOf(), { linkDown: true }).plan).toBe(edge)
    beat(1)
    expect(controller.decide(askOf()).plan).toBe(cloud)
  })

  test('goes alone in an outage and back after it', () => {
    const { edge } = controlled()
    const { controller, cloud, wait, beat } = controlled({ bundle: null, offlinePlan: edge })
    controller.dispatched(askOf(), cloud)
    expect(controller.reconsider(presentOf(cloud, 5))).toBeNull()
    wait(3.5)
    const change = controller.reconsider(presentOf(cloud, 5))
    expect(change).toMatchObject({ reason: 'outage', source: 'fallback', gainShare: null })
    expect(change!.plan).toBe(edge)
    controller.replanned(askOf({ promptTokens: 65 }), edge)
    expect(controller.reconsider(presentOf(edge, 6))).toBeNull()
    beat(3)
    expect(controller.reconsider(presentOf(edge, 8))).toBeNull()
    beat(1)
    const back = controller.reconsider(presentOf(edge, 8))
    expect(back).toMatchObject({ reason: 'return', rebuild: 'ids' })
    expect(back!.plan).toBe(cloud)
  })

  test('or where the policy finds no plan that fits', () => {
    const full = (): Plan => {
      throw new InputError({ where: 'free edge memory', expected: 'room', found: '0 bytes' })
    }
    const { controller, cloud } = controlled({ bundle: bundleOf(problemOf('gpt2'), full) })
    const decision: ControllerDecision = controller.decide(askOf())
    expect(decision).toMatchObject({ source: 'fallback', propensity: 1 })
    expect(decision.plan).toBe(cloud)
  })
})

describe('a request in flight', () => {
  const weights = { latency: 1, energy: 0, cloud: 0, bytes: 0, accuracy: 1 }
  // Seconds are all that counts: the cloud is several times as quick.
  const problem = problemOf('gpt2', { objective: { weights, latency: { form: 'mean' } } })
  const cut = cutPlan(12, 12, 6, 16, EDGE, EDGE)

  test('goes alone once no heartbeat has come for long, or at once where the link is known to be gone', () => {
    for (const linkDown of [false, true]) {
      const { controller, wait } = controlled()
      controller.dispatched(askOf(), cut)
      wait(linkDown ? 0.1 : 2.9)
      expect(controller.reconsider(presentOf(cut, 5), { linkDown: false })).toBeNull()
      wait(0.2)
      const change = controller.reconsider(presentOf(cut, 5), { linkDown })
      expect(change?.reason).toBe('outage')
      expect(needsCloud(change!.plan)).toBe(false)
      expect(change!.situation).toMatchObject({ replanning: true, deliveredTokens: 5, promptTokens: 65 })
      // Layers 6 to 11 from kept tensors cost less than all twelve from ids.
      expect(change!.rebuild).toBe(change!.plan.exit === null || change!.plan.exit.layer > 6 ? 'boundary' : change!.rebuild) // prettier-ignore
    }
  })

  test('stays where the model does not fit the edge', () => {
    const { controller, cloud, wait } = controlled()
    controller.dispatched(askOf(), cloud)
    wait(10)
    expect(controller.reconsider(presentOf(cloud, 5, { freeMemoryBytes: 1e6 }))).toBeNull()
  })

  test('goes alone on weights that another request has in memory already', () => {
    const { controller, edge, cloud, problem: given, wait } = controlled()
    const terms = given.pair
    const whole = edgeMemory(terms, edge)
    // Enough for the model once, and for the K/V of two.
    const memoryUse = useOf(whole.weightBytes + 400 * whole.kvBytesPerToken, given, edge, 150)
    const freeMemoryBytes = freeBytesBeside(terms, memoryUse, 124)
    expect(freeMemoryBytes).toBeLessThan(whole.weightBytes / 10)
    controller.dispatched(askOf(), cloud)
    wait(10)
    expect(controller.reconsider(presentOf(cloud, 5, { freeMemoryBytes }))).toBeNull()
    const change = controller.reconsider(presentOf(cloud, 5, { freeMemoryBytes, memoryUse }))
    expect(change?.reason).toBe('outage')
    expect(needsCloud(change!.plan)).toBe(false)
    expect(fitsBeside(terms, memoryUse, change!.plan, 124)).toBe(true)
  })

  test('gets a plan that fits beside the others, whatever they hold', () => {
    const random = randomStream(3, 'memory-use')
    const { controller, problem: given } = controlled()
    const units = pairUnits(given.pair)
    const whole = edgeMemory(given.pair, cutPlan(12, units, 12, 16, EDGE, EDGE)).weightBytes
    let shares = 0
    for (let i = 0; i < 60; i++) {
      const others = cutPlan(12, units, random.integer(13), 16, EDGE, random.integer(2) as 0 | 1)
      const limitBytes = edgeBytes(given.pair, others, 100) + whole * 1.2 * random.uniform()
      const memoryUse = useOf(limitBytes, given, others, 100)
      const freeMemoryBytes = freeBytesBeside(given.pair, memoryUse, 124)
      const { plan, situation } = controller.decide(askOf({ freeMemoryBytes, memoryUse }))
      expect(fitsBeside(given.pair, memoryUse, plan, situation!.reservedTokens)).toBe(true)
      if (situation!.freeMemoryBytes > freeMemoryBytes) shares++
    }
    expect(shares).toBeGreaterThan(5)
    expect(shares).toBeLessThan(60)
  })

  test('that went alone goes back when the link has been stable and that pays past the share', () => {
    const cloudward = controlled().cloud
    const plans = ({ replanning }: { replanning: boolean }): Plan => (replanning ? alone : cloudward)
    const alone = controlled().edge
    const { controller, wait, beat } = controlled({ bundle: bundleOf(problem, plans) })
    controller.dispatched(askOf(), cloudward)
    wait(4)
    expect(controller.reconsider(presentOf(cloudward, 2))?.plan).toBe(alone)
    controller.replanned(askOf({ promptTokens: 62, deliveredTokens: 2 }), alone)
    beat(3)
    expect(controller.reconsider(presentOf(alone, 4))).toBeNull()
    beat(1)
    const back = controller.reconsider(presentOf(alone, 4))
    expect(back).toMatchObject({ reason: 'return', rebuild: 'ids' })
    expect(back!.gainShare).toBeGreaterThan(0.2)
    // Not asked again at once.
    wait(0.5)
    expect(controller.reconsider(presentOf(alone, 4))).toBeNull()
  })

  test('never goes back for less than the share', () => {
    const { cloud, edge } = controlled()
    for (const share of [0.2, 0.999]) {
      const { controller, beat } = controlled({
        bundle: bundleOf(problem, () => cloud),
        hysteresis: { share },
      })
      controller.dispatched(askOf(), edge)
      beat(2)
      const change = controller.reconsider(presentOf(edge, 2))
      if (share === 0.2) expect(change?.reason).toBe('better')
      else expect(change).toBeNull()
    }
  })

  test('is looked at for the better at most once an interval, and not at all while exploring', () => {
    const { cloud, edge } = controlled()
    let asked = 0
    const plans = (): Plan => {
      asked++
      return cloud
    }
    const hysteresis = { share: 0.99999, intervalSeconds: 2 }
    const { controller, wait, beat } = controlled({ bundle: bundleOf(problem, plans), hysteresis })
    controller.dispatched(askOf(), edge)
    beat(1)
    expect([controller.reconsider(presentOf(edge, 2)), asked]).toEqual([null, 0])
    beat(1)
    for (let i = 0; i < 10; i++) {
      wait(0.1)
      controller.reconsider(presentOf(edge, 2))
    }
    expect(asked).toBe(1)
    const exploring = controlled({ bundle: bundleOf(problem), explore: randomStream(1, 'explore') })
    const drawn = exploring.controller.decide(askOf())
    exploring.controller.dispatched(askOf(), edge)
    expect(drawn.propensity).toBeLessThan(1)
    exploring.beat(5)
    expect(exploring.controller.reconsider(presentOf(edge, 2))).toBeNull()
  })
})

describe('exploring', () => {
  test('draws each plan as often as its propensity says', () => {
    const problem = problemOf('tiny', { earlyExit: false, boundaryBits: [16] })
    const explore = randomStream(3, 'explore')
    const { controller } = controlled({ bundle: bundleOf(problem), explore }, 'tiny')
    const seen: { plan: Plan; propensity: number; count: number }[] = []
    const draws = 20_000
    for (let i = 0; i < draws; i++) {
      const { plan, propensity } = controller.decide(askOf({ freeMemoryBytes: TERMS.memoryBytes }))
      const known = seen.find((other) => samePlan(other.plan, plan))
      if (known === undefined) seen.push({ plan, propensity, count: 1 })
      else {
        known.count++
        expect(known.propensity).toBeCloseTo(propensity, 12)
      }
    }
    const frequent = seen.filter(({ propensity }) => propensity > 0.005)
    expect(frequent.length).toBeGreaterThan(3)
    for (const { propensity, count } of frequent) {
      // Five standard deviations of a binomial share.
      const spread = Math.sqrt((propensity * (1 - propensity)) / draws)
      expect(Math.abs(count / draws - propensity)).toBeLessThan(5 * spread)
    }
    const total = seen.reduce((sum, { propensity }) => sum + propensity, 0)
    expect(total).toBeLessThanOrEqual(1 + 1e-9)
  })
})
