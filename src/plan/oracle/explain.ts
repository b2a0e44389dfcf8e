import { compileProgram } from '../price/compile.ts'
import { joulesByCause, type JouleParts } from '../price/energy.ts'
import { latencySeconds } from '../price/network.ts'
import { latencyTerm } from '../price/objective.ts'
import type { OracleInput } from '../price/question.ts'
import type { Plan } from '../plan.ts'
import {
  RESOURCE,
  askedOfCloud,
  curveAt,
  type Program,
  type Stage,
  type StageList,
} from '../price/program.ts'

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
 * Explains a plan for one unloaded request on a constant, warm link: evaluates it like evaluateProgram, then traces
 * back from the delivered tokens along what each stage waited for (the critical path).
 */
export function explainPlan(input: Omit<OracleInput, 'options' | 'prices'>, plan: Plan): Explanation {
  const { pair, state } = input
  const { promptTokens, outputTokens } = state
  const program = compileProgram(pair, plan, { promptTokens, loadBytes: 0, decisionSeconds: 0 })
  const evaluation = new TracedEvaluation(program, input)
  const first = evaluation.list(program.prefill, -1, -1)
  const prefillUse = evaluation.takeUse()
  let loop = first.loop
  let last = first.deliver
  let stall = 0
  const ttft = evaluation.end[first.deliver]
  for (let token = 2; token <= outputTokens; token++) {
    const asked = askedOfCloud(program.askShare, token) ? program.cycles.length - 1 : 0
    const next = evaluation.list(program.cycles[asked], loop, promptTokens + token - 1)
    loop = next.loop
    if (evaluation.end[next.deliver] > evaluation.end[last]) last = next.deliver
    stall = Math.max(stall, evaluation.end[last] - ttft - (token - 1) / input.readingTokensPerSecond)
  }
  const decodeUse = evaluation.takeUse()
  const e2e = evaluation.end[last]
  const phase = (seconds: TimeParts, use: PhaseUse, lasts: number): Phase => ({
    seconds,
    use,
    joules: joulesByCause(pair.power, { ...use, edgeSeconds: use.edgeBusySeconds }, lasts),
  })
  const prefill = phase(evaluation.trace(first.deliver, 0), prefillUse, ttft)
  const decode = phase(evaluation.trace(last, ttft), decodeUse, e2e - ttft)
  const latency = latencyTerm(input.objective.latency, ttft, e2e, stall)
  return { prefill, decode, cost: costOf(input, prefill, decode, latency, program.accuracyLoss) }
}

function costOf(
  { objective: { weights } }: Pick<OracleInput, 'objective'>,
  prefill: Phase,
  decode: Phase,
  latencySeconds: number,
  accuracyLoss: number,
): CostParts {
  const joules = sumOf(prefill.joules) + sumOf(decode.joules)
  return {
    latency: weights.latency * latencySeconds,
    energy: weights.energy * joules,
    cloud: weights.cloud * (prefill.use.cloudBusySeconds + decode.use.cloudBusySeconds),
    bytes: (weights.bytes * (prefill.use.upBytes + decode.use.upBytes)) / 1e6,
    accuracy: weights.accuracy * accuracyLoss,
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

/**
 * Evaluates like evaluateProgram and records what every stage waited for. Events are stages in the order of evaluation.
 */
class TracedEvaluation {
  /** When each event is complete, and when it began. */
  readonly end: number[] = []
  private readonly begin: number[] = []
  /** When a transfer's last byte left; a compute stage's end. */
  private readonly left: number[] = []
  private readonly resource: number[] = []
  private readonly cause: number[] = []
  private readonly lastOn = [-1, -1, -1, -1]
  private use = emptyUse()
  private readonly program: Program
  private readonly input: Omit<OracleInput, 'options' | 'prices'>

  constructor(program: Program, input: Omit<OracleInput, 'options' | 'prices'>) {
    this.program = program
    this.input = input
  }

  /** Evaluates a list that starts when event `from` is complete; returns its loop and delivery events. */
  list(list: StageList, from: number, context: number): { loop: number; deliver: number } {
    const base = this.end.length
    for (const stage of list.stages) {
      let cause = from
      for (const before of stage.after) {
        if (cause < 0 || this.end[base + before] > this.end[cause]) cause = base + before
      }
      this.stage(stage, cause, context)
    }
    return { loop: base + list.loop, deliver: base + list.deliver }
  }

  private stage(stage: Stage, readyCause: number, context: number): void {
    const { resource } = stage
    const ready = readyCause < 0 ? 0 : this.end[readyCause]
    const previous = stage.express ? -1 : this.lastOn[resource]
    const waits = previous >= 0 && this.left[previous] > ready
    const begin = waits ? this.left[previous] : ready
    const left = begin + this.occupies(stage, context)
    if (!stage.express) this.lastOn[resource] = this.end.length
    this.begin.push(begin)
    this.left.push(left)
    this.end.push(left + this.latency(stage))
    this.resource.push(resource)
    this.cause.push(waits ? previous : readyCause)
  }

  /** Seconds for which a stage occupies its resource; counts what it uses. */
  private occupies(stage: Stage, context: number): number {
    const { state } = this.input
    const { use } = this
    if (stage.resource === RESOURCE.up || stage.resource === RESOURCE.down) {
      const up = stage.resource === RESOURCE.up
      use[up ? 'upBytes' : 'downBytes'] += stage.bytes
      use.messages++
      return (8 * stage.bytes) / (up ? state.link.upBitsPerSecond : state.link.downBitsPerSecond)
    }
    const edge = stage.resource === RESOURCE.edge
    const knots = edge ? this.program.edgeKnots : this.program.cloudKnots
    const profiled = stage.seconds + (stage.curve === null ? 0 : curveAt(knots, stage.curve, context))
    const seconds = profiled * (edge ? state.edgeSlowdown : state.cloudSlowdown)
    use[edge ? 'edgeBusySeconds' : 'cloudBusySeconds'] += seconds
    return seconds
  }

  private latency(stage: Stage): number {
    if (stage.resource === RESOURCE.edge || stage.resource === RESOURCE.cloud) return 0
    const { state, pair } = this.input
    return latencySeconds(pair.network, stage.bytes, state.link.rttSeconds, false)
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

  /** What was used since the last call. */
  takeUse(): PhaseUse {
    const { use } = this
    this.use = emptyUse()
    return use
  }
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

function emptyUse(): Mutable<PhaseUse> {
  return { edgeBusySeconds: 0, cloudBusySeconds: 0, upBytes: 0, downBytes: 0, messages: 0 }
}

function emptyTimes(): Mutable<TimeParts> {
  return {
    edgeComputeSeconds: 0,
    cloudComputeSeconds: 0,
    uplinkSeconds: 0,
    downlinkSeconds: 0,
    roundTripSeconds: 0,
  }
}
