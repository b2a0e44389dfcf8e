import type { Program, StageList } from '../plan/program.ts'
import { RESOURCE } from '../plan/program.ts'
import { checkList } from './check.ts'
import { emptyOutcome } from './outcome.ts'
import type { Outcome } from './types.ts'

/** What the fast simulator may do with a list besides walking it stage by stage. */
export const SHAPE = { general: 0, edgeOnly: 1, cloudStreaming: 2 } as const

/** Places of what is in service: the edge, both directions of the link, then the cloud's stages, close together. */
export const EDGE_PLACE = 0
export const UP_PLACE = 1
export const DOWN_PLACE = 2
export const CLOUD_PLACE = 3
export const WIRE_PLACE = -1

/** A stage list as flat arrays, one entry a stage. Shared by all simulations; holds no state but spare runs. */
export interface FlatList {
  readonly count: number
  readonly resource: Uint8Array
  readonly seconds: Float64Array
  readonly curve: readonly (Float64Array | null)[]
  readonly bytes: Float64Array
  readonly express: Uint8Array
  /** Stages that must be complete before. */
  readonly waitsFor: Uint16Array
  /** Stages that wait for stage s: followers[followerStart[s] .. followerStart[s + 1]). */
  readonly followerStart: Uint16Array
  readonly followers: Uint16Array
  /** The cloud stage after s in the list (-1: none), and the first. */
  readonly nextCloud: Int16Array
  readonly firstCloud: number
  readonly loop: number
  readonly deliver: number
  readonly shape: number
  readonly edgeKnots: number
  readonly cloudKnots: number
  /** Runs of this list that ended: used again, so that a token allocates nothing. */
  readonly spare: Run[]
}

/** One token under way. */
export class Run {
  readonly list: FlatList
  flight: Flight
  token = 0
  context = 0
  /** Segment of the curves' knots in which the context lies; -1: at or before the first knot. */
  edgeSegment = -1
  cloudSegment = -1
  /** Stages not complete. */
  left = 0
  readonly waitsFor: Uint16Array
  /** Cloud stages whose predecessors are complete but not those of earlier tokens or stages. */
  readonly held: Uint8Array
  /** The request's next token with cloud stages. */
  nextCloudRun: Run | null = null

  constructor(list: FlatList, flight: Flight) {
    this.list = list
    this.flight = flight
    this.waitsFor = new Uint16Array(list.count)
    this.held = new Uint8Array(list.count)
  }
}

/** A request that was dispatched and has stages left. */
export class Flight {
  request = 0
  outcome: Outcome = emptyOutcome(-1)
  promptTokens = 0
  outputTokens = 0
  askShare = 0
  edgeKnots = new Float64Array(0)
  cloudKnots = new Float64Array(0)
  prefill: FlatList | null = null
  edgeCycle: FlatList | null = null
  askCycle: FlatList | null = null
  launchedTokens = 0
  deliveredTokens = 0
  firstTokenSeconds = 0
  /** When the latest token was delivered. */
  deliveredSeconds = 0
  /** Tokens delivered before one of their predecessors: a flag each, and how many. */
  early = new Uint8Array(0)
  earlyTokens = 0
  liveRuns = 0
  edgeSegment = -1
  cloudSegment = -1
  /** The request's first cloud stage that is not complete, among launched tokens. */
  cloudRun: Run | null = null
  cloudStage = -1
  lastCloudRun: Run | null = null
  cloudOccupied = false
}

const flatLists = new WeakMap<StageList, FlatList>()

/** The flat form of one of a program's lists; checked and made once a list. */
export function flatten(where: string, list: StageList, program: Program): FlatList {
  const known = flatLists.get(list)
  const edgeKnots = program.edgeKnots.length
  const cloudKnots = program.cloudKnots.length
  if (known !== undefined && known.edgeKnots === edgeKnots && known.cloudKnots === cloudKnots) return known
  checkList(where, list, edgeKnots, cloudKnots)
  const flat = makeFlat(list, edgeKnots, cloudKnots)
  flatLists.set(list, flat)
  return flat
}

function makeFlat(list: StageList, edgeKnots: number, cloudKnots: number): FlatList {
  const { stages, loop, deliver } = list
  const count = stages.length
  const resource = new Uint8Array(count)
  const seconds = new Float64Array(count)
  const curve: (Float64Array | null)[] = []
  const bytes = new Float64Array(count)
  const express = new Uint8Array(count)
  const nextCloud = new Int16Array(count)
  let firstCloud = -1
  for (let s = count - 1; s >= 0; s--) {
    nextCloud[s] = firstCloud
    if (stages[s].resource === RESOURCE.cloud) firstCloud = s
  }
  for (let s = 0; s < count; s++) {
    const stage = stages[s]
    resource[s] = stage.resource
    seconds[s] = stage.seconds
    curve.push(stage.curve)
    bytes[s] = stage.bytes
    express[s] = stage.express ? 1 : 0
  }
  const shape = shapeOf(list)
  const fixed = {
    count,
    resource,
    seconds,
    curve,
    bytes,
    express,
    nextCloud,
    firstCloud,
    loop,
    deliver,
    shape,
  }
  return { ...fixed, ...followersOf(list), edgeKnots, cloudKnots, spare: [] }
}

function followersOf(list: StageList): Pick<FlatList, 'waitsFor' | 'followerStart' | 'followers'> {
  const { stages } = list
  const waitsFor = new Uint16Array(stages.length)
  const followerStart = new Uint16Array(stages.length + 1)
  for (let s = 0; s < stages.length; s++) {
    waitsFor[s] = stages[s].after.length
    for (const earlier of stages[s].after) followerStart[earlier + 1]++
  }
  for (let s = 0; s < stages.length; s++) followerStart[s + 1] += followerStart[s]
  const followers = new Uint16Array(followerStart[stages.length])
  const filled = followerStart.slice()
  for (let s = 0; s < stages.length; s++)
    for (const earlier of stages[s].after) followers[filled[earlier]++] = s
  return { waitsFor, followerStart, followers }
}

function shapeOf({ stages, loop, deliver }: StageList): number {
  if (stages.length === 1 && stages[0].resource === RESOURCE.edge) return SHAPE.edgeOnly
  if (stages.length !== 2 || loop !== 0 || deliver !== 1) return SHAPE.general
  const [work, token] = stages
  const streams = token.resource === RESOURCE.down && token.express && token.after.length === 1
  return work.resource === RESOURCE.cloud && streams ? SHAPE.cloudStreaming : SHAPE.general
}

/** The segment of `knots` that curveAt uses for `x`, found from an earlier (smaller) x's; -1: before the first knot. */
export function segmentAt(knots: Float64Array, from: number, x: number): number {
  const last = knots.length - 1
  if (last <= 0 || x <= knots[0]) return -1
  let segment = from < 0 ? 0 : from
  while (segment + 1 < last && knots[segment + 1] <= x) segment++
  return segment
}

/** curveAt with its segment known; the same operations in the same order. */
export function curveIn(knots: Float64Array, values: Float64Array, segment: number, x: number): number {
  if (segment < 0) return values[0]
  const low = values[segment]
  const slope = (values[segment + 1] - low) / (knots[segment + 1] - knots[segment])
  return low + slope * (x - knots[segment])
}

/** Profiled seconds of a compute stage of a token. */
export function profiledSeconds(run: Run, stage: number): number {
  const { list } = run
  const curve = list.curve[stage]
  const seconds = list.seconds[stage]
  if (curve === null) return seconds
  return list.resource[stage] === RESOURCE.edge
    ? seconds + curveIn(run.flight.edgeKnots, curve, run.edgeSegment, run.context)
    : seconds + curveIn(run.flight.cloudKnots, curve, run.cloudSegment, run.context)
}

/** Whether stage (a, s) goes before (b, t) at equal times: request, then token, then stage. */
export function comesBefore(a: Run, s: number, b: Run, t: number): boolean {
  if (a.flight !== b.flight) return a.flight.request < b.flight.request
  return a.token !== b.token ? a.token < b.token : s < t
}
