import type { Registry } from 'prom-client'
import type { TimeSource } from '../../core/timers.ts'
import type { RandomStream } from '../../core/random.ts'
import type { ServedModel } from '../http/types.ts'
import { CloudLink, DEFAULT_BACKOFF } from '../../run/executor/cloudLink.ts'
import { EdgeExecutor } from '../../run/executor/edge.ts'
import type { EdgeMemoryBudget } from '../../run/executor/memoryBudget.ts'
import type { Execution } from '../../run/executor/open.ts'
import type { Backoff, Dial } from '../../run/executor/recoveryTypes.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { TelemetryCollector } from './telemetry.ts'
import { serviceMetrics } from './metrics.ts'
import { EdgeService } from './service.ts'
import type { PlanSelector, ServiceEvent, ServiceLimits } from './types.ts'
import type { RequestStore } from './requests.ts'
import { serviceLogger, type LogSink } from './serviceLogger.ts'

interface OpenOptions {
  readonly served: ServedModel
  readonly spec: ModelSpec
  readonly stopIds: readonly number[]
  readonly execution: Execution
  /** Null: an edge without a cloud. */
  readonly dial: Dial | null
  readonly selector: PlanSelector
  readonly log: LogSink | null
  readonly dropped: () => number
  readonly requests: RequestStore | null
  readonly memory: EdgeMemoryBudget
  readonly limits: ServiceLimits
  readonly backoff?: Backoff
  readonly time: TimeSource
  readonly random: RandomStream
  readonly registry: Registry
  /** What happened while this was being opened; all who listen hear of it first. */
  readonly early?: readonly ServiceEvent[]
  readonly onEvent: (event: ServiceEvent) => void
}

/** An edge service with its executor and its link. */
export interface OpenedService {
  readonly service: EdgeService
  readonly executor: EdgeExecutor
  readonly link: CloudLink | null
  readonly rttSeconds: () => number | null
  /** Tells all who listen of something that happened outside the service, such as a log that cannot be written. */
  readonly emit: (event: ServiceEvent) => void
  /** Takes nothing new and ends the link; whoever asked must have given up what is under way. */
  close(): Promise<void>
}

/** Puts the edge together: link, executor, who decides, who writes down, what is counted. Begins to connect. */
export function openEdgeService(options: OpenOptions): OpenedService {
  const { spec, execution, dial, selector, limits, time, random, memory } = options
  const { clock, timers } = time
  const backoff = options.backoff ?? DEFAULT_BACKOFF
  const link = dial === null ? null : new CloudLink({ dial, clock, timers, random, backoff })
  const executor = new EdgeExecutor({
    model: spec,
    runner: execution.runner,
    clock,
    timers,
    link,
    // The request queue before it admits: nothing waits a second time, but for memory.
    maxInFlight: Number.POSITIVE_INFINITY,
    memory,
  })
  const count = serviceMetrics(options.registry, {
    queue: () => service.queue,
    linkUp: () => (link === null ? null : link.state === 'up'),
    rttSeconds: () => telemetry.rttSeconds,
    keptBytes: () => executor.retransmitBytes,
    residentBytes: () => execution.sessions.loadedBytes,
    dropped: options.dropped,
    budgetUses: () => selector.budgetUses?.() ?? null,
  })
  const write = options.log === null ? () => {} : serviceLogger(options.log, spec, clock.nowSeconds())
  // The one stream of events: everyone who listens is here.
  const onEvent = (event: ServiceEvent): void => {
    selector.onEvent(event)
    write(event)
    count(event)
    options.onEvent(event)
  }
  const telemetry = new TelemetryCollector({ link, executor, time, onEvent })
  const service = new EdgeService({
    spec,
    executor,
    link,
    selector,
    limits,
    time,
    onEvent,
    served: options.served,
    stopIds: options.stopIds,
    requests: options.requests,
    memory,
    residentBytes: () => execution.sessions.loadedBytes,
    linkStatus: () => telemetry.linkStatus(),
  })
  options.early?.forEach(onEvent)
  telemetry.open(service.runner)
  link?.start()
  return {
    service,
    executor,
    link,
    rttSeconds: () => telemetry.rttSeconds,
    emit: onEvent,
    close: async () => {
      telemetry.close()
      await service.drain(0)
      await link?.close()
    },
  }
}
