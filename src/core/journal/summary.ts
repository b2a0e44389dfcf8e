import { canonicalJson } from '../files.ts'
import { quantile } from '../quantile.ts'
import type { LogProblem } from './decisions.ts'
import type { DecisionRecord, LogRecord, OutcomeRecord } from './types.ts'

/** How many different plans are counted separately; decisions for further ones are summed. */
const MAX_PLANS = 1000

/** How often each name occurred. */
export type Counts = Readonly<Record<string, number>>

/** Order statistics floor(q n) of measured values; null if nothing was measured. */
export interface Quantiles {
  readonly count: number
  readonly p50: number
  readonly p95: number
  readonly p99: number
}

/** Summary of a decision log. */
export interface LogSummary {
  readonly starts: number
  /** First start, ISO 8601; lastStartedAt is the last. */
  readonly firstStartedAt: string | null
  readonly lastStartedAt: string | null
  readonly software: readonly string[]
  readonly models: readonly string[]
  /** Manifest hashes of the policy bundles; null stands for a start without a bundle. */
  readonly bundles: readonly (string | null)[]
  readonly records: Counts
  readonly requests: { readonly arrived: number; readonly ended: Counts; readonly withoutOutcome: number }
  readonly decisions: {
    readonly bySource: Counts
    readonly byReason: Counts
    readonly rebuilds: Counts
    /** Share of each plan among the decisions that selected one, the most frequent first. */
    readonly plans: readonly { readonly plan: unknown; readonly count: number; readonly share: number }[]
    /** Decisions for plans beyond the first MAX_PLANS different ones. */
    readonly otherPlans: number
    /** Decisions that kept the current plan. */
    readonly stayed: number
    readonly decideSeconds: Quantiles | null
  }
  readonly events: Counts
  readonly ttftSeconds: Quantiles | null
  readonly tpotSeconds: Quantiles | null
  readonly endToEndSeconds: Quantiles | null
  readonly queueSeconds: Quantiles | null
  readonly outputTokens: number
  readonly upBytes: number
  readonly downBytes: number
  /** Count of damaged lines by fault. */
  readonly problems: Counts
}

/** Summarises a log record by record. */
export class LogTally {
  private readonly starts: string[] = []
  private readonly software = new Set<string>()
  private readonly models = new Set<string>()
  private readonly bundles = new Set<string | null>()
  private readonly records = new Tally()
  private readonly ended = new Tally()
  private readonly open = new Set<number>()
  private withoutOutcome = 0
  private readonly sources = new Tally()
  private readonly reasons = new Tally()
  private readonly rebuilds = new Tally()
  private readonly plans = new Map<string, { plan: unknown; count: number }>()
  private otherPlans = 0
  private stayed = 0
  private readonly events = new Tally()
  private readonly problems = new Tally()
  private readonly times = {
    decide: [] as number[],
    ttft: [] as number[],
    tpot: [] as number[],
    endToEnd: [] as number[],
    queue: [] as number[],
  }
  private outputTokens = 0
  private upBytes = 0
  private downBytes = 0

  add(record: LogRecord): void {
    this.records.add(record.kind)
    if (record.kind === 'header') {
      if (this.starts.at(-1) === record.startedAt) return
      this.starts.push(record.startedAt)
      this.software.add(record.software)
      this.models.add(record.model.id)
      this.bundles.add(record.bundle)
      // Request numbers restart with every start of the device.
      this.withoutOutcome += this.open.size
      this.open.clear()
    } else if (record.kind === 'arrival') this.open.add(record.request)
    else if (record.kind === 'decision') this.addDecision(record)
    else if (record.kind === 'event') this.events.add(record.name)
    else if (record.kind === 'outcome') this.addOutcome(record)
  }

  addProblem({ what }: LogProblem): void {
    this.problems.add(what)
  }

  private addDecision({ source, reason, rebuild, plan, decideSeconds }: DecisionRecord): void {
    this.sources.add(source)
    this.reasons.add(reason)
    if (rebuild !== null) this.rebuilds.add(rebuild)
    this.times.decide.push(decideSeconds)
    if (plan === null) {
      this.stayed++
      return
    }
    const key = canonicalJson(plan)
    const known = this.plans.get(key)
    if (known !== undefined) known.count++
    else if (this.plans.size < MAX_PLANS) this.plans.set(key, { plan, count: 1 })
    else this.otherPlans++
  }

  private addOutcome(outcome: OutcomeRecord): void {
    this.open.delete(outcome.request)
    this.ended.add(outcome.end)
    this.times.queue.push(outcome.queueSeconds)
    if (outcome.ttftSeconds !== null) this.times.ttft.push(outcome.ttftSeconds)
    if (outcome.tpotSeconds !== null) this.times.tpot.push(outcome.tpotSeconds)
    // A cancelled or failed request says nothing about response times.
    if (outcome.end === 'stop' || outcome.end === 'length') this.times.endToEnd.push(outcome.endToEndSeconds)
    this.outputTokens += outcome.outputTokens
    this.upBytes += outcome.upBytes
    this.downBytes += outcome.downBytes
  }

  summary(): LogSummary {
    const { starts, times } = this
    const plans = [...this.plans.values()].sort((a, b) => b.count - a.count)
    const chosen = plans.reduce((sum, { count }) => sum + count, this.otherPlans)
    return {
      starts: starts.length,
      firstStartedAt: starts.at(0) ?? null,
      lastStartedAt: starts.at(-1) ?? null,
      software: [...this.software],
      models: [...this.models],
      bundles: [...this.bundles],
      records: this.records.counts(),
      requests: {
        arrived: this.records.counts().arrival ?? 0,
        ended: this.ended.counts(),
        withoutOutcome: this.withoutOutcome + this.open.size,
      },
      decisions: {
        bySource: this.sources.counts(),
        byReason: this.reasons.counts(),
        rebuilds: this.rebuilds.counts(),
        plans: plans.map(({ plan, count }) => ({ plan, count, share: count / chosen })),
        otherPlans: this.otherPlans,
        stayed: this.stayed,
        decideSeconds: quantilesOf(times.decide),
      },
      events: this.events.counts(),
      ttftSeconds: quantilesOf(times.ttft),
      tpotSeconds: quantilesOf(times.tpot),
      endToEndSeconds: quantilesOf(times.endToEnd),
      queueSeconds: quantilesOf(times.queue),
      outputTokens: this.outputTokens,
      upBytes: this.upBytes,
      downBytes: this.downBytes,
      problems: this.problems.counts(),
    }
  }
}

class Tally {
  private readonly map = new Map<string, number>()

  add(name: string): void {
    this.map.set(name, (this.map.get(name) ?? 0) + 1)
  }

  /** The counts, sorted by name. */
  counts(): Counts {
    return Object.fromEntries([...this.map].sort(([a], [b]) => (a < b ? -1 : 1)))
  }
}

function quantilesOf(values: readonly number[]): Quantiles | null {
  if (values.length === 0) return null
  const sorted = Float64Array.from(values).sort()
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map((q) => quantile(sorted, q))
  return { count: sorted.length, p50, p95, p99 }
}
