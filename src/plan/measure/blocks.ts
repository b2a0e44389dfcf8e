import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../../core/clock.ts'
import type { Engine, Session } from '../../core/engine/types.ts'
import { buildSubgraph } from '../../model/graphs/subgraph.ts'
import type { Subgraph } from '../../model/graphs/subgraphTypes.ts'
import type { RuntimePrecision } from '../../model/precision.ts'
import type { WeightSource } from '../../model/graphs/source.ts'
import { storeModel } from '../../model/store.ts'
import type { WeightFill } from '../../model/graphs/weights.ts'
import { SubgraphKvCaches } from './caches.ts'
import { subgraphFeeds } from './feeds.ts'
import type { Step } from './feeds.ts'
import type { Host } from './host.ts'
import { checkRoom, loadBytes, runBytes } from './memory.ts'
import type { Run } from './timing.ts'

/** Memory of a loaded session. */
export interface MemoryReading {
  readonly name: string
  readonly weightBytes: number
  /** Increase of the process's resident memory by loading the session and running it once. */
  readonly residentBytes: number
}

/** What the measurements share: model, engine, host and settings. */
export interface Bench {
  readonly engine: Engine
  readonly clock: Clock
  readonly host: Host
  readonly threads: number
  /** An existing folder for weight files, which are removed after use. */
  readonly folder: string
  readonly source: WeightSource
  /** Of the matrices in every graph that is timed: those that the runtime has at this precision. */
  readonly precision: RuntimePrecision
  /** Creates inputs. */
  readonly fill: WeightFill
  readonly onLoad: (reading: MemoryReading) => void
}

/** A loaded subgraph. */
export class LoadedSubgraph {
  private readonly bench: Bench
  private readonly name: string
  private readonly session: Session
  private readonly subgraph: Subgraph
  private readonly batch: number
  private readonly caches: SubgraphKvCaches

  private constructor(bench: Bench, name: string, session: Session, subgraph: Subgraph, batch: number) {
    this.bench = bench
    this.name = name
    this.session = session
    this.subgraph = subgraph
    this.batch = batch
    this.caches = new SubgraphKvCaches(bench.engine, bench.source.model, subgraph, batch, bench.fill)
  }

  /** Writes a subgraph to disk, loads it and runs it once. `name` is the name of its files. */
  static async load(
    bench: Bench,
    name: string,
    subgraph: Subgraph,
    firstStep: Step,
    batch = 1,
  ): Promise<LoadedSubgraph> {
    const { engine, host, source, precision, threads } = bench
    const { model } = source
    const bytes = loadBytes(model, precision, subgraph) + runBytes(model, subgraph, firstStep, batch)
    checkRoom(name, bytes, host.freeBytes())
    try {
      const { path, weightBytes } = storeModel(
        bench.folder,
        name,
        buildSubgraph(source, subgraph, { batch, precision }).toModel(),
      )
      const residentBefore = host.residentBytes()
      const session = await engine.create(path, { threads })
      const loaded = new LoadedSubgraph(bench, name, session, subgraph, batch)
      const run = await loaded.runner(firstStep)
      await run()
      bench.onLoad({ name, weightBytes, residentBytes: host.residentBytes() - residentBefore })
      return loaded
    } catch (error) {
      removeFiles(bench, name)
      throw error
    }
  }

  /** Prepares a run of this step for timing. Throws InputError where there is no memory for it. */
  async runner(step: Step): Promise<Run> {
    const { session, caches, batch, subgraph } = this
    const { source, fill, host } = this.bench
    const what = `${this.name}, ${step.tokens} tokens after ${step.position}`
    checkRoom(what, runBytes(source.model, subgraph, step, batch), host.freeBytes())
    const options = await caches.optionsOf(step, session.outputNames)
    const capacity = caches.seenCapacity(step)
    const feeds = subgraphFeeds(source.model, session.inputNames, step, batch, capacity, fill)
    return async () => {
      await session.run(feeds, options)
    }
  }

  async dispose(): Promise<void> {
    await this.caches.dispose()
    await this.session.dispose()
    removeFiles(this.bench, this.name)
  }
}

function removeFiles({ folder }: Bench, name: string): void {
  for (const ending of ['onnx', 'bin']) rmSync(join(folder, `${name}.${ending}`), { force: true })
}
