import type { Program, Stage, StageList } from '../plan/price/program.ts'
import { RESOURCE } from '../plan/price/program.ts'
import type { Direction, Link } from '../trace/types.ts'
import type { RequestOutcome } from './types.ts'

/** A request that was dispatched and has stages left; a re-plan makes another one of it. */
export interface SimRequest {
  readonly request: number
  readonly program: Program
  readonly outcome: RequestOutcome
  /** Number of the token that the prefill yields: 1, or after a re-plan the first one that was lacking. */
  readonly firstToken: number
  /** Another program has taken over: nothing follows from what is still in service. */
  abandoned: boolean
  /** Tokens launched so far that have stages left, in order. */
  runs: SimToken[]
  /** Tokens whose deliver stage is complete, by number. */
  readonly arrivedTokens: Set<number>
  deliveredTokens: number
  /** The cloud works on one stage of a request at a time. */
  cloudOccupied: boolean
}

/** One token under way: its list of stages and what is complete. */
export interface SimToken {
  readonly flight: SimRequest
  readonly token: number
  readonly list: StageList
  readonly complete: boolean[]
  readonly tasks: SimStage[]
}

/** One stage of one token. Times are NaN until they happen. */
export interface SimStage {
  readonly run: SimToken
  readonly index: number
  readonly stage: Stage
  /** Seconds of work by the profile (0 for a transfer). */
  readonly profiledSeconds: number
  readySeconds: number
  startSeconds: number
  /** Compute: the end. Transfer: the last byte has left. */
  sentSeconds: number
  endSeconds: number
}

export interface Completion {
  readonly timeSeconds: number
  readonly task: SimStage
  /** A transfer leaves the link (`sent`) before it is complete. */
  readonly phase: 'sent' | 'end'
}

/** Order of stages that compete: request, then token, then stage. */
function compareTasks(a: SimStage, b: SimStage): number {
  return a.run.flight.request - b.run.flight.request || a.run.token - b.run.token || a.index - b.index
}

export function completesBefore(a: Completion, b: Completion): boolean {
  if (a.timeSeconds !== b.timeSeconds) return a.timeSeconds < b.timeSeconds
  const order = compareTasks(a.task, b.task)
  return order !== 0 ? order < 0 : a.phase === 'sent' && b.phase === 'end'
}

/** A serialised direction of the link. */
export interface LinkDirection {
  readonly name: Direction
  readonly waiting: SimStage[]
  underWay: SimStage | null
  /** When the last message past the window was sent; the connection is warm at the start. */
  lastLargeSentSeconds: number
}

/** Takes the stage that became ready first out of a queue. */
export function takeFirst(queue: SimStage[]): SimStage {
  let best = 0
  for (let i = 1; i < queue.length; i++) {
    const difference = queue[i].readySeconds - queue[best].readySeconds
    if (difference < 0 || (difference === 0 && compareTasks(queue[i], queue[best]) < 0)) best = i
  }
  return queue.splice(best, 1)[0]
}

export function isCompute({ stage }: SimStage): boolean {
  return stage.resource === RESOURCE.edge || stage.resource === RESOURCE.cloud
}

/** Drops what belongs to a request from a queue. */
export function withdraw(queue: SimStage[], flight: SimRequest): void {
  const kept = queue.filter((task) => task.run.flight !== flight)
  queue.splice(0, queue.length, ...kept)
}

/** Whether a request has yet to use the network: in any cycle it may run, or in what is left of its prefill. */
export function needsNetwork({ program, runs, firstToken }: SimRequest): boolean {
  const { cycles, askShare } = program
  const lists = askShare > 0 ? cycles : cycles.slice(0, 1)
  if (lists.some((list) => list.stages.some(({ resource }) => resource !== RESOURCE.edge))) return true
  const prefill = runs.find(({ token }) => token === firstToken)
  if (prefill === undefined) return false
  return prefill.tasks.some(
    ({ index, stage }) => stage.resource !== RESOURCE.edge && !prefill.complete[index],
  )
}

/** Follows the link change by change; the simulator stops at each. */
export class OutageWatch {
  private readonly link: Link
  private readonly outageSeconds: number
  /** The next change not looked at. */
  private changeSeconds = 0
  /** NaN while the link carries data both ways. */
  private outSinceSeconds = NaN
  private detected = false

  constructor(link: Link, outageSeconds: number) {
    this.link = link
    this.outageSeconds = outageSeconds
  }

  /** Whether an outage is detected at this very moment; each only once. */
  detect(nowSeconds: number): boolean {
    while (this.changeSeconds <= nowSeconds) this.look()
    if (this.detected || !(nowSeconds >= this.outSinceSeconds + this.outageSeconds)) return false
    this.detected = true
    return true
  }

  /** When the link changes or an outage will be detected, whichever is sooner. */
  nextSeconds(): number {
    const detection = this.detected ? NaN : this.outSinceSeconds + this.outageSeconds
    return Number.isNaN(detection) ? this.changeSeconds : Math.min(this.changeSeconds, detection)
  }

  private look(): void {
    const { link, changeSeconds } = this
    const out =
      link.bitsPerSecond('up', changeSeconds) === 0 || link.bitsPerSecond('down', changeSeconds) === 0
    if (!out) {
      this.outSinceSeconds = NaN
      this.detected = false
    } else if (Number.isNaN(this.outSinceSeconds)) this.outSinceSeconds = changeSeconds
    this.changeSeconds = link.nextChangeSeconds(changeSeconds)
  }
}
