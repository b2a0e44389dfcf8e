import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '../../core/clock.ts'
import { openEngine } from '../../core/engine/open.ts'
import type { EngineKind } from '../../core/engine/types.ts'
import { EdgeExecutor } from '../../run/executor/edge.ts'
import { fixedLink } from '../../run/executor/link.ts'
import type { HelloPayload } from '../../run/executor/hello.ts'
import { resolvedPlanFromJson, type ResolvedPlan } from '../../run/executor/messages.ts'
import type { Execution } from '../../run/executor/open.ts'
import { lowerPlan, subgraphsOf } from '../../plan/lower.ts'
import { Semaphore } from '../../run/executor/semaphore.ts'
import { GREEDY, type RequestOutput } from '../../run/executor/types.ts'
import { measureProfile } from '../../plan/measure/measure.ts'
import type { Subgraph } from '../../model/graphs/subgraphTypes.ts'
import type { WeightSource } from '../../model/graphs/source.ts'
import type { ModelSpec } from '../../model/spec.ts'
import type { PlanJson } from '../../plan/price/json.ts'
import { EDGE } from '../../plan/plan.ts'
import type { Profile } from '../../plan/profile/types.ts'
import { connect } from '../../run/wire/client.ts'
import { CountingConnection } from './counting.ts'
import type { EdgeProcess, ProfileTask, RequestRecord, RunRecord, RunTask, WireBytes } from './types.ts'

/** Options of the calibration's edge process. */
interface EdgeHostOptions {
  readonly source: WeightSource
  readonly greeting: HelloPayload
  readonly clock: Clock
  /** Opens a new engine without loaded sessions. */
  readonly openExecution: () => Promise<Execution>
  /** Default `worker`, as in the runtime. */
  readonly engine?: EngineKind
  /** Allows plaintext between the network namespaces of a closed test. */
  readonly insecureNetwork?: boolean
}

/**
 * The calibration admits requests itself: a request's place is free at its last token, not at the report that follows.
 */
const EXECUTOR_IN_FLIGHT = 1024
/** Padding of pings, so that frames have the sizes of decode's frames: empty, and with payloads up to 224 bytes. */
const PING_BYTES = [0, 32, 96, 224] as const
/** Pause between round trips: messages of a request come after a pause too, when threads sleep and caches are cold. */
const PAUSE_MILLISECONDS = 20
/** Timers have whole milliseconds; the rest is waited for in turns of the event loop. */
const TIMER_SLACK_SECONDS = 3e-3

interface Line {
  readonly connection: CountingConnection
  readonly executor: EdgeExecutor
}

interface Running {
  readonly line: Line
  readonly before: WireBytes
  readonly results: Promise<RequestRecord>[]
}

/** Opens the edge of a calibration, which runs requests at set times and records their events. */
export async function openEdgeHost(options: EdgeHostOptions): Promise<EdgeProcess> {
  return new EdgeHost(options, await options.openExecution())
}

class EdgeHost implements EdgeProcess {
  private readonly options: EdgeHostOptions
  private readonly execution: Execution
  private readonly lines = new Map<string, Line>()
  private running: Running | null = null

  constructor(options: EdgeHostOptions, execution: Execution) {
    this.options = options
    this.execution = execution
  }

  async connect(link: string, host: string, port: number): Promise<void> {
    const { greeting, clock, source, insecureNetwork = false } = this.options
    // Without heartbeats, so that only the measured frames cross the link.
    const limits = { heartbeatSeconds: null }
    const inner = await connect({ host, port, greeting, clock, insecureNetwork, limits })
    const connection = new CountingConnection(inner)
    const executor = new EdgeExecutor({
      model: source.model,
      runner: this.execution.runner,
      clock,
      link: fixedLink(connection),
      maxInFlight: EXECUTOR_IN_FLIGHT,
    })
    this.lines.set(link, { connection, executor })
  }

  async roundTrips(link: string, count: number): Promise<number[]> {
    const { connection } = this.line(link)
    const seconds: number[] = []
    for (let i = 0; i < count; i++) {
      await sleep(PAUSE_MILLISECONDS)
      const { rttSeconds } = await connection.ping(PING_BYTES[i % PING_BYTES.length])
      seconds.push(rttSeconds)
    }
    return seconds
  }

  async profile({ quick, messageSeconds }: ProfileTask): Promise<Profile> {
    const { source, clock, greeting } = this.options
    const engine = await openEngine(this.options.engine ?? 'worker')
    try {
      return await measureProfile(source.model, {
        engine,
        source,
        clock,
        messageSeconds,
        threads: 1,
        precision: greeting.precision,
        grid: quick ? 'quick' : 'full',
      })
    } finally {
      await engine.close()
    }
  }

  async run(task: RunTask): Promise<void> {
    const line = this.line(task.link)
    const placed = resolvedPlanFromJson(this.options.source.model, task.plan, `plan of ${task.link}`)
    const slots = new Semaphore(task.maxInFlight)
    const delivered: Promise<void>[] = []
    const results: Promise<RequestRecord>[] = []
    this.running = { line, before: line.connection.bytes, results }
    for (const { prompt, arrivalSeconds } of task.requests) {
      const at = task.startSeconds + arrivalSeconds
      await this.until(at)
      const turn = slots.take()
      delivered.push(
        new Promise((resolve, reject) => {
          const result = turn.then((release) =>
            this.generate(line, placed, prompt, task.outputTokens, () => {
              release()
              resolve()
            }),
          )
          result.catch(reject)
          results.push(result.then((generated) => recordOf(at, generated)))
        }),
      )
    }
    // `delivered` reports a failure; collect() may never be called then.
    for (const result of results) result.catch(() => undefined)
    await Promise.all(delivered)
  }

  async collect(): Promise<RunRecord> {
    if (this.running === null) throw new RangeError('collect: expected a run before, found none')
    const { line, before, results } = this.running
    const requests = await Promise.all(results)
    const after = line.connection.bytes
    const since = (name: keyof WireBytes): number => after[name] - before[name]
    const bytes = { upData: since('upData'), downData: since('downData'), upControl: since('upControl') }
    return { requests, bytes }
  }

  async load(plan: PlanJson): Promise<number> {
    const { source, openExecution } = this.options
    const placed = resolvedPlanFromJson(source.model, plan, 'plan to load')
    const execution = await openExecution()
    try {
      let seconds = 0
      for (const subgraph of edgeSubgraphs(source.model, placed)) {
        const { load } = await execution.sessions.open(subgraph, 1)
        if (load !== null) seconds += load.endSeconds - load.startSeconds
      }
      return seconds
    } finally {
      await execution.close()
    }
  }

  async close(): Promise<void> {
    for (const { connection } of this.lines.values()) await connection.close()
    await this.execution.close()
  }

  private line(link: string): Line {
    const line = this.lines.get(link)
    if (line === undefined) throw new RangeError(`link ${link}: expected a connection, found none`)
    return line
  }

  private async until(atSeconds: number): Promise<void> {
    const { clock } = this.options
    const wait = atSeconds - TIMER_SLACK_SECONDS - clock.nowSeconds()
    if (wait > 0) await sleep(1000 * wait)
    while (clock.nowSeconds() < atSeconds) await new Promise((resolve) => setImmediate(resolve))
  }

  private generate(
    { executor }: Line,
    placed: ResolvedPlan,
    prompt: readonly number[],
    maxNewTokens: number,
    onDelivered: () => void,
  ): Promise<RequestOutput> {
    // Without stop ids, so that outputs have the requested lengths.
    const request = { ...placed, prompt, maxNewTokens, sampling: GREEDY, stopIds: [] }
    return executor.generate(request, {
      explain: true,
      onToken: ({ last }) => {
        if (last) onDelivered()
      },
    })
  }
}

function recordOf(arrivalSeconds: number, result: RequestOutput): RequestRecord {
  const { tokens, dispatchSeconds, events } = result
  return { arrivalSeconds, dispatchSeconds, tokenSeconds: tokens.map(({ atSeconds }) => atSeconds), events }
}

/** The subgraphs whose sessions a plan needs on the edge, each once. */
function edgeSubgraphs(model: ModelSpec, { plan, cloudUnits }: ResolvedPlan): Subgraph[] {
  return subgraphsOf(lowerPlan(model, plan, cloudUnits), EDGE)
}
