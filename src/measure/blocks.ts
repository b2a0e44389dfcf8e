import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import type { Engine, Feeds, Session } from '../engine/types.ts'
import { storeModel } from '../model/store.ts'
import type { GraphRecorder } from '../onnx/graph.ts'
import type { Host } from './host.ts'

/** What loading the copies of one block showed. */
export interface LoadReading {
  readonly name: string
  /** Of all copies together. */
  readonly weightBytes: number
  readonly seconds: number
  /** Rise of the process's resident memory by the sessions and a first run of each. */
  readonly residentBytes: number
}

export interface Bench {
  readonly engine: Engine
  readonly clock: Clock
  readonly host: Host
  readonly threads: number
  /** An existing folder for weight files, which are removed after use. */
  readonly folder: string
}

export interface Block {
  readonly name: string
  readonly graph: GraphRecorder
  /** Sessions to make, each with weights of its own in memory. */
  readonly copies: number
  readonly firstFeeds: Feeds
}

/**
 * Writes a block to disk, loads its copies, runs each once, lets `use` measure them, and removes all.
 * Why copies: a running model comes to a block's weights after having read those of all its other layers,
 * while the code is the same for every layer and stays in the caches.
 */
export async function withBlock<T>(
  bench: Bench,
  block: Block,
  use: (sessions: readonly Session[]) => Promise<T>,
  onLoad: (reading: LoadReading) => void,
): Promise<T> {
  const { name } = block
  const stored = storeModel(bench.folder, name, block.graph.toModel())
  const sessions: Session[] = []
  try {
    const residentBefore = bench.host.residentBytes()
    let seconds = 0
    for (let copy = 0; copy < block.copies; copy++) {
      const start = bench.clock.nowSeconds()
      sessions.push(await bench.engine.create(stored.path, { threads: bench.threads }))
      seconds += bench.clock.nowSeconds() - start
      await sessions[copy].run(block.firstFeeds)
    }
    const residentBytes = bench.host.residentBytes() - residentBefore
    onLoad({ name, weightBytes: block.copies * stored.weightBytes, seconds, residentBytes })
    return await use(sessions)
  } finally {
    for (const session of sessions) await session.dispose()
    for (const ending of ['onnx', 'bin']) rmSync(join(bench.folder, `${name}.${ending}`), { force: true })
  }
}
