import { describe, expect, it } from 'vitest'
import { randomStream, type RandomStream } from '../../../src/core/random.ts'
import {
  OBSERVATION_NAMES,
  OBSERVATION_SIZE,
  encodeObservation,
} from '../../../src/policy/observation/observation.ts'
import {
  PlanDecoder,
  ROW_FEATURE_NAMES,
  ROW_FEATURE_SIZE,
  layerChoice,
  stayBias,
} from '../../../src/policy/action/planDecoder.ts'
import { compileProgram } from '../../../src/plan/price/compile.ts'
import { pairUnits } from '../../../src/plan/price/pair.ts'
import { EDGE } from '../../../src/plan/plan.ts'
import { optionsIn, type DecisionProblem } from '../../../src/plan/price/problem.ts'
import type { RateEstimate, Situation } from '../../../src/plan/price/situation.ts'
import { exitPlans } from '../../../src/plan/oracle/value.ts'
import { fitsEdge } from '../../../src/plan/price/memory.ts'
import { randomProblem, randomWalk, wholeEdgeBytes } from '../../plan/randomProblem.ts'

/** Anything a device may find itself in, extremes included. */
function anySituation(random: RandomStream, problem: DecisionProblem): Situation {
  const often = (usual: () => number, ...extremes: number[]): number =>
    random.uniform() < 0.7 ? usual() : extremes[random.integer(extremes.length)]
  const some = (scale: number) => (): number => scale * random.exponential(1)
  const rate = (): RateEstimate => ({
    shortBitsPerSecond: often(some(2e7), 0, 1e12),
    longBitsPerSecond: often(some(2e7), 0, 1e12),
    relativeSpread: often(some(1), 0, 1e6),
  })
  const { contextTokens } = problem.pair.model
  const promptTokens = 1 + random.integer(contextTokens - 100)
  const predictedOutputTokens = 1 + random.uniform() * (contextTokens - promptTokens - 1)
  const whole = wholeEdgeBytes(problem.pair, contextTokens)
  const memoryBytes = often(() => whole * 2 * random.uniform(), Infinity, 0)
  return {
    nowSeconds: some(100)(),
    replanning: random.uniform() < 0.3,
    deliveredTokens: random.integer(promptTokens),
    promptTokens,
    predictedOutputTokens,
    predictedOutputSd: often(some(50), 0),
    waitedSeconds: often(some(5), 0, 1e6),
    waitingRequests: 1 + random.integer(often(() => 5, 1000)),
    inFlight: random.integer(5),
    arrivalsPerSecond: often(some(1), 0, 1e3),
    edgeBacklogSeconds: often(some(5), 0, 1e6),
    cloudBacklogSeconds: often(some(5), 0, 1e6),
    edgeSecondsPerRequest: often(some(5), 0),
    uplinkQueuedBytes: often(some(1e6), 0, 1e12),
    up: rate(),
    down: rate(),
    rttSeconds: often(some(0.05), 0, 100),
    rttSpreadSeconds: often(some(0.05), 0, 100),
    sinceHeartbeatSeconds: often(some(1), 0, 1e6),
    sinceTransferSeconds: often(some(1), 0, 1e6),
    tenantsHeard: often(some(5), 0),
    tenantsAgeSeconds: often(some(5), 0, 600),
    edgeSlowdown: often(() => 1 + random.uniform(), 1e-3, 100),
    cloudSlowdown: often(() => 1 + random.uniform(), 1e-3, 100),
    cloudSlowdownAgeSeconds: often(some(5), 0, 600),
    recentEdgeSecondsPerToken: often(some(0.1), NaN, 0),
    recentCloudSecondsPerToken: often(some(0.1), NaN, 0),
    freeMemoryBytes: Number.isFinite(memoryBytes) ? memoryBytes * random.uniform() : Infinity,
    memoryBytes,
    residentBytes: often(some(1e6), 0),
    reservedTokens: Math.min(contextTokens, promptTokens + 50),
    virtual: { energy: often(some(1), 0, 1e6), accuracy: often(some(1), 0), money: often(some(1), 0) },
  }
}

const problems = (seed: number, shape = { layers: 4, units: 3 }): DecisionProblem =>
  randomProblem(randomStream(seed, 'walker'), shape, 'mean')

describe('the observation', () => {
  it('has one name an element, each once', () => {
    expect(OBSERVATION_NAMES).toHaveLength(OBSERVATION_SIZE)
    expect(new Set(OBSERVATION_NAMES).size).toBe(OBSERVATION_SIZE)
    expect(new Set(ROW_FEATURE_NAMES).size).toBe(ROW_FEATURE_SIZE)
  })

  it('is finite and complete in any situation', () => {
    const random = randomStream(1, 'observation')
    const out = new Float32Array(OBSERVATION_SIZE)
    for (let i = 0; i < 500; i++) {
      const problem = problems(i % 5)
      out.fill(NaN)
      const situation = anySituation(random, problem)
      encodeObservation(problem, situation, out)
      const bad = OBSERVATION_NAMES.filter((_, at) => !Number.isFinite(out[at]))
      expect(bad, JSON.stringify(situation)).toEqual([])
    }
  })
})

describe('the decoder of plans', () => {
  it('ends in a plan that fits and is allowed, whatever the situation and the choices', () => {
    const random = randomStream(2, 'walks')
    for (let i = 0; i < 400; i++) {
      const problem = problems(i % 7, { layers: 2 + (i % 4), units: 1 + (i % 3) })
      const situation = anySituation(random, problem)
      const plan = randomWalk(random, new PlanDecoder(problem), situation)
      expect(fitsEdge(problem.pair, plan, optionsIn(problem, situation))).toBe(true)
      expect(problem.boundaryBits).toContain(plan.boundaryBits)
      if (plan.exit !== null) {
        const { layer } = plan.exit
        expect(plan.ffn.every((mode, at) => mode === (at < layer ? 0 : 1))).toBe(true)
        expect(plan.unitsOnCloud.every((k, at) => k === (at < layer ? 0 : pairUnits(problem.pair)))).toBe(
          true,
        )
      }
      // A plan that compiles has the model's shape.
      const { promptTokens } = situation
      expect(() =>
        compileProgram(problem.pair, plan, { promptTokens, loadBytes: 0, decisionSeconds: 0 }),
      ).not.toThrow()
    }
  })

  it('offers exactly the choices from which a plan can be completed that fits', () => {
    const random = randomStream(3, 'masks')
    const features = new Float32Array(ROW_FEATURE_SIZE)
    for (let i = 0; i < 60; i++) {
      const problem = problems(i % 7, { layers: 2, units: 2 })
      const drawn = anySituation(random, problem)
      const whole = wholeEdgeBytes(problem.pair, drawn.reservedTokens)
      const situation = {
        ...drawn,
        replanning: false,
        sinceHeartbeatSeconds: 0,
        memoryBytes: whole,
        freeMemoryBytes: whole * random.uniform(),
      }
      const decoder = new PlanDecoder(problem)
      const mask = new Uint8Array(Math.max(decoder.choices.length, 9))
      decoder.begin(situation)
      decoder.input(0, features, mask)
      const wide = mask.slice(0, decoder.choices.length)
      for (let choice = 0; choice < wide.length; choice++) {
        const completions = everyCompletion(decoder, choice)
        const fits = completions.some((plan) => fitsEdge(problem.pair, plan, optionsIn(problem, situation)))
        expect(wide[choice], `wide choice ${choice}`).toBe(fits ? 1 : 0)
      }
    }
  })

  /** Plans of two layers from a wide choice, masks ignored. */
  function everyCompletion(decoder: PlanDecoder, wide: number) {
    const { exit } = decoder.choices[wide]
    const all = Array.from({ length: 9 }, (_, choice) => choice)
    const rows = [0, 1].map((layer) =>
      exit === null ? all : [layer < exit.layer ? layerChoice(0, 0) : layerChoice(2, 1)],
    )
    return rows[0].flatMap((first) =>
      rows[1].map((second) => {
        decoder.choose(0, wide)
        decoder.choose(1, first)
        decoder.choose(2, second)
        return decoder.plan()
      }),
    )
  }

  it('reaches every plan-wide choice and every choice of a layer', () => {
    const random = randomStream(4, 'reach')
    const problem = problems(1)
    const situation = { ...anySituation(random, problem), freeMemoryBytes: Infinity, memoryBytes: Infinity }
    const decoder = new PlanDecoder(problem)
    // Four widths, embedding and head on either side, and the exits.
    expect(decoder.choices.filter(({ exit }) => exit === null)).toHaveLength(16)
    expect(decoder.choices.length).toBeGreaterThan(16)
    const wide = new Set<string>()
    const layer = new Set<number>()
    for (let i = 0; i < 3000; i++) {
      const { unitsOnCloud, ffn, ...ends } = randomWalk(random, decoder, situation)
      wide.add(JSON.stringify(ends))
      if (ends.exit === null) unitsOnCloud.forEach((k, at) => layer.add(layerChoice(k, ffn[at])))
    }
    expect(wide.size).toBe(decoder.choices.length)
    expect(layer.size).toBe((decoder.units + 1) * 3)
  })

  it('begins nothing in an outage that needs the network, as long as the edge can do without', () => {
    const random = randomStream(6, 'outage')
    let cloud = 0
    let early = 0
    for (let i = 0; i < 300; i++) {
      const problem = problems(i % 7, { layers: 3, units: 2 })
      const drawn = anySituation(random, problem)
      const whole = wholeEdgeBytes(problem.pair, drawn.reservedTokens)
      const outage = { ...drawn, sinceHeartbeatSeconds: 10, memoryBytes: whole, freeMemoryBytes: whole }
      const plan = randomWalk(random, new PlanDecoder(problem), outage)
      const { layer, mode } = plan.exit ?? { layer: plan.ffn.length, mode: 'standalone' }
      expect(mode).toBe('standalone')
      expect([plan.embed, plan.head]).toEqual([EDGE, EDGE])
      expect([...plan.ffn.slice(0, layer), ...plan.unitsOnCloud.slice(0, layer)].every((k) => k === 0)).toBe(
        true,
      )
      // Without room for it, a standalone exit that fits is left; else waiting for the cloud is all there is.
      const short = { ...outage, freeMemoryBytes: (0.3 + 0.6 * random.uniform()) * whole }
      const exits = exitPlans(problem.pair, optionsIn(problem, short))
      const leaves =
        problem.earlyExit &&
        exits.some(
          (exit) =>
            exit.exit?.mode === 'standalone' && fitsEdge(problem.pair, exit, optionsIn(problem, short)),
        )
      const left = randomWalk(random, new PlanDecoder(problem), short)
      if (leaves) expect(left.exit?.mode).toBe('standalone')
      if (leaves) early++
      else if (left.exit === null && left.ffn.some((ffn) => ffn === 1)) cloud++
    }
    expect(cloud).toBeGreaterThan(20)
    expect(early).toBeGreaterThan(20)
  })

  it('has finite row features at every row, and starts on the side of the embedding', () => {
    const random = randomStream(5, 'features')
    const features = new Float32Array(ROW_FEATURE_SIZE)
    for (let i = 0; i < 200; i++) {
      const problem = problems(i % 5)
      const decoder = new PlanDecoder(problem)
      const mask = new Uint8Array(Math.max(decoder.choices.length, (decoder.units + 1) * 3))
      decoder.begin(anySituation(random, problem))
      for (let row = 0; row < decoder.rows; row++) {
        let skip = random.integer(decoder.input(row, features, mask))
        expect([...features].every(Number.isFinite), `row ${row}: ${features.join()}`).toBe(true)
        if (row === 1) expect(features[0]).toBe(decoder.plan().embed === EDGE ? 1 : 0)
        if (row > 0) expect(features[0] + features[1]).toBe(1)
        let choice = 0
        while (mask[choice] === 0 || skip-- > 0) choice++
        decoder.choose(row, choice)
      }
    }
  })

  it('starts a policy that stays on the residual side: about 0.3 moves a plan', () => {
    const [units, layers] = [4, 10]
    const bias = stayBias(units, layers)
    const size = (units + 1) * 3
    for (const side of [0, 1]) {
      const logits = bias.subarray(side * size, (side + 1) * size)
      const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0)
      const stay = side === 0 ? layerChoice(0, 0) : layerChoice(units, 1)
      expect(logits.indexOf(Math.max(...logits))).toBe(stay)
      expect(layers * (1 - Math.exp(logits[stay]) / total)).toBeGreaterThan(0.2)
      expect(layers * (1 - Math.exp(logits[stay]) / total)).toBeLessThan(0.3)
    }
    expect(bias.subarray(2 * size).every((value) => value === 0)).toBe(true)
  })
})
