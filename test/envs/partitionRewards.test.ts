import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RewardMeter, paperWeight, type RewardTerms } from '../../envs/rewards.ts'
import type { Episode } from '../../src/sim/episode.ts'
import { emptyTotals } from '../../src/sim/outcome.ts'

const objective = {
  weights: { latency: 2, energy: 0.5, cloud: 3, bytes: 4, accuracy: 10 },
  latency: { form: 'mean' },
} as const

const power = { busyWatts: 11, idleWatts: 1, radioJoulesPerByte: 1e-6, radioJoulesPerMessage: 0.01 }

/** A session of which only what the meter reads is there. */
function fakeSession() {
  const state = {
    now: 0,
    totals: emptyTotals(),
    waiting: 0,
    uplink: 0,
    cloud: 0,
    virtual: { energy: 0, accuracy: 0, money: 0 },
  }
  const simulation = {
    get now() {
      return state.now
    },
    totals: state.totals,
    waiting: () => state.waiting,
    uplinkQueuedBytes: () => state.uplink,
    cloudQueuedSeconds: () => state.cloud,
  }
  const session = { simulation, observer: { virtualQueues: () => state.virtual } }
  return { state, session: session as unknown as Episode }
}

const terms = (form: RewardTerms['form']): RewardTerms => ({
  form,
  v: 3,
  holding: 0.5,
  discountRate: 0.1,
  scales: { requests: 2, uplinkBytes: 1000, cloudSeconds: 4 },
})

/** From one waiting request and 500 bytes to three, 2000 bytes, 2 cloud seconds and a virtual queue, in 4 seconds. */
function twoReads(form: RewardTerms['form']) {
  const { state, session } = fakeSession()
  const meter = new RewardMeter(terms(form), session, objective, power)
  Object.assign(state, { now: 1, waiting: 1, uplink: 500 })
  meter.read(false)
  Object.assign(state, { now: 5, waiting: 3, uplink: 2000, cloud: 2 })
  state.virtual = { energy: 0.6, accuracy: 0, money: 0 }
  Object.assign(state.totals, {
    inSystemSeconds: 8,
    waitingSeconds: 6,
    edgeBusySeconds: 2,
    cloudBusySeconds: 0.5,
    upBytes: 250_000,
    downBytes: 50_000,
    messages: 5,
  })
  meter.accrual.dispatched(0.02)
  return { meter, state, reward: meter.read(false) }
}

// 2 x 8 s + 0.5 x (4 x 1 W + 2 x 10 W + 0.3 J + 0.05 J) + 3 x 0.5 + 4 x 0.25 MB + 10 x 0.02
const COST = 16 + 0.5 * 24.35 + 1.5 + 1 + 0.2
// Queues in their units: 1/2, 1/2, 0 before; 3/2, 2, 1/2 and the virtual 0.6 after.
const BEFORE = (0.25 + 0.25) / 2
const AFTER = (2.25 + 4 + 0.25 + 0.36) / 2

describe('the rewards of one step, by hand', () => {
  it('paper: minus V(Q) times the drift', () => {
    const { reward } = twoReads('paper')
    expect(reward.performance).toBeCloseTo(-COST, 12)
    expect(paperWeight(3)).toBeCloseTo(0.1 + 9.9 * Math.exp(-0.06), 12)
    expect(reward.stability).toBeCloseTo(-paperWeight(3) * (AFTER - BEFORE), 12)
    expect(reward.tauSeconds).toBe(4)
  })

  it('dpp: V on the penalty, and the drift', () => {
    const { reward } = twoReads('dpp')
    expect(reward.performance).toBeCloseTo(-3 * COST, 12)
    expect(reward.stability).toBeCloseTo(-(AFTER - BEFORE), 12)
  })

  it('shaped: holding, and the discounted potential', () => {
    const { reward, meter, state } = twoReads('shaped')
    expect(reward.performance).toBeCloseTo(-COST, 12)
    expect(reward.stability).toBeCloseTo(-0.5 * 6 - (Math.exp(-0.4) * AFTER - BEFORE), 12)
    state.now = 6
    const last = meter.read(true)
    expect(last.stability).toBeCloseTo(AFTER, 12)
    // A second of an idle device.
    expect(last.performance).toBeCloseTo(-0.5, 12)
  })
})

/** Stability rewards along a path of queues that starts empty and ends as it began. */
function alongPath(form: RewardTerms['form'], discountRate: number, path: readonly QueueState[]): number {
  const { state, session } = fakeSession()
  const meter = new RewardMeter({ ...terms(form), holding: 0, discountRate }, session, objective, power)
  let sum = 0
  for (const { waiting, uplink, cloud, ...virtual } of [...path, EMPTY]) {
    Object.assign(state, { now: state.now + 1, waiting, uplink, cloud, virtual })
    sum += meter.read(false).stability
  }
  return sum
}

const EMPTY = { waiting: 0, uplink: 0, cloud: 0, energy: 0, accuracy: 0, money: 0 }
type QueueState = typeof EMPTY

const queue = (max: number) => fc.double({ min: 0, max, noNaN: true })
const queueState = fc.record({
  waiting: fc.nat(50),
  uplink: queue(1e5),
  cloud: queue(100),
  energy: queue(30),
  accuracy: queue(30),
  money: queue(30),
})

describe('no reward for a burst', () => {
  it.each(['dpp', 'shaped'] as const)('%s: no closed path of the queues has a positive sum', (form) => {
    fc.assert(
      fc.property(fc.array(queueState, { minLength: 1, maxLength: 12 }), (path) => {
        const scale = Math.max(
          1,
          ...path.map(({ uplink, cloud, waiting }) => uplink ** 2 + cloud ** 2 + waiting ** 2),
        )
        expect(alongPath(form, 0, path)).toBeLessThanOrEqual(1e-12 * scale)
      }),
    )
  })

  it('paper: has one as it was published, because its weight falls with the queue', () => {
    const burst = alongPath('paper', 0, [{ ...EMPTY, waiting: 10 }])
    // 10 requests are 5 units of this test's scale.
    expect(burst).toBeCloseTo(((paperWeight(0) - paperWeight(10)) * 25) / 2, 9)
  })
})
