import OpenAI from 'openai'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { startApi } from '../../../src/serve/http/server.ts'
import { type ApiServer } from '../../../src/serve/http/options.ts'
import { randomStream } from '../../../src/core/random.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { runtimeMemoryTerms } from '../../../src/plan/price/memory.ts'
import { CloudMemoryBudget, EdgeMemoryBudget } from '../../../src/run/executor/memoryBudget.ts'
import { CLOUD_DEFAULTS, CloudExecutor } from '../../../src/run/executor/cloud.ts'
import { openExecution, type Execution } from '../../../src/run/executor/open.ts'
import type { ResolvedPlan } from '../../../src/run/executor/messages.ts'
import { openSubgraphStore } from '../../../src/model/graphs/subgraphStore.ts'
import { openPretrained } from '../../../src/model/weights/open.ts'
import type { PretrainedModel } from '../../../src/model/weights/pretrained.ts'
import { openEdgeService, type OpenedService } from '../../../src/serve/edge/open.ts'
import {
  DEFAULT_LIMITS,
  type PlanSelector,
  type ServiceEvent,
  type ServiceLimits,
} from '../../../src/serve/edge/types.ts'
import type { RequestStore } from '../../../src/serve/edge/requests.ts'
import type { LogSink } from '../../../src/serve/edge/serviceLogger.ts'
import { connect } from '../../../src/run/wire/client.ts'
import { listen, type WireServer } from '../../../src/run/wire/server.ts'
import { systemTimers } from '../../../src/core/timers.ts'

const clock = systemClock
const root = join(import.meta.dirname, '../../..')

export const tales: PretrainedModel = openPretrained('tales', { builtinFolder: join(root, 'models') })
export const spec = tales.source.model

/** Everything a side computes with, over the built-in model; its graphs go with it. */
export async function openTales(maxBatch = 1): Promise<Execution> {
  const folder = mkdtempSync(join(tmpdir(), 'edgewise-serve-'))
  const files = openSubgraphStore(folder, tales.source, 'fp32')
  const execution = await openExecution({ model: spec, files, clock, maxBatch })
  return {
    ...execution,
    close: async () => {
      await execution.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** A cloud that can be killed and started again at its port. */
export class TalesCloud {
  port = 0
  peers: CloudExecutor[] = []
  private server: WireServer | null = null
  private readonly execution: Execution
  private readonly budget: CloudMemoryBudget

  constructor(execution: Execution, sessionBytes?: number) {
    this.execution = execution
    this.budget = new CloudMemoryBudget(sessionBytes)
  }

  async start(): Promise<void> {
    this.server = await listen({
      host: '127.0.0.1',
      port: this.port,
      clock,
      greet: () => ({ welcome: {} }),
      onConnection: (connection) => {
        this.peers.push(
          new CloudExecutor(connection, {
            model: spec,
            runner: this.execution.runner,
            clock,
            ...CLOUD_DEFAULTS,
            budget: this.budget,
          }),
        )
      },
    })
    this.port = this.server.port
  }

  async stop(): Promise<void> {
    await this.server?.close()
    this.server = null
  }
}

export interface StackOptions {
  readonly decider: (alone: ResolvedPlan) => PlanSelector
  /** What stands between edge and cloud; the cloud's own port otherwise. */
  readonly port?: (cloud: number) => Promise<number>
  readonly limits?: Partial<ServiceLimits>
  readonly log?: LogSink
  readonly requests?: RequestStore
  readonly alone: ResolvedPlan
  /** Of the cloud's requests together. */
  readonly sessionBytes?: number
  /** Of the edge; 4 GB. */
  readonly memoryBytes?: number
  /** Before each run of the edge's engine: for a slower device. */
  readonly hold?: () => Promise<void>
}

export interface Stack {
  readonly cloud: TalesCloud
  readonly opened: OpenedService
  readonly memory: EdgeMemoryBudget
  readonly api: ApiServer
  readonly client: OpenAI
  readonly events: ServiceEvent[]
  close(): Promise<void>
}

/** Cloud, edge and API in one process, over real sockets. */
export async function openStack(options: StackOptions): Promise<Stack> {
  const [edge, far] = [await openTales(), await openTales()]
  const { hold } = options
  if (hold !== undefined) {
    const run = edge.runner.run.bind(edge.runner)
    edge.runner.run = async (job) => {
      await hold()
      return run(job)
    }
  }
  const cloud = new TalesCloud(far, options.sessionBytes)
  await cloud.start()
  const port = (await options.port?.(cloud.port)) ?? cloud.port
  const events: ServiceEvent[] = []
  const registry = new Registry()
  const memory = new EdgeMemoryBudget(runtimeMemoryTerms(spec, 'fp32'), options.memoryBytes ?? 4e9)
  const opened = openEdgeService({
    served: {
      id: spec.id,
      createdSeconds: 0,
      contextTokens: spec.contextTokens,
      fingerprint: tales.fingerprint,
    },
    spec,
    stopIds: tales.stopIds,
    execution: edge,
    registry,
    selector: options.decider(options.alone),
    dial: (signal) => connect({ host: '127.0.0.1', port, greeting: {}, clock, signal }),
    log: options.log ?? null,
    requests: options.requests ?? null,
    dropped: () => 0,
    memory,
    limits: { ...DEFAULT_LIMITS, ...options.limits },
    time: { clock, timers: systemTimers },
    random: randomStream(1, 'stack'),
    onEvent: (event) => events.push(event),
  })
  const api = await startApi({
    backend: opened.service,
    tokenizer: tales.tokenizer!,
    chat: tales.chat,
    host: '127.0.0.1',
    port: 0,
    keys: null,
    clock,
    timers: systemTimers,
    registry,
    random: randomStream(2, 'api'),
    // A client that left may never read the end of its connection.
    limits: { closingSeconds: 0.2 },
    onDefect: (error) => {
      throw error
    },
  })
  return {
    cloud,
    opened,
    memory,
    api,
    events,
    client: new OpenAI({ baseURL: `${api.url}/v1`, apiKey: 'none', maxRetries: 0 }),
    close: async () => {
      await api.close()
      await opened.close()
      await cloud.stop()
      await edge.close()
      await far.close()
    },
  }
}
