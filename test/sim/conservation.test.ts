import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Program, Stage, StageList } from '../../src/plan/price/program.ts'
import { curveAt } from '../../src/plan/price/curves.ts'
import { askedOfCloud } from '../../src/plan/price/program.ts'
import { createFast } from '../../src/sim/fast.ts'
import { createReference } from '../../src/sim/reference.ts'
import type { RequestOutcome, SimulationFactory } from '../../src/sim/types.ts'
import { play } from './episode.ts'
import type { Case } from './worlds.ts'
import { DOWN, EDGE, randomCase, UP } from './worlds.ts'

const factories: [string, SimulationFactory][] = [
  ['reference', createReference],
  ['fast', createFast],
]

/** All stages a request runs, with the context of each. */
function workOf(program: Program, promptTokens: number, outputTokens: number): [Stage, number][] {
  const work: [Stage, number][] = []
  for (let token = 1; token <= outputTokens; token++) {
    const kind = askedOfCloud(program.askShare, token) ? program.cycles.length - 1 : 0
    const list: StageList = token === 1 ? program.prefill : program.cycles[kind]
    for (const stage of list.stages) work.push([stage, promptTokens + token - 1])
  }
  return work
}

const isTransfer = ({ resource }: Stage) => resource === UP || resource === DOWN

/** What a case must add up to whatever the order of events. */
function expected({ world, programs }: Case) {
  const sums = { edgeBusySeconds: 0, upBytes: 0, downBytes: 0, messages: 0, stageEvents: 0 }
  world.arrivals.forEach(({ promptTokens, outputTokens }, request) => {
    const { edgeKnots } = programs[request]
    for (const [stage, context] of workOf(programs[request], promptTokens, outputTokens)) {
      sums.stageEvents++
      if (stage.resource === EDGE) {
        sums.edgeBusySeconds +=
          stage.seconds + (stage.curve === null ? 0 : curveAt(edgeKnots, stage.curve, context))
      }
      if (stage.resource === UP) sums.upBytes += stage.bytes
      if (stage.resource === DOWN) sums.downBytes += stage.bytes
      if (isTransfer(stage)) sums.messages++
    }
  })
  return sums
}

const total = (outcomes: readonly RequestOutcome[], value: (outcome: RequestOutcome) => number) =>
  outcomes.reduce((sum, outcome) => sum + value(outcome), 0)

describe.each(factories)('%s simulator', (_, create) => {
  it('loses no byte, no busy second, no stage and no request', () => {
    const conserved = fc.property(fc.integer({ min: 0, max: 2 ** 31 }), (seed) => {
      const given = randomCase(seed)
      const { moments, outcomes, transfers, compute } = play(create, given)
      const { arrivals } = given.world
      const sums = expected(given)
      const { totals, now } = moments[moments.length - 1]
      expect(totals.finished).toBe(arrivals.length)
      expect(totals.stageEvents).toBe(sums.stageEvents)
      for (const key of ['edgeBusySeconds', 'upBytes', 'downBytes', 'messages'] as const) {
        expect(totals[key]).toBeCloseTo(sums[key], 6)
        expect(total(outcomes, (outcome) => outcome[key])).toBeCloseTo(totals[key], 6)
      }
      expect(total(outcomes, ({ cloudBusySeconds }) => cloudBusySeconds)).toBeCloseTo(
        totals.cloudBusySeconds,
        8,
      )
      expect(total(outcomes, ({ stallSeconds }) => stallSeconds)).toBeCloseTo(totals.stallSeconds, 8)
      expect(compute[0].actualSeconds).toBeCloseTo(totals.edgeBusySeconds, 8)
      expect(compute[1].actualSeconds).toBeCloseTo(totals.cloudBusySeconds, 8)
      const since = (value: (outcome: RequestOutcome) => number) =>
        total(outcomes, (outcome) => value(outcome) - arrivals[outcome.request].arrivalSeconds)
      expect(since(({ lastTokenSeconds }) => lastTokenSeconds)).toBeCloseTo(totals.inSystemSeconds, 8)
      expect(since(({ firstTokenSeconds }) => firstTokenSeconds)).toBeCloseTo(
        totals.awaitingFirstTokenSeconds,
        8,
      )
      expect(since(({ dispatchSeconds }) => dispatchSeconds)).toBeCloseTo(totals.waitingSeconds, 8)
      for (const direction of ['up', 'down'] as const) {
        const own = transfers.filter((transfer) => transfer.direction === direction)
        const busy = own.reduce((sum, { startSeconds, sentSeconds }) => sum + sentSeconds - startSeconds, 0)
        const counted = direction === 'up' ? totals.upBusySeconds : totals.downBusySeconds
        expect(busy).toBeCloseTo(counted, 8)
        expect(counted).toBeLessThanOrEqual(now + 1e-9)
        const starts = [...own].sort((a, b) => a.sentSeconds - b.sentSeconds)
        // One at a time.
        for (let i = 1; i < starts.length; i++) {
          expect(starts[i].startSeconds).toBeGreaterThanOrEqual(starts[i - 1].sentSeconds - 1e-12)
        }
      }
      expect(totals.edgeBusySeconds).toBeLessThanOrEqual(now + 1e-9)
    })
    fc.assert(conserved, { numRuns: 60 })
  }, 30_000)

  it('never goes back: time and totals only grow, and never more are in flight than allowed', () => {
    for (let seed = 0; seed < 30; seed++) {
      const given = randomCase(seed)
      const { moments, outcomes } = play(create, given)
      for (const [index, { decision, now, totals, inFlight, waiting }] of moments.entries()) {
        if (decision >= 0) {
          expect(decision).toBe(index)
          expect(inFlight).toBeLessThan(given.world.maxInFlight)
          expect(waiting).toBeGreaterThan(0)
        }
        if (index === 0) continue
        expect(now).toBeGreaterThanOrEqual(moments[index - 1].now)
        for (const key of Object.keys(totals) as (keyof typeof totals)[]) {
          expect(totals[key]).toBeGreaterThanOrEqual(moments[index - 1].totals[key])
        }
      }
      for (const { request, dispatchSeconds, firstTokenSeconds, lastTokenSeconds } of outcomes) {
        expect(dispatchSeconds).toBeGreaterThanOrEqual(given.world.arrivals[request].arrivalSeconds)
        expect(firstTokenSeconds).toBeGreaterThanOrEqual(dispatchSeconds)
        expect(lastTokenSeconds).toBeGreaterThanOrEqual(firstTokenSeconds)
      }
    }
  })

  it('repeats itself bit for bit', () => {
    for (let seed = 0; seed < 10; seed++)
      expect(play(create, randomCase(seed))).toEqual(play(create, randomCase(seed)))
  })
})
