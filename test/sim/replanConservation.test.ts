import { describe, expect, it } from 'vitest'
import { createFast } from '../../src/sim/fast.ts'
import { createReference } from '../../src/sim/reference.ts'
import type { RequestOutcome, SimulationFactory } from '../../src/sim/types.ts'
import { outageCase, playOutages } from './outageWorlds.ts'

const factories: [string, SimulationFactory][] = [
  ['reference', createReference],
  ['fast', createFast],
]

const total = (outcomes: readonly RequestOutcome[], value: (outcome: RequestOutcome) => number) =>
  outcomes.reduce((sum, outcome) => sum + value(outcome), 0)

describe.each(factories)('%s simulator under outages', (_, create) => {
  it('loses no token, no request, no busy second and no byte that was sent', () => {
    let replans = 0
    for (let seed = 0; seed < 120; seed++) {
      const given = outageCase(seed)
      const { arrivals } = given.world
      const played = playOutages(create, given)
      const { moments, outcomes, compute, finished, transfers } = played
      replans += played.replans.length
      const { totals, now } = moments[moments.length - 1]
      expect(totals.finished).toBe(arrivals.length)
      expect(finished.map(({ request }) => request).sort((a, b) => a - b)).toEqual(arrivals.map((_, i) => i))
      for (const key of [
        'edgeBusySeconds',
        'cloudBusySeconds',
        'upBytes',
        'downBytes',
        'messages',
        'stallSeconds',
      ] as const) {
        expect(
          total(outcomes, (outcome) => outcome[key]),
          key,
        ).toBeCloseTo(totals[key], 7)
      }
      expect(compute[0].actualSeconds).toBeCloseTo(totals.edgeBusySeconds, 8)
      expect(compute[1].actualSeconds).toBeCloseTo(totals.cloudBusySeconds, 8)
      const since = (value: (outcome: RequestOutcome) => number) =>
        total(outcomes, (outcome) => value(outcome) - arrivals[outcome.request].arrivalSeconds)
      expect(since(({ lastTokenSeconds }) => lastTokenSeconds)).toBeCloseTo(totals.inSystemSeconds, 7)
      expect(since(({ firstTokenSeconds }) => firstTokenSeconds)).toBeCloseTo(
        totals.awaitingFirstTokenSeconds,
        7,
      )
      expect(since(({ dispatchSeconds }) => dispatchSeconds)).toBeCloseTo(totals.waitingSeconds, 7)
      // What arrived held the link for no longer than was counted, and nothing for longer than the run.
      for (const direction of ['up', 'down'] as const) {
        const own = transfers.filter((transfer) => transfer.direction === direction)
        const busy = own.reduce((sum, { startSeconds, sentSeconds }) => sum + sentSeconds - startSeconds, 0)
        const counted = direction === 'up' ? totals.upBusySeconds : totals.downBusySeconds
        expect(busy).toBeLessThanOrEqual(counted + 1e-9)
        expect(counted).toBeLessThanOrEqual(now + 1e-9)
      }
    }
    expect(replans).toBeGreaterThan(100)
  }, 30_000)

  it("weighs each plan's loss by its tokens", () => {
    for (let seed = 0; seed < 60; seed++) {
      const given = outageCase(seed)
      const { replans, outcomes } = playOutages(create, given)
      outcomes.forEach(({ accuracyLoss }, request) => {
        const { outputTokens } = given.world.arrivals[request]
        const own = replans.filter((replan) => replan.request === request)
        const starts = [0, ...own.map(({ deliveredTokens }) => deliveredTokens)]
        const losses = [given.programs[request], ...own.map(({ program }) => program)]
        const expected = losses.reduce((sum, program, i) => {
          const tokens = (starts[i + 1] ?? outputTokens) - starts[i]
          return sum + (tokens / outputTokens) * program.accuracyLoss
        }, 0)
        expect(accuracyLoss).toBeCloseTo(expected, 12)
      })
    }
  })

  it('never goes back, and asks only for requests in flight, in order, in an outage', () => {
    for (let seed = 0; seed < 60; seed++) {
      const given = outageCase(seed)
      const { link, outageSeconds } = given.world
      const { moments } = playOutages(create, given)
      moments.forEach(({ kind, decision, now, totals, inFlight, deliveredTokens }, index) => {
        const before = moments[index - 1]
        if (index > 0) {
          expect(now).toBeGreaterThanOrEqual(before.now)
          for (const key of Object.keys(totals) as (keyof typeof totals)[])
            expect(totals[key]).toBeGreaterThanOrEqual(before.totals[key])
        }
        if (kind !== 'replan') return
        expect(inFlight).toBeGreaterThan(0)
        expect(deliveredTokens).toBeLessThan(given.world.arrivals[decision].outputTokens)
        if (index > 0 && before.kind === 'replan' && before.now === now)
          expect(decision).toBeGreaterThan(before.decision)
        // At no moment of the last outageSeconds did the link carry data both ways.
        for (let i = 0; i <= 50; i++) {
          const at = Math.max(now - (outageSeconds ?? NaN) * (1 - 1e-9) * (i / 50), 0)
          const alive = link.bitsPerSecond('up', at) > 0 && link.bitsPerSecond('down', at) > 0
          expect(alive, `seed ${seed}: ${at} of ${now}`).toBe(false)
        }
      })
    }
  })
})
