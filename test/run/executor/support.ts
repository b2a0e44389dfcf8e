import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../../src/core/clock.ts'
import { randomStream } from '../../../src/core/random.ts'
import type { EngineKind } from '../../../src/core/engine/types.ts'
import { CLOUD_DEFAULTS, CloudExecutor } from '../../../src/run/executor/cloud.ts'
import { EdgeExecutor } from '../../../src/run/executor/edge.ts'
import { fixedLink } from '../../../src/run/executor/link.ts'
import { openExecution, type Execution } from '../../../src/run/executor/open.ts'
import type { SubgraphFiles } from '../../../src/run/executor/sessionCache.ts'
import { buildSubgraph } from '../../../src/model/graphs/subgraph.ts'
import type { WeightSource } from '../../../src/model/graphs/source.ts'
import { storeModel } from '../../../src/model/store.ts'
import { memoryPair } from '../wire/memory.ts'
import type { Connection } from '../../../src/run/wire/types.ts'

/** Each segment a model file of its own. */
function filesIn(folder: string, source: WeightSource): SubgraphFiles {
  let count = 0
  return {
    store: (segment, batch) =>
      storeModel(folder, `s${count++}`, buildSubgraph(source, segment, { batch }).toModel()),
  }
}

export interface SideOptions {
  readonly maxBatch?: number
  readonly budgetBytes?: number
  readonly engine?: EngineKind
}

/** One side's engine, sessions and queue over a model. */
export async function openSide(source: WeightSource, options: SideOptions = {}): Promise<Execution> {
  const folder = mkdtempSync(join(tmpdir(), 'edgewise-execute-'))
  const { model } = source
  const files = filesIn(folder, source)
  const side = await openExecution({ model, files, clock: systemClock, engine: 'native', ...options })
  return {
    ...side,
    close: async () => {
      await side.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export interface SplitPair {
  readonly edge: EdgeExecutor
  readonly cloud: CloudExecutor
  readonly edgeConnection: Connection
  readonly cloudConnection: Connection
  readonly edgeSide: Execution
  readonly cloudSide: Execution
  cut(): void
  close(): Promise<void>
}

/** Both sides in one process, over the real frames. */
export async function openSplit(
  source: WeightSource,
  options: {
    edge?: SideOptions
    cloud?: SideOptions
    maxInFlight?: number
    maxRequests?: number
    chopSeed?: number
  } = {},
): Promise<SplitPair> {
  const [edgeSide, cloudSide] = [await openSide(source, options.edge), await openSide(source, options.cloud)]
  const chop = options.chopSeed === undefined ? {} : { chop: randomStream(options.chopSeed, 'chop') }
  const pair = await memoryPair({ clock: systemClock, ...chop })
  const { model } = source
  const cloud = new CloudExecutor(pair.server, {
    model,
    runner: cloudSide.runner,
    clock: systemClock,
    ...CLOUD_DEFAULTS,
    ...(options.maxRequests === undefined ? {} : { maxRequests: options.maxRequests }),
  })
  const edge = new EdgeExecutor({
    model,
    runner: edgeSide.runner,
    clock: systemClock,
    link: fixedLink(pair.client),
    maxInFlight: options.maxInFlight ?? 4,
  })
  return {
    edge,
    cloud,
    edgeSide,
    cloudSide,
    edgeConnection: pair.client,
    cloudConnection: pair.server,
    cut: () => pair.cut(),
    close: async () => {
      await pair.client.close()
      await edgeSide.close()
      await cloudSide.close()
    },
  }
}
