import { describe, expect, it } from 'vitest'
import { checkVectorEnv } from '../../envs/check.ts'
import { VectorPartition, type PartitionOptions } from '../../envs/partition.ts'
import { maxChoices } from '../../src/policy/action/vectorEnv.ts'
import { randomStream, type RandomStream } from '../../src/core/random.ts'
import { OBSERVATION_NAMES, OBSERVATION_SIZE } from '../../src/policy/observation/observation.ts'
import { FORMS, outageWorld, randomProblem, sessionTerms, wholeEdgeBytes } from '../plan/randomProblem.ts'

function options(seed: number, form: (typeof FORMS)[number] = 'qoe'): PartitionOptions {
  const problem = randomProblem(randomStream(seed, 'replan env'), { layers: 2, units: 2 }, form)
  return {
    problem,
    terms: sessionTerms({ memoryBytes: 1.5 * wholeEdgeBytes(problem.pair, 100) }),
    reward: {
      form: 'shaped',
      v: 2,
      holding: 0,
      discountRate: 0,
      scales: { requests: 5, uplinkBytes: 1e6, cloudSeconds: 10 },
    },
    count: 2,
    world: (episode) => outageWorld(randomStream(episode, 'replan world'), problem, 5),
  }
}

/** Steps with a random allowed action. */
function act(env: VectorPartition, at: number, random: RandomStream): void {
  const features = new Float32Array(env.action.rowFeatureSize)
  const mask = new Uint8Array(maxChoices(env.action))
  env.beginAction(at)
  for (let row = 0; row < env.action.headOf.length; row++) {
    let skip = random.integer(env.rowInput(at, row, features, mask))
    let choice = 0
    while (mask[choice] === 0 || skip-- > 0) choice++
    env.choose(at, row, choice)
  }
  env.step(at)
}

const replanningAt = OBSERVATION_NAMES.indexOf('replanning')
const deliveredAt = OBSERVATION_NAMES.indexOf('log1pDeliveredTokens')

describe('re-plans as steps of edgewise/Partition-v0', () => {
  it('pass the vector checker', () => {
    expect(checkVectorEnv(() => new VectorPartition({ ...options(1), count: 3 }), 43)).toEqual([])
  })

  it('are told apart by the observation, and their episode ends with all requests served', () => {
    let replans = 0
    for (let seed = 0; seed < 10; seed++) {
      const env = new VectorPartition({ ...options(seed), count: 1 })
      env.reset(seed)
      const session = env.episodeOf(0)
      const random = randomStream(seed, 'actions')
      do {
        const observed = env.observations.slice(0, OBSERVATION_SIZE)
        expect(observed[replanningAt]).toBe(session.kind === 'replan' ? 1 : 0)
        expect(observed[deliveredAt]).toBeCloseTo(Math.log1p(session.simulation.deliveredTokens()), 5)
        if (session.kind === 'dispatch') expect(observed[deliveredAt]).toBe(0)
        else replans++
        act(env, 0, random)
      } while (env.terminated[0] === 0)
      expect(session.simulation.totals.finished).toBe(session.world.arrivals.length)
    }
    expect(replans).toBeGreaterThan(5)
  })

  it.each(FORMS)('pay what their requests cost, %s latency', (form) => {
    let replans = 0
    for (let seed = 0; seed < 15; seed++) {
      const given = { ...options(seed, form), count: 1 }
      const env = new VectorPartition(given)
      env.reset(seed)
      const session = env.episodeOf(0)
      const { weights } = given.problem.objective
      const idle = (seconds: number): number => weights.energy * given.problem.pair.power.idleWatts * seconds
      const start = session.simulation.now
      const random = randomStream(seed, 'actions')
      let paid = 0
      do {
        act(env, 0, random)
        paid -= env.performance[0]
      } while (env.terminated[0] === 0)
      replans += session.replans
      const costs = session.world.arrivals.map((_, request) => session.result(request).cost)
      const total = costs.reduce((sum, cost) => sum + cost, 0) + idle(session.simulation.now - start)
      expect(paid / total, `seed ${seed}`).toBeCloseTo(1, 9)
    }
    expect(replans).toBeGreaterThan(5)
  })

  it('continue identically from a state saved at any step', () => {
    const given = options(5)
    let restoredInOutage = 0
    for (let steps = 0; steps < 14; steps++) {
      const env = new VectorPartition(given)
      env.reset(9)
      const random = randomStream(2, 'actions')
      for (let step = 0; step < steps; step++) for (const at of [0, 1]) act(env, at, random)
      const saved = env.save()
      const other = new VectorPartition(given)
      other.restore(saved)
      expect(other.save()).toEqual(saved)
      for (const at of [0, 1]) {
        expect(other.episodeOf(at).kind).toBe(env.episodeOf(at).kind)
        expect(other.episodeOf(at).replans).toBe(env.episodeOf(at).replans)
        if (env.episodeOf(at).kind === 'replan' || env.episodeOf(at).replans > 0) restoredInOutage++
      }
      const again = randomStream(3, 'actions')
      const twin = randomStream(3, 'actions')
      for (let step = 0; step < 8; step++) {
        for (const at of [0, 1]) {
          act(env, at, again)
          act(other, at, twin)
        }
        expect(other.performance).toEqual(env.performance)
        expect(other.observations).toEqual(env.observations)
      }
      expect(other.save()).toEqual(env.save())
    }
    expect(restoredInOutage).toBeGreaterThan(2)
  })
})
