import { expect, test } from 'vitest'
import { watchService } from '../../src/cli/serve/watch.ts'
import type { ResolvedPlan } from '../../src/run/executor/messages.ts'
import type { RequestSnapshot } from '../../src/policy/controller/planControllerTypes.ts'
import { EDGE, uniformPlan } from '../../src/plan/plan.ts'
import type { ServiceEvent } from '../../src/serve/edge/types.ts'
import { recordIo } from './io.ts'

const placed: ResolvedPlan = { plan: uniformPlan(2, 2, EDGE), cloudUnits: [[], []] }
const snapshot: RequestSnapshot = {
  request: 1,
  promptTokens: 3,
  maxNewTokens: 9,
  deliveredTokens: 0,
  waitedSeconds: 0,
  waitingRequests: 1,
  inFlight: 0,
  uplinkQueuedBytes: 0,
  freeMemoryBytes: 1e9,
  memoryBytes: 1e9,
  residentBytes: 0,
}
const EVENTS: readonly ServiceEvent[] = [
  { kind: 'link-up', atSeconds: 0, attempts: 1, awaySeconds: 0.1 },
  { kind: 'request-queued', atSeconds: 1, request: 1, promptTokens: 3, maxNewTokens: 9 },
  {
    kind: 'decision',
    atSeconds: 1,
    request: 1,
    reason: 'dispatch',
    source: 'forced',
    placed,
    decideSeconds: 1e-5,
    propensity: 1,
    observation: null,
    fromToken: 0,
    rebuild: 'start',
    snapshot,
  },
  // Measurements are no transitions: neither lines nor counts.
  { kind: 'heartbeat', atSeconds: 1.5, rttSeconds: 0.02 },
  { kind: 'token', atSeconds: 2, request: 1, tokens: 7 },
  { kind: 'link-down', atSeconds: 3, reason: `the peer\nsaid much ${'x'.repeat(200)}` },
]

const watched = {
  link: () => ({ state: 'up', rttSeconds: 0.02 }),
  queue: () => ({ waiting: 0, inFlight: 1 }),
  units: 2,
}

test('on a pipe, a line for each transition and none for a token', () => {
  const io = recordIo()
  const show = watchService(io, watched)
  for (const event of EVENTS) show(event)
  expect(io.out().split('\n').slice(0, -1)).toEqual([
    'cloud connected',
    'request 1: dispatch: edge (forced, 10.0 us)',
    'cloud lost: the peer',
  ])
})

test('on a terminal, a panel that is redrawn in place and never wider than the screen', async () => {
  const io = recordIo({ isTerminal: true, columns: () => 40 })
  const show = watchService(io, watched)
  for (const event of EVENTS) show(event)
  await expect.poll(() => io.out()).toContain('request 1:     7 tokens on edge')
  await expect.poll(() => io.out()).toContain('\x1b[6A\x1b[J')
  for (const cleanup of io.cleanups) await cleanup()
  const lines = io
    .out()
    .replaceAll(/\x1b\[\d*[A-Z]/g, '')
    .split('\n')
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(40)
})

test('a panel says what was used of each budget, and nothing before anything was', async () => {
  const io = recordIo({ isTerminal: true, columns: () => 80 })
  let used: number | null = null
  watchService(io, {
    ...watched,
    budgetUses: () =>
      used === null
        ? null
        : {
            energyJoules: { used, budget: 5 },
            accuracyLoss: null,
            cloudSeconds: { used: 0.02, budget: 0.05 },
          },
  })
  await expect.poll(() => io.out()).toContain('in flight')
  expect(io.out()).not.toContain('budget')
  used = 6
  await expect.poll(() => io.out()).toContain('of budget (modelled): energy 120')
  for (const cleanup of io.cleanups) await cleanup()
})
