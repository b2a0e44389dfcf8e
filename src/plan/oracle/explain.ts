import { joulesByCause, type JouleParts } from '../price/energy.ts'
import type { BusyUse, EvaluationRecorder, PlanCost } from '../price/evaluate.ts'
import { latencyTerm, type Objective } from '../price/objective.ts'
import type { Stage, StageList } from '../price/program.ts'
import type { OracleInput } from '../price/question.ts'
import type { Plan } from '../plan.ts'
import { planCost } from './value.ts'

/** Seconds that a token waited, by what it waited for. */
interface TimeParts {
  readonly edgeComputeSeconds: number
  readonly cloudComputeSeconds: number
  /** Bytes leaving the sender. */
  readonly uplinkSeconds: number
  readonly downlinkSeconds: number
  /** Latency of messages after their last byte left: parts of the RTT, and handling. */
  readonly roundTripSeconds: number
}

/** What one phase uses, whether or not a token waits for it. */
interface PhaseUse {
  readonly edgeBusySeconds: number
  readonly cloudBusySeconds: number
  readonly upBytes: number
  readonly downBytes: number
  readonly messages: number
}

/** The weighted terms of the objective. */
interface CostParts {
  readonly latency: number
  readonly energy: number
  readonly cloud: number
  readonly bytes: number
  readonly accuracy: number
}

/** One phase of a request: prefill or decode. */
export interface Phase {
  readonly seconds: TimeParts
  readonly use: PhaseUse
  readonly joules: JouleParts
}

/**
 * Where each second, joule and byte of one request goes. Prefill lasts until the first token is delivered, decode is
 * the rest. prefill.seconds sum to TTFT, both phases' seconds to the end-to-end time; joules, bytes and cost likewise
 * to the totals.
 */
export interface Explanation {
  readonly prefill: Phase
  readonly decode: Phase
  readonly cost: CostParts
}

/**
 * Explains a plan for one unloaded request on a constant, warm link: its cost (`planCost`), split by tracing back from
 * the delivered tokens along what each stage waited for (the critical path).
 */
export function explainPlan(input: Omit<OracleInput, 'options' | 'prices'>, plan: Plan): Explanation {
  const path = new CriticalPath()
  const total = planCost(input, plan, path)
  const { ttftSeconds, e2eSeconds } = total
  const [prefillUse, decodeUse] = path.uses(total)
  const phase = (seconds: TimeParts, use: BusyUse, lasts: number): Phase => {
    const { edgeSeconds, cloudSeconds, upBytes, downBytes, messages } = use
    return {
      seconds,
      use: {
        edgeBusySeconds: edgeSeconds,
        cloudBusySeconds: cloudSeconds,
        upBytes,
        downBytes,
        messages,
      },
      joules: joulesByCause(input.pair.power, use, lasts),
    }
  }
  const [first, last] = path.delivered()
  const prefill = phase(path.trace(first, 0), prefillUse, ttftSeconds)
  const decode = phase(path.trace(last, ttftSeconds), decodeUse, e2eSeconds - ttftSeconds)
  return { prefill, decode, cost: costOf(input.objective, total) }
}

function costOf({ weights, latency }: Objective, total: PlanCost): CostParts {
  const { ttftSeconds, e2eSeconds, stallSeconds } = total
  return {
    latency: weights.latency * latencyTerm(latency, ttftSeconds, e2eSeconds, stallSeconds),
    energy: weights.energy * total.edgeJoules,
    cloud: weights.cloud * total.cloudSeconds,
    bytes: (weights.bytes * total.upBytes) / 1e6,
    accuracy: weights.accuracy * total.accuracyLoss,
  }
}

/** Sum of a record's numbers. */
export function sumOf(parts: TimeParts | JouleParts | CostParts): number {
  let sum = 0
  for (const part of Object.values(parts) as number[]) sum += part
  return sum
}

/** Adds two records of numbers field by field. */
export function addParts<T extends TimeParts | JouleParts | PhaseUse>(a: T, b: T): T {
  const [own, other] = [a, b] as unknown as Record<string, number>[]
  return Object.fromEntries(Object.keys(own).map((name) => [name, own[name] + other[name]])) as unknown as T
}

type TimeName = keyof TimeParts
const COMPUTE: readonly TimeName[] = [
  'edgeComputeSeconds',
  'uplinkSeconds',
  'cloudComputeSeconds',
  'downlinkSeconds',
]

/** Records when each stage began and ended, and what it waited for. An event is one stage, in the order of evaluation. */
class CriticalPath implements EvaluationRecorder {
  private readonly begin: number[] = []
  /** When a transfer's last byte left; a compute stage's end. */
  private readonly left: number[] = []
  /** When each event is complete. */
  private readonly end: number[] = []
  private readonly resource: number[] = []
  private readonly cause: number[] = []
  private readonly lastOn = [-1, -1, -1, -1]
  /** The event with which each token is delivered. */
  private readonly deliveries: number[] = []
  /** First event of the current list, the event after which it began (-1: the request's start), and that of the next. */
  private base = 0
  private from = -1
  private loop = -1
  private prefillUse: BusyUse | null = null

  list(list: StageList, before: BusyUse): void {
    if (this.deliveries.length === 1) this.prefillUse = useBetween(before, NOTHING)
    this.base = this.end.length
    this.from = this.loop
    this.loop = this.base + list.loop
    this.deliveries.push(this.base + list.deliver)
  }

  stage(stage: Stage, ready: number, begin: number, left: number, end: number): void {
    const { resource } = stage
    this.cause.push(begin > ready ? this.lastOn[resource] : this.latest(stage.after))
    if (!stage.express) this.lastOn[resource] = this.end.length
    this.begin.push(begin)
    this.left.push(left)
    this.end.push(end)
    this.resource.push(resource)
  }

  /** The event that was complete last among those a stage waits for: earlier stages of its list, or the list's begin. */
  private latest(after: readonly number[]): number {
    let latest = this.from
    for (const before of after) {
      const event = this.base + before
      if (latest < 0 || this.end[event] > this.end[latest]) latest = event
    }
    return latest
  }

  /** The events with which the first token and the last one are delivered. */
  delivered(): readonly [first: number, last: number] {
    const [first] = this.deliveries
    let last = first
    for (const event of this.deliveries) if (this.end[event] > this.end[last]) last = event
    return [first, last]
  }

  /** What prefill and decode use of a request's total. */
  uses(total: BusyUse): readonly [prefill: BusyUse, decode: BusyUse] {
    const prefill = this.prefillUse ?? total
    return [prefill, useBetween(total, prefill)]
  }

  /** Splits the time from `since` until an event by cause, along the chain of events. */
  trace(event: number, since: number): TimeParts {
    const parts = emptyTimes()
    const add = (name: TimeName, from: number, to: number): void => {
      parts[name] += Math.max(0, to - Math.max(from, since))
    }
    let until = this.end[event]
    for (let at = event; at >= 0; at = this.cause[at]) {
      if (until > this.left[at]) add('roundTripSeconds', this.left[at], until)
      add(COMPUTE[this.resource[at]], this.begin[at], this.left[at])
      until = this.begin[at]
      if (until <= since) break
    }
    return parts
  }
}

const NOTHING: BusyUse = { edgeSeconds: 0, cloudSeconds: 0, upBytes: 0, downBytes: 0, messages: 0 }

function useBetween(all: BusyUse, before: BusyUse): BusyUse {
  return {
    edgeSeconds: all.edgeSeconds - before.edgeSeconds,
    cloudSeconds: all.cloudSeconds - before.cloudSeconds,
    upBytes: all.upBytes - before.upBytes,
    downBytes: all.downBytes - before.downBytes,
    messages: all.messages - before.messages,
  }
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

function emptyTimes(): Mutable<TimeParts> {
  return {
    edgeComputeSeconds: 0,
    cloudComputeSeconds: 0,
    uplinkSeconds: 0,
    downlinkSeconds: 0,
    roundTripSeconds: 0,
  }
}
