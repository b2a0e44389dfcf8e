import { curveIn } from '../plan/price/curves.ts'
import type { Program, StageList } from '../plan/price/program.ts'
import { RESOURCE } from '../plan/price/program.ts'
import { checkList, checkProgram } from './check.ts'
import { emptyOutcome } from './outcome.ts'
import type { RequestOutcome } from './types.ts'

/** What the fast simulator may do with a list besides taking it stage by stage. */
export const SHAPE = { general: 0, edgeOnly: 1, cloudStreaming: 2 } as const

/**
 * A stage list as flat arrays, one entry a stage; holds no state but spare runs. Planners make
 * lists anew for each request, so making one is cheap: integers lie in plain arrays.
 */
export interface FlatStageList {
  readonly count: number
  readonly resource: readonly number[]
  readonly seconds: Float64Array
  readonly curve: readonly (Float64Array | null)[]
  readonly bytes: Float64Array
  readonly express: readonly boolean[]
  /** Stages that must be complete before. */
  readonly waitsFor: readonly number[]
  /** Stages that wait for stage s: followers[followerStart[s] .. followerStart[s + 1]). */
  readonly followerStart: readonly number[]
  readonly followers: readonly number[]
  /** The cloud stage after s in the list (-1: none), and the first. */
  readonly nextCloud: readonly number[]
  readonly firstCloud: number
  readonly loop: number
  readonly deliver: number
  /** Stages that are not the edge's. */
  readonly networkStages: number
  readonly shape: number
  readonly edgeKnots: number
  readonly cloudKnots: number
  /** Runs of this list that ended: used again, so that a token allocates nothing. */
  readonly spare: SimToken[]
}

/** One token under way. */
export class SimToken {
  readonly list: FlatStageList
  flight: SimRequest
  token = 0
  context = 0
  /** Segment of the curves' knots in which the context lies; -1: at or before the first knot. */
  edgeSegment = -1
  cloudSegment = -1
  /** Stages not complete. */
  left = 0
  /** Predecessors of each stage that are not complete. */
  readonly waitsFor: number[]
  /** Cloud stages whose predecessors are complete but not those of earlier tokens or stages. */
  readonly held: boolean[]
  /** The request's next token with cloud stages. */
  nextCloudRun: SimToken | null = null

  constructor(list: FlatStageList, flight: SimRequest) {
    this.list = list
    this.flight = flight
    this.waitsFor = list.waitsFor.slice()
    this.held = list.waitsFor.map(() => false)
  }
}

/** A request that was dispatched and has stages left; a re-plan makes another one of it. */
export class SimRequest {
  request = 0
  outcome: RequestOutcome = emptyOutcome(-1)
  promptTokens = 0
  outputTokens = 0
  askShare = 0
  accuracyLoss = 0
  edgeKnots = new Float64Array(0)
  cloudKnots = new Float64Array(0)
  prefill: FlatStageList | null = null
  edgeCycle: FlatStageList | null = null
  askCycle: FlatStageList | null = null
  /** Number of the token that the prefill yields: 1, or after a re-plan the first one that was lacking. */
  firstToken = 1
  /** Another program has taken over: nothing follows from what is still in service, and nothing of it is used again. */
  abandoned = false
  /** Whether a cycle needs the network, and how many stages of the prefill still do. */
  networkCycles = false
  networkPrefill = 0
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
  cloudRun: SimToken | null = null
  cloudStage = -1
  lastCloudRun: SimToken | null = null
  cloudOccupied = false
}

/** Flat forms that are kept; when there are more, all are forgotten at once. */
const KNOWN_LISTS = 1024

/** The flat forms of one simulator's stage lists: each is checked and made once while it is in use. */
export class StageLists {
  private readonly flat = new Map<StageList, FlatStageList>()

  /** Puts a program into a flight; throws InputError on one that cannot run. */
  load(flight: SimRequest, program: Program): void {
    const { cycles, askShare } = program
    if (cycles.length < 1) checkProgram(program)
    flight.prefill = this.flatten('program.prefill', program.prefill, program)
    flight.edgeCycle = this.flatten('program.cycles[0]', cycles[0], program)
    const asks = cycles.length > 1 ? this.flatten('program.cycles[1]', cycles[1], program) : null
    flight.askCycle = askShare > 0 ? asks : null
    flight.askShare = askShare
    flight.accuracyLoss = program.accuracyLoss
    flight.networkPrefill = flight.prefill.networkStages
    flight.networkCycles = flight.edgeCycle.networkStages > 0 || (flight.askCycle?.networkStages ?? 0) > 0
    flight.edgeKnots = program.edgeKnots as Float64Array<ArrayBuffer>
    flight.cloudKnots = program.cloudKnots as Float64Array<ArrayBuffer>
  }

  private flatten(where: string, list: StageList, program: Program): FlatStageList {
    const known = this.flat.get(list)
    const edgeKnots = program.edgeKnots.length
    const cloudKnots = program.cloudKnots.length
    if (known !== undefined && known.edgeKnots === edgeKnots && known.cloudKnots === cloudKnots) return known
    checkList(where, list, edgeKnots, cloudKnots)
    const flat = makeFlat(list, edgeKnots, cloudKnots)
    if (this.flat.size >= KNOWN_LISTS) this.flat.clear()
    this.flat.set(list, flat)
    return flat
  }
}

function makeFlat(list: StageList, edgeKnots: number, cloudKnots: number): FlatStageList {
  const { stages, loop, deliver } = list
  const count = stages.length
  const resource: number[] = []
  const seconds = new Float64Array(count)
  const curve: (Float64Array | null)[] = []
  const bytes = new Float64Array(count)
  const express: boolean[] = []
  const nextCloud: number[] = []
  let firstCloud = -1
  let lastCloud = -1
  for (let s = 0; s < count; s++) {
    const stage = stages[s]
    resource.push(stage.resource)
    seconds[s] = stage.seconds
    curve.push(stage.curve)
    bytes[s] = stage.bytes
    express.push(stage.express)
    nextCloud.push(-1)
    if (stage.resource !== RESOURCE.cloud) continue
    if (lastCloud < 0) firstCloud = s
    else nextCloud[lastCloud] = s
    lastCloud = s
  }
  const { waitsFor, followerStart, followers } = followersOf(list)
  const shape = shapeOf(list)
  return {
    count,
    resource,
    seconds,
    curve,
    bytes,
    express,
    waitsFor,
    followerStart,
    followers,
    nextCloud,
    firstCloud,
    loop,
    deliver,
    networkStages: resource.filter((one) => one !== RESOURCE.edge).length,
    shape,
    edgeKnots,
    cloudKnots,
    spare: [],
  }
}

function followersOf({ stages }: StageList): Pick<FlatStageList, 'waitsFor' | 'followerStart' | 'followers'> {
  const count = stages.length
  const waitsFor: number[] = []
  const followerStart: number[] = [0]
  for (let s = 0; s < count; s++) followerStart.push(0)
  for (const { after } of stages) {
    waitsFor.push(after.length)
    for (const earlier of after) followerStart[earlier + 1]++
  }
  for (let s = 0; s < count; s++) followerStart[s + 1] += followerStart[s]
  const followers: number[] = []
  for (let i = 0; i < followerStart[count]; i++) followers.push(0)
  // Filled from the back of each range.
  const left = followerStart.slice(1)
  for (let s = count - 1; s >= 0; s--) for (const earlier of stages[s].after) followers[--left[earlier]] = s
  return { waitsFor, followerStart, followers }
}

function shapeOf({ stages, loop, deliver }: StageList): number {
  if (stages.length === 1 && stages[0].resource === RESOURCE.edge) return SHAPE.edgeOnly
  if (stages.length !== 2 || loop !== 0 || deliver !== 1) return SHAPE.general
  const [work, token] = stages
  const streams = token.resource === RESOURCE.down && token.express && token.after.length === 1
  return work.resource === RESOURCE.cloud && streams ? SHAPE.cloudStreaming : SHAPE.general
}

/** Profiled seconds of a compute stage of a token. */
export function profiledSeconds(run: SimToken, stage: number): number {
  const { list } = run
  const curve = list.curve[stage]
  const seconds = list.seconds[stage]
  if (curve === null) return seconds
  return list.resource[stage] === RESOURCE.edge
    ? seconds + curveIn(run.flight.edgeKnots, curve, run.edgeSegment, run.context)
    : seconds + curveIn(run.flight.cloudKnots, curve, run.cloudSegment, run.context)
}

/** Whether stage (a, s) goes before (b, t) at equal times: request, then token, then stage. */
export function comesBefore(a: SimToken, s: number, b: SimToken, t: number): boolean {
  if (a.flight !== b.flight) return a.flight.request < b.flight.request
  return a.token !== b.token ? a.token < b.token : s < t
}
