import type { Clock } from '../../core/clock.ts'
import { openEngine } from '../../core/engine/open.ts'
import type { Engine, EngineKind } from '../../core/engine/types.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { SubgraphRunner } from './subgraphRunner.ts'
import { SessionCache, type SubgraphFiles } from './sessionCache.ts'

/** Options of openExecution. */
interface ExecutionOptions {
  readonly model: ModelSpec
  readonly files: SubgraphFiles
  readonly clock: Clock
  /** Default `worker`: a run does not block the event loop. */
  readonly engine?: EngineKind
  readonly threads?: number
  /** Sequences that decode in one run; default 1 (an edge). */
  readonly maxBatch?: number
  /** Bytes of weights that may be loaded at once, or a function where the limit changes; default 4 GiB. */
  readonly budgetBytes?: number | (() => number)
}

/** One side's engine, loaded sessions and queue. */
export interface Execution {
  readonly engine: Engine
  readonly sessions: SessionCache
  readonly runner: SubgraphRunner
  close(): Promise<void>
}

/** Default of ExecutionOptions.budgetBytes. */
const DEFAULT_BUDGET_BYTES = 4 * 2 ** 30

/** Opens one side's engine, session cache and runner. */
export async function openExecution(options: ExecutionOptions): Promise<Execution> {
  const { model, files, clock, threads, maxBatch = 1, budgetBytes = DEFAULT_BUDGET_BYTES } = options
  const engine = await openEngine(options.engine ?? 'worker')
  const sessions = new SessionCache({
    engine,
    files,
    clock,
    budgetBytes,
    ...(threads === undefined ? {} : { threads }),
  })
  return {
    engine,
    sessions,
    runner: new SubgraphRunner({ engine, sessions, model, clock, maxBatch }),
    close: async () => {
      await sessions.close()
      await engine.close()
    },
  }
}
