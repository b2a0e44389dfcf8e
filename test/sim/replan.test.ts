import { describe, expect, it } from 'vitest'
import { createFast } from '../../src/sim/fast.ts'
import { createReference } from '../../src/sim/reference.ts'
import type { Program } from '../../src/plan/price/program.ts'
import type { Simulation, SimulationFactory, EpisodeInputs } from '../../src/sim/types.ts'
import { constantLink, createLink } from '../../src/trace/link.ts'
import type { Link } from '../../src/trace/types.ts'
import { plainWorld } from './plainWorld.ts'
import { CLOUD, DOWN, EDGE, list, program, stage, UP } from './worlds.ts'

const RATE = 8e6

/** 1 MB/s both ways but for the intervals given, 100 ms RTT; starts again at `endSeconds`. */
function linkWith(outages: readonly (readonly [number, number])[], endSeconds = 1000): Link {
  const edges = [...new Set([0, ...outages.flat(), endSeconds])].sort((a, b) => a - b)
  const rates = edges
    .slice(0, -1)
    .map((from) => (outages.some(([start, end]) => from >= start && from < end) ? 0 : RATE))
  return createLink({
    timeSeconds: Float64Array.from(edges),
    upBitsPerSecond: Float64Array.from(rates),
    downBitsPerSecond: Float64Array.from(rates),
    rttSeconds: new Float64Array(rates.length).fill(0.1),
    label: 'by hand',
  })
}

/** Arrivals as [seconds, prompt tokens, output tokens]. */
function worldOf(
  link: Link,
  arrivals: [number, number, number][],
  changes: Partial<EpisodeInputs> = {},
): EpisodeInputs {
  return plainWorld(link, arrivals, { maxInFlight: 3, outageSeconds: 3, ...changes })
}

const edge = (seconds: number, ...after: number[]) => stage(EDGE, after, { seconds })
const cloud = (seconds: number, ...after: number[]) => stage(CLOUD, after, { seconds })
const up = (bytes: number, ...after: number[]) => stage(UP, after, { bytes })
const token = (...after: number[]) => stage(DOWN, after, { bytes: 1000, express: true })

/** A second a token on the edge, after a prefill of two. */
const onEdge: Program = { ...program(list([edge(2)]), [list([edge(1)])]), accuracyLoss: 0.4 }
/** Ids up at once; a second a token in the cloud, streamed down: 1 ms and half an RTT. */
const inCloud: Program = {
  ...program(list([cloud(1), token(0)], 0, 1), [list([cloud(1), token(0)], 0, 1)]),
  accuracyLoss: 0.1,
}

/** Decisions as [kind, request, seconds, delivered tokens]. */
type Log = [string, number, number, number][]

/** Dispatches `first` (one a request, or one for all); a re-plan gets the next of `next`, null or none: keep. */
function play(simulation: Simulation, first: Program | Program[], next: (Program | null)[]): Log {
  const log: Log = []
  const answers = [...next]
  for (;;) {
    const request = simulation.advance()
    if (request < 0) return log
    expect(simulation.advance()).toBe(request)
    log.push([simulation.decision, request, simulation.now, simulation.deliveredTokens()])
    if (simulation.decision === 'dispatch') {
      simulation.dispatch(Array.isArray(first) ? first[request] : first)
      continue
    }
    const answer = answers.shift() ?? null
    if (answer === null) simulation.keep()
    else simulation.dispatch(answer)
  }
}

const replansOf = (log: Log) => log.filter(([kind]) => kind === 'replan')

const factories: [string, SimulationFactory][] = [
  ['reference', createReference],
  ['fast', createFast],
]

describe.each(factories)('re-planning in the %s simulator, worked out by hand', (_, create) => {
  it('moves a stream from the cloud to the edge, token by token as if one request', () => {
    const simulation = create(worldOf(linkWith([[2.5, 60]]), [[0, 10, 6]]))
    const log = play(simulation, inCloud, [onEdge])
    // Tokens 1 and 2 arrive at 1.051 and 2.051. Detected at 5.5, as tokens 3 to 5 hang on the link and 6 is being made.
    expect(log).toEqual([['dispatch', 0, 0, 0], ['replan', 0, 5.5, 2]]) // prettier-ignore
    const outcome = simulation.outcomes[0]
    expect(outcome.dispatchSeconds).toBe(0)
    expect(outcome.firstTokenSeconds).toBeCloseTo(1.051, 12)
    // Prefill until 7.5 yields token 3, then 4 to 6 a second each.
    expect(outcome.lastTokenSeconds).toBeCloseTo(10.5, 12)
    // Token 3 is due 2 x 0.5 s after the first, and no later token is as late.
    expect(outcome.stallSeconds).toBeCloseTo(10.5 - (1.051 + 2.5), 12)
    expect(outcome.edgeBusySeconds).toBeCloseTo(5, 12)
    // Token 6 was under way in the cloud and ran to its end at 6.
    expect(outcome.cloudBusySeconds).toBeCloseTo(6, 12)
    // What hung on the link was never sent.
    expect([outcome.downBytes, outcome.messages]).toEqual([2000, 2])
    expect(outcome.accuracyLoss).toBeCloseTo((2 * 0.1 + 4 * 0.4) / 6, 12)
    expect(simulation.totals.inSystemSeconds).toBeCloseTo(10.5, 12)
    expect(simulation.totals.awaitingFirstTokenSeconds).toBeCloseTo(1.051, 12)
    expect(simulation.totals.finished).toBe(1)
  })

  it('decodes on at the context of the token', () => {
    // Tokens 4, 5, 6 have contexts 10 + 3, 10 + 4, 10 + 5: 0.1 s + 0.0125 s a token past 8.
    const curve = Float64Array.of(0.1, 0.2, 0.3, 0.7)
    const along = program(list([edge(2)]), [list([stage(EDGE, [], { curve })])])
    const simulation = create(worldOf(linkWith([[2.5, 60]]), [[0, 10, 6]]))
    play(simulation, inCloud, [along])
    expect(simulation.outcomes[0].lastTokenSeconds).toBeCloseTo(7.5 + 0.3 + 0.0125 * (5 + 6 + 7), 12)
  })

  it('goes on when kept: the link comes back and everything arrives', () => {
    const simulation = create(worldOf(linkWith([[2.5, 60]]), [[0, 10, 6]]))
    const log = play(simulation, inCloud, [null])
    expect(replansOf(log)).toEqual([['replan', 0, 5.5, 2]])
    // Messages that travel between others all end at 60.001.
    expect(simulation.outcomes[0].lastTokenSeconds).toBeCloseTo(60.051, 12)
    expect(simulation.outcomes[0].downBytes).toBe(6000)
    expect(simulation.outcomes[0].accuracyLoss).toBe(0.1)
  })

  it('breaks off an upload: the link held counts, its bytes do not, and the first token is the new program’s', () => {
    const uploads = program(list([up(2_000_000), edge(1, 0)]), [list([edge(1)])])
    const simulation = create(worldOf(linkWith([[1, 60]]), [[0.5, 10, 2]]))
    const log = play(simulation, uploads, [onEdge])
    expect(replansOf(log)).toEqual([['replan', 0, 4, 0]])
    const { totals, outcomes } = simulation
    expect(outcomes[0].firstTokenSeconds).toBeCloseTo(6, 12)
    expect(outcomes[0].lastTokenSeconds).toBeCloseTo(7, 12)
    expect([totals.upBytes, totals.messages, outcomes[0].upBytes]).toEqual([0, 0, 0])
    expect(totals.upBusySeconds).toBeCloseTo(3.5, 12)
    expect(totals.awaitingFirstTokenSeconds).toBeCloseTo(5.5, 12)
    expect(outcomes[0].accuracyLoss).toBeCloseTo(onEdge.accuracyLoss, 12)
    // Nothing is left to wait for: the run ends with the last token, not with the outage.
    expect(simulation.now).toBeCloseTo(7, 12)
  })

  it('frees the link at once for whoever is next, and counts what had been sent', () => {
    // Request 0's upload breaks off at 4. Request 1's was behind it, is kept, and starts then; it ends at 61.9 + 0.05.
    const uploads = program(list([up(2_000_000), edge(1, 0)]), [list([edge(1)])])
    const sends = program(list([up(10_000), cloud(0.1, 0), token(1)]), [list([edge(1)])])
    const world = worldOf(linkWith([[1, 60]]), [[0.5, 10, 1], [0.6, 10, 1]]) // prettier-ignore
    const simulation = create(world)
    const log = play(simulation, [uploads, sends], [onEdge, null])
    expect(replansOf(log)).toEqual([['replan', 0, 4, 0], ['replan', 1, 4, 0]]) // prettier-ignore
    const { outcomes, totals } = simulation
    expect(outcomes[0].lastTokenSeconds).toBeCloseTo(6, 12)
    expect(outcomes[1].lastTokenSeconds).toBeCloseTo(60.01 + 0.05 + 0.1 + 0.001 + 0.05, 12)
    expect(totals.upBusySeconds).toBeCloseTo(3.5 + 56.01, 12)
    expect(totals.upBytes).toBe(10_000)
  })

  it('counts a message that was sent but had not arrived, and drops it', () => {
    // 10 kB leave at 0.99 .. 1; half an RTT of 8 s: on its way until 5. Detected at 4.
    const slow = createLink({
      timeSeconds: Float64Array.of(0, 1, 60, 1000),
      upBitsPerSecond: Float64Array.of(RATE, 0, RATE),
      downBitsPerSecond: Float64Array.of(RATE, 0, RATE),
      rttSeconds: Float64Array.of(8, 8, 8),
      label: 'slow',
    })
    const sends = program(list([up(10_000), edge(1, 0)]), [list([edge(1)])])
    const simulation = create(worldOf(slow, [[0.99, 10, 1]]))
    expect(replansOf(play(simulation, sends, [onEdge]))).toEqual([['replan', 0, 4, 0]])
    expect(simulation.outcomes[0].lastTokenSeconds).toBeCloseTo(6, 12)
    expect(simulation.outcomes[0].edgeBusySeconds).toBeCloseTo(2, 12)
    expect([simulation.totals.upBytes, simulation.totals.messages]).toEqual([10_000, 1])
    expect(simulation.now).toBeCloseTo(6, 12)
  })

  it('leaves a cloud stage its slot until it ends, though nothing follows', () => {
    // One slot. Request 0's stage runs 0 .. 10; re-planned at 4. Request 1's waits for the slot until 10.
    const long = program(list([cloud(10), edge(5, 0)]), [list([edge(1)])])
    const short = program(list([edge(4.5), cloud(1, 0), edge(1, 1)]), [list([edge(1)])])
    const world = worldOf(linkWith([[1, 60]]), [[0, 10, 1], [0.5, 10, 1]], { cloudSlots: 1 }) // prettier-ignore
    const simulation = create(world)
    const log = play(simulation, [long, short], [onEdge, null])
    expect(replansOf(log).map(([, request]) => request)).toEqual([0, 1])
    // The edge is busy with request 1 until 5, then two seconds for request 0's new prefill.
    expect(simulation.outcomes[0].lastTokenSeconds).toBeCloseTo(7, 12)
    expect(simulation.outcomes[1].lastTokenSeconds).toBeCloseTo(12, 12)
    expect(simulation.outcomes[0].cloudBusySeconds).toBeCloseTo(10, 12)
    expect(simulation.outcomes[0].edgeBusySeconds).toBeCloseTo(2, 12)
    expect(simulation.totals.cloudBusySeconds).toBeCloseTo(11, 12)
    expect(simulation.totals.stageEvents).toBe(1 + 1 + 3)
  })

  it('lets an edge stage in service end before the new prefill, and drops those that wait', () => {
    const mixed = program(list([edge(6), up(1000, 0), edge(1), edge(1)], 1, 1), [list([edge(1)])])
    const simulation = create(worldOf(linkWith([[1, 60]]), [[0, 10, 1]]))
    play(simulation, mixed, [onEdge])
    expect(simulation.outcomes[0].lastTokenSeconds).toBeCloseTo(8, 12)
    expect(simulation.outcomes[0].edgeBusySeconds).toBeCloseTo(8, 12)
  })

  it('detects an outage that began with the episode, and each outage once', () => {
    const world = worldOf(linkWith([[0, 5], [10, 14], [20, 22]], 30), [[0, 10, 39]]) // prettier-ignore
    const log = play(create(world), inCloud, [])
    // The third is too short; after 30 s the link starts again, and its first outage follows upon a good part.
    expect(replansOf(log).map(([, , seconds]) => seconds)).toEqual([3, 13, 33])
  })

  it('takes an outage that goes on from the end of the link to its beginning as one', () => {
    const world = worldOf(linkWith([[0, 2], [8, 10]], 10), [[5, 10, 20]], { outageSeconds: 2.5 }) // prettier-ignore
    const log = play(create(world), inCloud, [])
    expect(replansOf(log).map(([, , seconds]) => seconds)).toEqual([10.5, 20.5])
  })

  it('takes one direction after the other as one outage, and an outage of exactly the time as none', () => {
    const rates = (...at: number[]) => Float64Array.from(at, (i) => i * RATE)
    const link = createLink({
      timeSeconds: Float64Array.of(0, 1, 3, 6, 20, 23, 100),
      upBitsPerSecond: rates(1, 0, 1, 1, 0, 1),
      downBitsPerSecond: rates(1, 1, 0, 1, 0, 1),
      rttSeconds: new Float64Array(6).fill(0.1),
      label: 'one by one',
    })
    const log = play(create(worldOf(link, [[0, 10, 40]])), inCloud, [])
    expect(replansOf(log).map(([, , seconds]) => seconds)).toEqual([4])
  })

  it('re-plans the same request in outage after outage', () => {
    const world = worldOf(linkWith([[2.5, 7], [12.5, 60]]), [[0, 10, 9]]) // prettier-ignore
    const simulation = create(world)
    const again: Program = { ...inCloud, accuracyLoss: 0.7 }
    const log = play(simulation, inCloud, [again, onEdge])
    // At 5.5 the cloud starts over with token 3 (the stage of the old token 6 beside it until 6: 1.5 times slower);
    // it ends at 7; then 8, ... : tokens 3 .. 8 are there 0.051 later. The link fails at 12.5, after token 8 has come.
    expect(replansOf(log)).toEqual([['replan', 0, 5.5, 2], ['replan', 0, 15.5, 8]]) // prettier-ignore
    const { outcomes } = simulation
    expect(outcomes[0].lastTokenSeconds).toBeCloseTo(17.5, 12)
    expect(outcomes[0].accuracyLoss).toBeCloseTo((2 * 0.1 + 6 * 0.7 + 0.4) / 9, 12)
  })

  it('offers only what is in flight and needs the network, before what waits', () => {
    const uploadLeft = program(list([edge(1), up(2_000_000, 0)], 0, 0), [list([edge(1)])])
    const uploadDone = program(list([edge(1), up(1_000, 0)], 0, 0), [list([edge(1)])])
    const world = worldOf(
      linkWith([[2.5, 60]]),
      [...[0, 0, 0, 0, 0, 1].map((at): [number, number, number] => [at, 1, 9]), [5.5, 1, 1]],
      { maxInFlight: 7 },
    )
    const simulation = create(world)
    const log = play(simulation, [uploadDone, uploadLeft, onEdge, onEdge, inCloud, inCloud, onEdge], [])
    // The first upload is there at 1.051; the second starts at 2 and hangs. Request 6 arrives at the very moment.
    const asked = log.slice(6).map(([kind, request, seconds]) => [kind, request, seconds])
    expect(asked).toEqual([
      ['replan', 1, 5.5],
      ['replan', 4, 5.5],
      ['replan', 5, 5.5],
      ['dispatch', 6, 5.5],
    ])
  })

  it('re-plans a collaborative exit: uploads and asks stop, tokens go on', () => {
    const local = list([edge(1), up(1000, 0)], 0, 0)
    const asked = list([edge(1), up(1000, 0), cloud(0.2, 1), token(2)])
    const asks = program(list([edge(1), up(1000, 0)], 0, 0), [local, asked], 0.5)
    const simulation = create(worldOf(linkWith([[1.5, 60]]), [[0, 10, 4]]))
    const log = play(simulation, asks, [onEdge])
    // Token 1 at 1, its upload there by 1.051; token 2 is asked at 2 and hangs on the link. From 4.5: token 2 at 6.5.
    expect(replansOf(log)).toEqual([['replan', 0, 4.5, 1]])
    expect(simulation.outcomes[0].lastTokenSeconds).toBeCloseTo(8.5, 12)
    expect(simulation.totals.upBytes).toBe(1000)
    expect(simulation.totals.cloudBusySeconds).toBe(0)
  })

  it('never asks where outages do not count, nor on a link that never fails', () => {
    const off = create(worldOf(linkWith([[2.5, 60]]), [[0, 10, 6]], { outageSeconds: null }))
    expect(replansOf(play(off, inCloud, []))).toEqual([])
    const steady = create(worldOf(constantLink(RATE, RATE, 0.1), [[0, 10, 6]]))
    expect(replansOf(play(steady, inCloud, []))).toEqual([])
    expect(steady.outcomes[0].lastTokenSeconds).toBeCloseTo(6.051, 12)
  })

  it('refuses to keep what waits', () => {
    const simulation = create(worldOf(linkWith([[2.5, 60]]), [[0, 10, 6]]))
    expect(() => simulation.keep()).toThrow(/Simulation.keep/)
    simulation.advance()
    expect(() => simulation.keep()).toThrow(/Simulation.keep/)
    simulation.dispatch(inCloud)
    expect(() => simulation.dispatch(inCloud)).toThrow(/Simulation.dispatch/)
  })
})
