import { describe, expect, it } from 'vitest'
import { checkEnv, checkVectorEnv } from '../../envs/check.ts'
import { VectorPartition, partition, type PartitionOptions } from '../../envs/partition.ts'
import { ENV_IDS, makeEnv } from '../../envs/registry.ts'
import type { RewardTerms } from '../../envs/rewards.ts'
import { maxChoices } from '../../src/policy/action/vectorEnv.ts'
import { randomStream, type RandomStream } from '../../src/core/random.ts'
import { planAccuracyLoss } from '../../src/plan/price/loss.ts'
import type { LatencyForm } from '../../src/plan/price/objective.ts'
import { pairUnits } from '../../src/plan/price/pair.ts'
import { runWorld } from '../../src/learn/evaluate/episode.ts'
import type { Scenario } from '../../src/sim/scenario/scenario.ts'
import { FORMS, randomProblem, randomWorld, sessionTerms, wholeEdgeBytes } from '../plan/randomProblem.ts'

const REWARD: RewardTerms = {
  form: 'shaped',
  v: 2,
  holding: 0,
  discountRate: 0,
  scales: { requests: 5, uplinkBytes: 1e6, cloudSeconds: 10 },
}

function options(
  seed: number,
  form: LatencyForm['form'] = 'qoe',
  reward: Partial<RewardTerms> = {},
): PartitionOptions {
  const budgets = { energyJoules: 1, accuracyLoss: 0.01, cloudSeconds: 0.01 }
  const problem = {
    ...randomProblem(randomStream(seed, 'partition'), { layers: 3, units: 2 }, form),
    budgets,
  }
  return {
    problem,
    terms: sessionTerms({ memoryBytes: 1.5 * wholeEdgeBytes(problem.pair, 100) }),
    reward: { ...REWARD, ...reward },
    count: 1,
    world: (episode) => randomWorld(randomStream(episode, 'partition world'), problem, 5),
  }
}

/** Chooses a random allowed action and steps; returns the features and masks it was shown. */
function act(env: VectorPartition, at: number, random: RandomStream): number[] {
  const shown: number[] = []
  const features = new Float32Array(env.action.rowFeatureSize)
  const mask = new Uint8Array(maxChoices(env.action))
  env.beginAction(at)
  for (let row = 0; row < env.action.headOf.length; row++) {
    let skip = random.integer(env.rowInput(at, row, features, mask))
    shown.push(...features, ...mask)
    let choice = 0
    while (mask[choice] === 0 || skip-- > 0) choice++
    env.choose(at, row, choice)
  }
  env.step(at)
  return shown
}

describe('edgewise/Partition-v0', () => {
  it('passes the vector checker: seeding, masks, independence, save and restore', () => {
    expect(checkVectorEnv(() => new VectorPartition({ ...options(1), count: 3 }), 43)).toEqual([])
    const pinned = options(2)
    const problem = { ...pinned.problem, edgeLayersFirst: 1, edgeLayersLast: 1 }
    expect(checkVectorEnv(() => new VectorPartition({ ...pinned, problem, count: 2 }), 22)).toEqual([])
  })

  it('passes the checker as a single environment, by its id', () => {
    const { count: _, ...one } = options(3)
    expect(checkEnv(() => partition(one))).toEqual([])
    expect(ENV_IDS).toContain('edgewise/Partition-v0')
    const env = makeEnv('edgewise/Partition-v0', one)
    const [observation] = env.reset({ seed: 4 })
    expect(env.observationSpace.contains(observation)).toBe(true)
    expect(() => makeEnv('Partition-v9' as 'edgewise/Partition-v0', one)).toThrow(/one of edgewise/)
  })

  it('is deterministic by its seed and differs by it', () => {
    const log = (seed: number): number[] => {
      const env = new VectorPartition(options(4))
      const random = randomStream(1, 'actions')
      env.reset(seed)
      return Array.from({ length: 20 }, () => {
        act(env, 0, random)
        return [env.performance[0], env.stability[0], env.tauSeconds[0], ...env.observations]
      }).flat()
    }
    expect(log(5)).toEqual(log(5))
    expect(log(6)).not.toEqual(log(5))
  })

  it.each([0, 1, 2, 3, 4, 7])('continues identically from a state saved after %i steps', (steps) => {
    const given = { ...options(5), count: 2 }
    const env = new VectorPartition(given)
    env.reset(9)
    const random = randomStream(2, 'actions')
    for (let step = 0; step < steps; step++) for (const at of [0, 1]) act(env, at, random)
    const saved = env.save()
    const other = new VectorPartition(given)
    other.restore(saved)
    expect(other.save()).toEqual(saved)
    const again = randomStream(3, 'actions')
    const twin = randomStream(3, 'actions')
    for (let step = 0; step < 12; step++) {
      for (const at of [0, 1]) {
        expect(act(other, at, twin)).toEqual(act(env, at, again))
      }
      expect(other.performance).toEqual(env.performance)
      expect(other.stability).toEqual(env.stability)
      expect(other.observations).toEqual(env.observations)
    }
    expect(other.save()).toEqual(env.save())
  })

  it('refuses a state of another environment', () => {
    const env = new VectorPartition(options(1))
    expect(() => env.beginAction(0)).toThrow(/reset\(\) first/)
    env.reset(1)
    const two = new VectorPartition({ ...options(1), count: 2 })
    expect(() => two.restore(env.save())).toThrow(/expected: 2 of/)
  })
})

interface Played {
  readonly performance: number
  readonly stability: number
  /** Sum of e^(-rate t) stability, t from the first decision. */
  readonly discounted: number
  readonly env: VectorPartition
  readonly firstDecisionSeconds: number
  readonly potential: number
}

/** One whole episode of random plans. */
function episode(given: PartitionOptions, seed: number, rate = 0): Played {
  const env = new VectorPartition(given)
  env.reset(seed)
  const session = env.episodeOf(0)
  const firstDecisionSeconds = session.simulation.now
  const { scales } = given.reward
  // At the first decision one request waits and all other queues are empty.
  const potential = 0.5 * (session.simulation.waiting() / scales.requests) ** 2
  const random = randomStream(seed, 'actions')
  let [performance, stability, discounted, elapsed] = [0, 0, 0, 0]
  do {
    act(env, 0, random)
    performance += env.performance[0]
    stability += env.stability[0]
    discounted += Math.exp(-rate * elapsed) * env.stability[0]
    elapsed += env.tauSeconds[0]
  } while (env.terminated[0] === 0)
  expect(session.simulation.now - firstDecisionSeconds).toBeCloseTo(elapsed, 9)
  return { performance, stability, discounted, env, firstDecisionSeconds, potential }
}

describe('rewards over an episode', () => {
  it.each(FORMS)('of performance add up to minus the cost of the run, %s latency', (form) => {
    for (let seed = 0; seed < 10; seed++) {
      const given = options(seed, form)
      const played = episode(given, seed)
      // The same plans again, outside the environment.
      const { problem, terms } = given
      const random = randomStream(seed, 'actions')
      const replay = new VectorPartition(given)
      replay.reset(seed)
      const session = replay.episodeOf(0)
      do act(replay, 0, random)
      while (replay.terminated[0] === 0)
      const plans = [...session.plans]
      let next = 0
      const policy = { name: 'replay', decide: () => plans[next++]! }
      const run = runWorld({ problem, terms } as Scenario, policy, session.world, 0)
      const before =
        problem.objective.weights.energy * problem.pair.power.idleWatts * played.firstDecisionSeconds
      const total = run.cost * run.requests.length
      // What an idle device takes before the first request is no consequence of any decision.
      expect(-played.performance).toBeCloseTo(total - before, 9)
      expect(total).toBeGreaterThan(0)
      const losses = plans.map((plan) =>
        planAccuracyLoss(problem.pair.accuracy, pairUnits(problem.pair), plan!),
      )
      run.requests.forEach(({ accuracyLoss }, request) => expect(accuracyLoss).toBe(losses[request]))
    }
  })

  it.each([0, 0.5, 5])(
    'of the shaped potential telescope to it at the start, at discount rate %d',
    (rate) => {
      for (let seed = 0; seed < 6; seed++) {
        const played = episode(options(seed, 'mean', { discountRate: rate }), seed, rate)
        expect(played.discounted).toBeCloseTo(played.potential, 9)
      }
    },
  )

  it('of dpp are those of the penalty times V', () => {
    const shaped = episode(options(7, 'mean'), 3)
    const dpp = episode(options(7, 'mean', { form: 'dpp' }), 3)
    expect(dpp.performance).toBeCloseTo(2 * shaped.performance, 9)
  })

  it('charge holding by the second and waiting request', () => {
    const free = episode(options(8, 'mean'), 3)
    const held = episode(options(8, 'mean', { holding: 3 }), 3)
    const env = new VectorPartition(options(8, 'mean'))
    env.reset(3)
    const session = env.episodeOf(0)
    const random = randomStream(3, 'actions')
    do act(env, 0, random)
    while (env.terminated[0] === 0)
    const waiting = session.simulation.totals.waitingSeconds
    expect(free.stability - held.stability).toBeCloseTo(3 * waiting, 9)
  })
})
