import fc from 'fast-check'
import { expect, test } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import { OBSERVATION_SIZE, encodeObservation } from '../../../src/policy/observation/observation.ts'
import type { Situation } from '../../../src/plan/price/situation.ts'
import type { ControllerDecision } from '../../../src/policy/controller/planControllerTypes.ts'
import { numbersOf, problemOf } from '../bundleSupport.ts'
import { askOf, bundleOf, controlled } from './planControllerSupport.ts'

const problem = problemOf('tiny')
const numbers = numbersOf(problem, 4, 0.3)

const hostile = fc.oneof(
  { weight: 6, arbitrary: fc.double({ min: 0, max: 100, noNaN: true }) },
  { weight: 1, arbitrary: fc.constantFrom(NaN, Infinity, -Infinity, -1, 0, 1e300, -1e300, 5e-324) },
)
const request = fc.integer({ min: 1, max: 4 })
const tokens = fc.oneof(fc.integer({ min: 0, max: 600 }), hostile)

/** One event or question, in any order, on a clock that jumps and even goes back. */
const step = fc.oneof(
  fc.record({ kind: fc.constant('clock' as const), by: fc.oneof(fc.double({ min: -5, max: 20, noNaN: true }), hostile) }), // prettier-ignore
  fc.record({ kind: fc.constant('arrived' as const), at: hostile }),
  fc.record({ kind: fc.constant('heartbeat' as const), at: hostile, rtt: hostile }),
  fc.record({ kind: fc.constant('transfer' as const), up: fc.boolean(), bytes: hostile, start: hostile, end: hostile }), // prettier-ignore
  fc.record({ kind: fc.constant('load' as const), tenants: hostile, at: hostile }),
  fc.record({ kind: fc.constant('busy' as const), request, position: tokens, rows: tokens, seconds: hostile }), // prettier-ignore
  fc.record({ kind: fc.constant('finished' as const), request, seconds: hostile, outputTokens: tokens, bytes: hostile }), // prettier-ignore
  fc.record({ kind: fc.constant('probe' as const), up: hostile, down: hostile, rtt: hostile }),
  fc.record({
    kind: fc.constantFrom('dispatch' as const, 'reconsider' as const),
    request,
    promptTokens: tokens,
    deliveredTokens: tokens,
    maxNewTokens: tokens,
    waiting: tokens,
    queued: hostile,
    free: hostile,
    linkDown: fc.boolean(),
    apply: fc.boolean(),
  }),
)
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

/** All that a situation says of a moment is a number, but for what was never seen. */
function expectFinite(situation: Situation): void {
  const unseen = ['recentEdgeSecondsPerToken', 'recentCloudSecondsPerToken']
  const walk = (value: unknown, path: string): void => {
    if (typeof value === 'number' && !unseen.includes(path)) {
      if (!Number.isFinite(value)) throw new Error(`${path} is ${value}`)
    } else if (typeof value === 'object' && value !== null) {
      for (const [name, part] of Object.entries(value)) walk(part, name)
    }
  }
  walk(situation, '')
}

function expectSound(decision: ControllerDecision | null): void {
  if (decision === null || decision.situation === null) return
  expectFinite(decision.situation)
  expect(decision.observation).toHaveLength(OBSERVATION_SIZE)
  const observation = new Float32Array(OBSERVATION_SIZE)
  encodeObservation(problem, decision.situation, observation)
  expect(Array.from(observation).every(Number.isFinite)).toBe(true)
  expect(decision.propensity).toBeGreaterThan(0)
  expect(decision.propensity).toBeLessThanOrEqual(1)
  expect(decision.decideSeconds).toBeGreaterThanOrEqual(0)
}

function play(steps: readonly Step[], explore: boolean): void {
  const stream = explore ? randomStream(1, 'explore') : null
  const { controller, clock, edge } = controlled({
    bundle: bundleOf(problem, undefined, numbers),
    explore: stream,
  })
  const plans = new Map([1, 2, 3, 4].map((id) => [id, edge]))
  for (const each of steps) {
    if (each.kind === 'clock') clock.seconds += each.by
    else if (each.kind === 'arrived') controller.arrived(1000 + each.at)
    else if (each.kind === 'heartbeat') controller.heartbeat(1000 + each.at, each.rtt)
    else if (each.kind === 'load') controller.load(each.tenants, 1000 + each.at)
    else if (each.kind === 'busy') controller.edgeBusy(each.request, each)
    else if (each.kind === 'transfer') {
      controller.transfer(each.up ? 'up' : 'down', each.bytes, 1000 + each.start, 1000 + each.end)
    } else if (each.kind === 'probe') {
      controller.probe({ upBitsPerSecond: each.up, downBitsPerSecond: each.down, rttSeconds: each.rtt })
    } else if (each.kind === 'finished') {
      const { seconds, outputTokens, bytes } = each
      controller.finished(each.request, {
        seconds,
        outputTokens,
        upBytes: bytes,
      })
    } else {
      const { request: id, promptTokens, deliveredTokens, maxNewTokens, linkDown } = each
      const ask = askOf({
        request: id,
        promptTokens,
        deliveredTokens,
        maxNewTokens,
        uplinkQueuedBytes: each.queued,
        waitingRequests: each.waiting,
        freeMemoryBytes: each.free,
      })
      const again = each.kind === 'reconsider'
      const decision = again
        ? controller.reconsider({ ...ask, plan: plans.get(id)! }, { linkDown })
        : controller.decide(ask, { linkDown })
      expectSound(decision)
      if (decision === null || !each.apply) continue
      plans.set(id, decision.plan)
      if (again) controller.replanned(ask, decision.plan)
      else controller.dispatched(ask, decision.plan)
    }
  }
  clock.seconds = 5000
  expectSound(controller.decide(askOf()))
}

test('a controller takes whatever the network and the clock do, in any order, and stays finite', () => {
  fc.assert(fc.property(fc.array(step, { maxLength: 40 }), fc.boolean(), play), { numRuns: 250 })
})
