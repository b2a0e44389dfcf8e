import { describe, expect, it } from 'vitest'
import { createFast } from '../../src/sim/fast.ts'
import { createReference } from '../../src/sim/reference.ts'
import type { Program } from '../../src/plan/price/program.ts'
import type { SimulationFactory, EpisodeInputs } from '../../src/sim/types.ts'
import type { LinkSeries } from '../../src/trace/types.ts'
import { createLink } from '../../src/trace/link.ts'
import { drive } from './episode.ts'
import { plainWorld } from './plainWorld.ts'
import { CLOUD, DOWN, EDGE, list, program, stage, UP } from './worlds.ts'

/** 1 MB/s both ways, 100 ms. */
const PLAIN: LinkSeries = {
  timeSeconds: Float64Array.of(0, 1),
  upBitsPerSecond: Float64Array.of(8e6),
  downBitsPerSecond: Float64Array.of(8e6),
  rttSeconds: Float64Array.of(0.1),
  label: 'plain',
}

/** Arrivals as [seconds, prompt tokens, output tokens]. */
function makeWorld(
  arrivals: [number, number, number][],
  changes: Partial<EpisodeInputs> = {},
): EpisodeInputs {
  return plainWorld(createLink(PLAIN), arrivals, changes)
}

const once = (...stages: Parameters<typeof list>[0]): Program => program(list(stages), [list(stages)])
const edge = (seconds: number, ...after: number[]) => stage(EDGE, after, { seconds })
const cloud = (seconds: number, ...after: number[]) => stage(CLOUD, after, { seconds })
const up = (bytes: number, ...after: number[]) => stage(UP, after, { bytes })
const down = (bytes: number, ...after: number[]) => stage(DOWN, after, { bytes })
const token = (...after: number[]) => stage(DOWN, after, { bytes: 100, express: true })

const factories: [string, SimulationFactory][] = [
  ['reference', createReference],
  ['fast', createFast],
]

describe.each(factories)('%s simulator, worked out by hand', (_, create) => {
  function run(world: EpisodeInputs, one: Program) {
    const programs = world.arrivals.map(() => one)
    const simulation = create(world)
    const moments = drive(simulation, { world, programs, label: '' })
    return { moments, outcomes: simulation.outcomes, totals: simulation.totals, end: simulation.now }
  }

  it('decodes on the edge along the curve', () => {
    // Context 11 and 12 on the knots 8 -> 0.1 s, 16 -> 0.2 s: 0.5 + 0.1375 and 0.5 + 0.15 s.
    const curve = Float64Array.of(0.1, 0.2, 0.3, 0.7)
    const one = program(list([edge(1)]), [list([stage(EDGE, [], { seconds: 0.5, curve })])])
    const { outcomes, totals, moments } = run(makeWorld([[2, 10, 3]]), one)
    expect(moments[0].now).toBe(2)
    expect(outcomes[0].firstTokenSeconds).toBeCloseTo(3, 12)
    expect(outcomes[0].lastTokenSeconds).toBeCloseTo(4.2875, 12)
    // Due at 3.5 and 4, there at 3.6375 and 4.2875.
    expect(outcomes[0].stallSeconds).toBeCloseTo(0.2875, 12)
    expect(totals.edgeBusySeconds).toBeCloseTo(2.2875, 12)
    expect(totals.inSystemSeconds).toBeCloseTo(2.2875, 12)
    expect(totals.awaitingFirstTokenSeconds).toBeCloseTo(1, 12)
    expect(totals.stageEvents).toBe(3)
  })

  it('keeps the second request waiting for the slot', () => {
    const { moments, totals } = run(makeWorld([[0, 1, 1], [1, 1, 1]]), once(edge(2))) // prettier-ignore
    expect(moments.map(({ decision, now }) => [decision, now])).toEqual([[0, 0], [1, 2], [-1, 4]]) // prettier-ignore
    expect(moments[1].waiting).toBe(1)
    expect(totals.waitingSeconds).toBe(1)
    expect(totals.inSystemSeconds).toBe(2 + 3)
  })

  it('serves the edge in order of readiness', () => {
    // Both arrive at 0; the edge does 0, then 1: first stages 1 s each, second stages follow in turn.
    const world = makeWorld([[0, 1, 1], [0, 1, 1]], { maxInFlight: 2 }) // prettier-ignore
    const { outcomes } = run(world, once(edge(1), edge(1, 0)))
    expect(outcomes.map(({ lastTokenSeconds }) => lastTokenSeconds)).toEqual([3, 4])
  })

  it('sends large messages warm at first, cold after silence, and one at a time', () => {
    const world = makeWorld([[0, 1, 1], [40, 1, 1], [40.05, 1, 1]], { maxInFlight: 2 }) // prettier-ignore
    const { outcomes, totals } = run(world, once(up(100_000)))
    // 0.1 s each to send; then 1 RTT warm, 4 RTT cold; the third leaves after the second, at 40.2.
    expect(outcomes[0].lastTokenSeconds).toBeCloseTo(0.2, 12)
    expect(outcomes[1].lastTokenSeconds).toBeCloseTo(40.5, 12)
    expect(outcomes[2].lastTokenSeconds).toBeCloseTo(40.3, 12)
    expect(totals.upBusySeconds).toBeCloseTo(0.3, 12)
    expect([totals.upBytes, totals.downBytes, totals.messages]).toEqual([300_000, 0, 3])
  })

  it('waits through an outage', () => {
    const rates = {
      upBitsPerSecond: Float64Array.of(8e6, 0, 8e6),
      downBitsPerSecond: Float64Array.of(8e6, 0, 8e6),
    }
    const timeSeconds = Float64Array.of(0, 1, 3, 100)
    const series = { ...PLAIN, ...rates, timeSeconds, rttSeconds: Float64Array.of(0.1, 0.1, 0.1) }
    // 10 kB from 0.995 to 1 s: half; the rest from 3 to 3.005; half an RTT.
    const { outcomes, totals } = run(
      makeWorld([[0.995, 1, 1]], { link: createLink(series) }),
      once(up(10_000)),
    )
    expect(outcomes[0].lastTokenSeconds).toBeCloseTo(3.055, 12)
    expect(totals.upBusySeconds).toBeCloseTo(2.01, 12)
  })

  it('slows the cloud by its batch and by time sharing', () => {
    const tenants = { timeSeconds: Float64Array.of(0, 10, 20), value: Float64Array.of(0, 1, 2) }
    const arrivals = [0, 5, 5.5, 11, 21].map((at): [number, number, number] => [at, 1, 1])
    const { outcomes, totals } = run(makeWorld(arrivals, { tenants, maxInFlight: 2 }), once(cloud(1)))
    // Alone; alone; with one of ours (1.5); with a tenant (1.5); three on two slots (1.5 x 3 / 2).
    const ends = [1, 6, 7, 12.5, 23.25]
    expect(outcomes.map(({ lastTokenSeconds }) => lastTokenSeconds)).toEqual(ends)
    expect(totals.cloudBusySeconds).toBeCloseTo(7.25, 12)
  })

  it('streams tokens down beside the decoding', () => {
    const one = program(list([cloud(0.2), token(0)], 0, 1), [list([cloud(0.1), token(0)], 0, 1)])
    const { outcomes, totals } = run(makeWorld([[0, 1, 3]]), one)
    // Steps end at 0.2, 0.3, 0.4; a token takes 0.1 ms to send and 50 ms to travel.
    expect(outcomes[0].firstTokenSeconds).toBeCloseTo(0.2501, 12)
    expect(outcomes[0].lastTokenSeconds).toBeCloseTo(0.4501, 12)
    expect([totals.downBytes, totals.messages, totals.downBusySeconds]).toEqual([300, 3, 0])
  })

  it('uploads beside the loop, asks the cloud for every second token, and drains what is left', () => {
    const local = list([edge(0.1), up(1000, 0)], 0, 0)
    const asked = list([edge(0.1), up(1000, 0), cloud(0.2, 1), token(2)])
    const one = program(list([edge(1), up(200_000, 0)], 0, 0), [local, asked], 0.5)
    const { outcomes, totals, end } = run(makeWorld([[0, 1, 3]]), one)
    // Token 2 is asked: edge until 1.1, the prompt's upload holds the link until 1.2, sent 1.201, there 1.251,
    // cloud until 1.451, down 1.4511, there 1.5011. Token 3 leaves at 1.6011; its upload arrives 51 ms later.
    expect(outcomes[0].firstTokenSeconds).toBeCloseTo(1, 12)
    expect(outcomes[0].lastTokenSeconds).toBeCloseTo(1.6011, 12)
    expect(end).toBeCloseTo(1.6521, 12)
    expect([totals.upBytes, outcomes[0].upBytes, totals.messages]).toEqual([202_000, 202_000, 4])
    expect(totals.inSystemSeconds).toBeCloseTo(1.6011, 12)
  })

  it('works on both sides of a fork at once', () => {
    const fork = once(up(10_000), edge(0.05), cloud(0.1, 0), down(10_000, 2), edge(0.01, 1, 3))
    const { outcomes } = run(makeWorld([[0, 1, 1]]), fork)
    // Up 0.01 + 0.05, cloud 0.1, down 0.01 + 0.05, sum 0.01.
    expect(outcomes[0].lastTokenSeconds).toBeCloseTo(0.23, 12)
    expect(outcomes[0].edgeBusySeconds).toBeCloseTo(0.06, 12)
  })

  it('runs cloud stages of one request one at a time, in order', () => {
    // The second is ready at once, the first only after the edge's second of work.
    const one = once(edge(1), cloud(0.1, 0), cloud(0.2))
    const world = makeWorld([[0, 1, 1], [0.5, 1, 1]], { maxInFlight: 2 }) // prettier-ignore
    const { outcomes, moments } = run(world, one)
    // Request 0: cloud 1 .. 1.1 .. 1.3. Request 1: edge until 2, cloud 2 .. 2.1 .. 2.3.
    expect(outcomes[0].lastTokenSeconds).toBeCloseTo(1.3, 12)
    expect(outcomes[1].lastTokenSeconds).toBeCloseTo(2.3, 12)
    expect(moments[1].cloudQueuedSeconds).toBeCloseTo(0.2, 12)
  })

  it('delivers tokens in order', () => {
    const first = list([edge(0.1), down(1_000_000, 0)], 0, 1)
    const { outcomes } = run(makeWorld([[0, 1, 2]]), program(first, [list([edge(0.1), token(0)], 0, 1)]))
    // The first is there at 0.1 + 1 + 0.1; the second was there at 0.2501.
    expect(outcomes[0].firstTokenSeconds).toBeCloseTo(1.2, 12)
    expect(outcomes[0].lastTokenSeconds).toBeCloseTo(1.2, 12)
  })

  it('shows what is queued at a decision', () => {
    const world = makeWorld([[0, 1, 1], [0.05, 1, 1], [0.06, 1, 1]], { maxInFlight: 3 }) // prettier-ignore
    const { moments } = run(world, once(up(100_000), cloud(1, 0)))
    expect(moments.map(({ uplinkQueuedBytes }) => uplinkQueuedBytes)).toEqual([0, 100_000, 200_000, 0])
    const later = makeWorld([[0, 1, 1], [0.25, 1, 1]], { maxInFlight: 2 }) // prettier-ignore
    expect(run(later, once(cloud(1))).moments[1].cloudQueuedSeconds).toBeCloseTo(0.75, 12)
  })
})
