import type { Registry } from 'prom-client'
import type { RandomStream } from '../../core/random.ts'
import type { ServedModel } from '../http/types.ts'
import { CloudLink, DEFAULT_BACKOFF } from '../../run/executor/cloudLink.ts'
import { EdgeExecutor } from '../../run/executor/edge.ts'
import type { Execution } from '../../run/executor/open.ts'
import type { Backoff, Dial } from '../../run/executor/recoveryTypes.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { TelemetryCollector } from './telemetry.ts'
import { serviceMetrics } from './metrics.ts'
import { EdgeService } from './service.ts'
import type { PlanSelector, ServiceEvent, ServiceLimits, TimeSource } from './types.ts'
import type { RequestStore } from './requests.ts'
import { ServiceLogger, type LogSink } from './serviceLogger.ts'

export interface OpenOptions {
  readonly served: ServedModel
  readonly spec: ModelSpec
  readonly stopIds: readonly number[]
  readonly execution: Execution
  /** Null: an edge without a cloud. */
  readonly dial: Dial | null
  readonly decider: PlanSelector
  readonly log: LogSink | null
  readonly dropped: () => number
  readonly requests: RequestStore | null
  readonly memoryBytes: number
  readonly limits: ServiceLimits
  readonly backoff?: Backoff
  readonly time: TimeSource
  readonly random: RandomStream
  readonly registry: Registry
  readonly onEvent: (event: ServiceEvent) => void
}

export interface OpenedService {
  readonly service: EdgeService
  readonly executor: EdgeExecutor
  readonly link: CloudLink | null
  readonly rttSeconds: () => number | null
  /** Takes nothing new and ends the link; whoever asked must have given up what is under way. */
  close(): Promise<void>
}

/** Puts the edge together: link, executor, who decides, who writes down, what is counted. Begins to connect. */
export function openEdgeService(options: OpenOptions): OpenedService {
  const { spec, execution, dial, decider, limits, time, random, memoryBytes } = options
  const { clock, timers } = time
  const backoff = options.backoff ?? DEFAULT_BACKOFF
  const link = dial === null ? null : new CloudLink({ dial, clock, timers, random, backoff })
  const executor = new EdgeExecutor({
    ...{ model: spec, runner: execution.runner, clock, timers, link },
    maxInFlight: limits.maxInFlight,
  })
  const writer = new ServiceLogger(options.log, spec, clock.nowSeconds())
  const count = serviceMetrics(options.registry, {
    queue: () => service.queue,
    linkUp: () => (link === null ? null : link.state === 'up'),
    rttSeconds: () => ears.rttSeconds,
    keptBytes: () => executor.retransmitBytes,
    residentBytes: () => execution.sessions.loadedBytes,
    dropped: options.dropped,
  })
  const onEvent = (event: ServiceEvent): void => {
    count(event)
    options.onEvent(event)
  }
  const ears = new TelemetryCollector({ link, executor, selector: decider, logger: writer, time, onEvent })
  const service = new EdgeService({
    ...{ spec, executor, link, selector: decider, logger: writer, limits, time, onEvent },
    ...{ served: options.served, stopIds: options.stopIds, requests: options.requests },
    memory: { bytes: memoryBytes, residentBytes: () => execution.sessions.loadedBytes },
    linkStatus: () => ears.linkStatus(),
  })
  ears.open(service.carrier)
  link?.start()
  return {
    ...{ service, executor, link, rttSeconds: () => ears.rttSeconds },
    close: async () => {
      ears.close()
      await service.drain(0)
      await link?.close()
    },
  }
}
